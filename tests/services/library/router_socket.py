"""A real ROUTER socket in a thread that does the router's part of the service protocol, one service at a time."""

import queue
import threading
from types import TracebackType
from typing import Any, Self

import ujson
import zmq

from shared.calls import CALL1, SERVING1, TOLD1, Answer, decode_answer, decode_call, encode_answer, encode_call
from shared.requests import encode_hello_answer
from tests.fleet.processes import DEADLINE_S, wait_until


class ServiceRouter:
    """Use as a context manager. `received` holds every message but heartbeats; `answers` each RETURN1.

    `heartbeat_ms`, `timeout_ms`: told in SERVING1. `silent`: it hears everything and says nothing.
    """

    def __init__(self, endpoint: str = "tcp://127.0.0.1:*", heartbeat_ms: int = 50, timeout_ms: int = 2000) -> None:
        self.heartbeat_ms, self.timeout_ms = heartbeat_ms, timeout_ms
        self.silent = False
        self.beats = 0
        self.received: list[list[bytes]] = []
        self.answers: queue.Queue[Answer] = queue.Queue()
        self._to_send: queue.Queue[list[bytes]] = queue.Queue()
        self._service = b""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(endpoint)
        self.endpoint = self._socket.last_endpoint.decode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            while not self._to_send.empty():
                self._socket.send_multipart([self._service, *self._to_send.get()])
            if self._socket.poll(5):
                identity, *frames = self._socket.recv_multipart()
                for answer in self._answers_to(identity, frames):
                    self._socket.send_multipart([identity, *answer])
        self._socket.close(linger=0)

    def _answers_to(self, identity: bytes, frames: list[bytes]) -> list[list[bytes]]:
        if frames[0] == b"BEAT1":
            self.beats += 1
            return [] if self.silent else [[b"BEAT1"]]
        self.received.append(frames)
        if frames[0] == b"RETURN1":
            self.answers.put(decode_answer(frames))
        if self.silent:
            return []
        if frames[0] == b"SERVE1":
            self._service = identity
            said = {"version": "test", "position": 0, "heartbeat_ms": self.heartbeat_ms, "timeout_ms": self.timeout_ms}
            return [[SERVING1, ujson.dumps(said).encode()]]
        if frames[0] == b"HELLO1":
            return [encode_hello_answer({"version": "test"})]
        if frames[0] == b"ASK1":  # of this service's own topics, or none
            call = decode_call(frames)
            return [encode_answer(TOLD1, call.number, 0, call.body.upper())]
        return []

    def say(self, frames: list[bytes]) -> None:
        """To the service that said SERVE1 last."""
        self._to_send.put(frames)

    def call(self, number: int, body: bytes = b"", topic: tuple[int, int] = (9, 16), **head: Any) -> None:
        """A CALL1; its answer comes to `answers`."""
        told = {"signal": topic[0], "sub_signal": topic[1], "timeout_ms": 5000, **head}
        self.say(encode_call(CALL1, number, told, body))

    def answer(self) -> Answer:
        """The next RETURN1."""
        return self.answers.get(timeout=DEADLINE_S)

    def commands(self) -> list[bytes]:
        return [frames[0] for frames in self.received]

    def wait_for(self, command: bytes, count: int = 1) -> None:
        wait_until(lambda: self.commands().count(command) >= count, f"{count} {command.decode()}")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
