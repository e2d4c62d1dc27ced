// A complete sender in Go, with a ZeroMQ of pure Go (docs/sender-protocol.md).
//
//	cd examples/go-sender
//	printf 'alice hello\nbob good day\n' | go run . [tcp://127.0.0.1:6700]
//
// Reads lines of "token payload" and prints "token OUTCOME" for each.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/go-zeromq/zmq4"
)

var outcomes = []string{"SENT", "ACKED", "STORED", "OFFLINE", "EXPIRED", "OVERLOADED",
	"TOO_LARGE", "UNAVAILABLE", "REFUSED", "BUFFERED", "UNKNOWN"}

// What a repeat tries again.
const overloaded, unavailable, unknown = 5, 7, 10

// The router answers within timeout_ms (5 s if nothing is said), or it is lost.
const answerTimeout = 10 * time.Second

// Sender has one request under way, with as many targets in it as there are: nothing can overtake what is repeated.
type Sender struct {
	endpoint, name string
	socket         zmq4.Socket
	answers        chan zmq4.Msg
}

func (s *Sender) connect() error {
	s.socket = zmq4.NewDealer(context.Background())
	if err := s.socket.Dial(s.endpoint); err != nil {
		return err
	}
	socket, answers := s.socket, make(chan zmq4.Msg, 1)
	s.answers = answers
	go func() {
		defer close(answers)
		for {
			answer, err := socket.Recv()
			if err != nil {
				return // the connection has ended
			}
			answers <- answer
		}
	}()
	return s.hello()
}

func (s *Sender) hello() error {
	return s.socket.SendMulti(zmq4.NewMsgFrom([]byte("HELLO1"), []byte(s.name), nil))
}

// receive returns the next DONE1 or FAIL1, or nil: the router is silent or gone.
func (s *Sender) receive() [][]byte {
	silence := time.After(answerTimeout)
	for {
		select {
		case answer, open := <-s.answers:
			if !open || string(answer.Frames[0]) != "HELLO1" {
				return answer.Frames
			}
		case <-silence:
			return nil
		}
	}
}

// Push returns the outcome of each target: frames hold target, payload, target, payload ...
// The id names this request for good: a repeat of it does no harm.
func (s *Sender) Push(id string, frames [][]byte) ([]byte, error) {
	options, _ := json.Marshal(map[string]string{"id": id})
	request := zmq4.NewMsgFrom(append([][]byte{[]byte("PUSH1"), []byte("1"), options}, frames...)...)
	result := []byte(strings.Repeat(string(rune(unknown)), len(frames)/2))
	for try := 0; try < 10; try++ {
		var answer [][]byte
		if s.socket.SendMulti(request) == nil {
			answer = s.receive()
		}
		switch {
		case answer == nil: // a new connection, so that no late answer of the old one is taken for this one's
			s.socket.Close()
			if err := s.connect(); err != nil {
				return result, err
			}
		case string(answer[0]) == "DONE1":
			result = answer[2]
			if !strings.ContainsAny(string(result), string([]byte{overloaded, unavailable, unknown})) {
				return result, nil
			}
			time.Sleep(50 * time.Millisecond << try)
		default:
			var fault struct {
				Code, Message string
				RetryAfterMs  time.Duration `json:"retry_after_ms"`
			}
			json.Unmarshal(answer[2], &fault)
			switch fault.Code {
			case "overloaded":
				time.Sleep(fault.RetryAfterMs * time.Millisecond)
			case "hello_needed":
				if err := s.hello(); err != nil {
					return result, err
				}
			default:
				return nil, fmt.Errorf("%s: %s", fault.Code, fault.Message)
			}
		}
	}
	return result, nil
}

func main() {
	sender := &Sender{endpoint: "tcp://127.0.0.1:6700", name: "example-go"}
	if len(os.Args) > 1 {
		sender.endpoint = os.Args[1]
	}
	if err := sender.connect(); err != nil {
		log.Fatal(err)
	}
	var frames [][]byte
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		token, payload, _ := strings.Cut(lines.Text(), " ")
		frames = append(frames, []byte(token), []byte(payload))
	}
	run := rand.Text()
	for start := 0; start < len(frames); start += 100 {
		batch := frames[start:min(start+100, len(frames))]
		result, err := sender.Push(fmt.Sprintf("%s-%d", run, start), batch)
		if err != nil {
			log.Fatal(err)
		}
		for number, outcome := range result {
			fmt.Println(string(batch[2*number]), outcomes[outcome])
		}
	}
}
