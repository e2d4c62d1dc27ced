// A complete sender for Node (docs/sender-protocol.md).
//
//     cd examples/node-sender && npm install
//     printf 'alice hello\nbob good day\n' | node sender.js [tcp://127.0.0.1:6700]
//
// Reads lines of `token payload` and prints `token OUTCOME` for each.

import { randomUUID } from "node:crypto"
import { text } from "node:stream/consumers"
import { setTimeout as sleep } from "node:timers/promises"
import { Dealer } from "zeromq"

const OUTCOMES = ["SENT", "ACKED", "STORED", "OFFLINE", "EXPIRED", "OVERLOADED",
  "TOO_LARGE", "UNAVAILABLE", "REFUSED", "BUFFERED", "UNKNOWN"]
const AGAIN = ["OVERLOADED", "UNAVAILABLE", "UNKNOWN"]
const ANSWER_MS = 10_000 // the router answers within timeout_ms (5,000 if nothing is said), or it is lost

// One request at a time, as many targets in it as there are: nothing can overtake what is repeated.
class Sender {
  constructor(endpoint, name) {
    Object.assign(this, { endpoint, name })
  }

  async connect() {
    this.socket?.close()
    this.socket = new Dealer({ linger: 0, receiveTimeout: ANSWER_MS })
    this.socket.connect(this.endpoint)
    await this.hello()
  }

  hello() {
    return this.socket.send(["HELLO1", this.name, ""])
  }

  // The outcome of each [token, payload]. `id` names this request for good: a repeat of it does no harm.
  async push(pairs, id, tries = 10) {
    const request = ["PUSH1", "1", JSON.stringify({ id }), ...pairs.flat()]
    let outcomes = pairs.map(() => "UNKNOWN")
    for (let number = 0; number < tries; number++) {
      await this.socket.send(request)
      const [command, , body] = await this.receive()
      if (command === undefined) {
        await this.connect() // so that no late answer of the old connection is taken for this one's
      } else if (command.toString() === "DONE1") {
        outcomes = [...body].map((byte) => OUTCOMES[byte])
        if (!outcomes.some((outcome) => AGAIN.includes(outcome))) break
        await sleep(Math.min(2000, 50 * 2 ** number))
      } else {
        const fault = JSON.parse(body)
        if (fault.code === "overloaded") await sleep(fault.retry_after_ms)
        else if (fault.code === "hello_needed") await this.hello() // ZeroMQ has reconnected
        else throw new Error(`${fault.code}: ${fault.message}`)
      }
    }
    return outcomes
  }

  // The next DONE1 or FAIL1; nothing: the router is silent.
  async receive() {
    try {
      for (;;) {
        const answer = await this.socket.receive()
        if (answer[0].toString() !== "HELLO1") return answer
      }
    } catch (error) {
      if (error.code === "EAGAIN") return []
      throw error
    }
  }
}

const sender = new Sender(process.argv[2] ?? "tcp://127.0.0.1:6700", "example-node")
const run = randomUUID()
const lines = (await text(process.stdin)).split("\n").filter((line) => line)
await sender.connect()
for (let start = 0; start < lines.length; start += 50) {
  const pairs = lines.slice(start, start + 50).map((line) => [line.split(" ", 1)[0], line.replace(/^\S* ?/, "")])
  const outcomes = await sender.push(pairs, `${run}-${start}`)
  pairs.forEach(([token], index) => console.log(token, outcomes[index]))
}
sender.socket.close()
