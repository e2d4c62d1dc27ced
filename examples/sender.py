"""A complete sender in plain pyzmq (docs/sender-protocol.md).

    printf 'alice hello\nbob good day\n' | python examples/sender.py [tcp://127.0.0.1:6700]

Reads lines of `token payload` and prints `token OUTCOME` for each.
"""

import json
import sys
import time
import uuid

import zmq

OUTCOMES = (
    "SENT", "ACKED", "STORED", "OFFLINE", "EXPIRED", "OVERLOADED",
    "TOO_LARGE", "UNAVAILABLE", "REFUSED", "BUFFERED", "UNKNOWN",
)  # fmt: skip
AGAIN = {"OVERLOADED", "UNAVAILABLE", "UNKNOWN"}
ANSWER_MS = 10_000  # the router answers within timeout_ms (5,000 if nothing is said), or it is lost


class Sender:
    """One request at a time, as many targets in it as there are: nothing can overtake what is repeated."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._endpoint, self._hello = endpoint, [b"HELLO1", name.encode(), b""]
        self._context = zmq.Context()
        self._connect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(self._endpoint)
        self._socket.send_multipart(self._hello)

    def push(self, pairs: list[tuple[str, str]], id: str, tries: int = 10) -> list[str]:
        """The outcome of each (token, payload). `id` names this request for good: a repeat of it does no harm."""
        frames = [text.encode() for pair in pairs for text in pair]
        request = [b"PUSH1", b"1", json.dumps({"id": id}).encode(), *frames]
        outcomes = ["UNKNOWN"] * len(pairs)
        for number in range(tries):
            self._socket.send_multipart(request)
            answer, pause = self._receive(), min(2.0, 0.05 * 2**number)
            if answer is None:  # a new connection, so that no late answer of the old one is taken for this one's
                self._socket.close()
                self._connect()
            elif answer[0] == b"DONE1":
                outcomes = [OUTCOMES[byte] for byte in answer[2]]
                if AGAIN.isdisjoint(outcomes):
                    break
                time.sleep(pause)
            else:
                fault = json.loads(answer[2])
                if fault["code"] == "overloaded":
                    time.sleep(fault["retry_after_ms"] / 1000)
                elif fault["code"] == "hello_needed":  # ZeroMQ has reconnected
                    self._socket.send_multipart(self._hello)
                else:
                    raise ValueError(f"{fault['code']}: {fault['message']}")
        return outcomes

    def _receive(self) -> list[bytes] | None:
        """The next DONE1 or FAIL1; None: the router is silent."""
        while self._socket.poll(ANSWER_MS):
            answer = self._socket.recv_multipart()
            if answer[0] != b"HELLO1":
                return answer
        return None


def main(endpoint: str = "tcp://127.0.0.1:6700") -> None:
    sender, run = Sender(endpoint, "example-python"), uuid.uuid4().hex
    pairs = [(token, payload) for token, _, payload in (line.rstrip("\n").partition(" ") for line in sys.stdin)]
    for start in range(0, len(pairs), 50):
        batch = pairs[start : start + 50]
        for (token, _), outcome in zip(batch, sender.push(batch, f"{run}-{start}"), strict=True):
            print(token, outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
