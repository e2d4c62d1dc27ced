"""A worker as far as the bus shows it: a DEALER in a thread that takes batches and answers as the test says."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import zmq

from shared.bus import (
    BEAT1,
    CALL1,
    PUSHES1,
    READY1,
    REPLY1,
    WHO1,
    Batch,
    decode_batch,
    decode_numbered,
    encode_control,
    encode_numbered,
    encode_outcomes,
    unpack_entries,
)
from shared.outcomes import Outcome


class Arrival(NamedTuple):
    """One push as it came over the bus. `copy_of` is what its push id is made of."""

    token: bytes
    payload: bytes
    copy_of: tuple[bytes, int]


class WorkerSocket:
    """The only worker that a router has. `decide` gives each push's outcome; use as a context manager."""

    def __init__(self, endpoint: str, name: str, decide: Callable[[Arrival], Outcome] = lambda _: Outcome.SENT) -> None:
        self.decide = decide
        self.arrivals: list[Arrival] = []
        self._name = name
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.identity = name.encode()
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._introduce()
        beat_at = 0.0
        while not self._stop.is_set():
            if time.monotonic() >= beat_at:
                self._socket.send_multipart(encode_control(BEAT1, {"connections": {}, "counters": {}, "epoch": [0, 0]}))
                beat_at = time.monotonic() + 0.2
            if self._socket.poll(20):
                self._receive(self._socket.recv_multipart())
        self._socket.close(linger=0)

    def _introduce(self) -> None:
        about = {"worker": self._name, "incarnation": "1", "pid": 1, "hand_over": "", "leaving": False, "version": "0"}
        self._socket.send_multipart(encode_control(READY1, about))

    def _receive(self, frames: list[bytes]) -> None:
        if frames[0] == WHO1:
            self._introduce()
        elif frames[0] == PUSHES1:
            batch = decode_batch(frames)
            outcomes = bytes([self._take(arrival) for arrival in arrivals_of(batch)])
            self._socket.send_multipart(encode_outcomes(batch.number, outcomes))
        elif frames[0] == CALL1:
            number, body = decode_numbered(frames)
            answers: list[Any] = [{"online": False} if body["call"] == "find" else False for _ in body["tokens"]]
            self._socket.send_multipart(encode_numbered(REPLY1, number, {"answers": answers}))

    def _take(self, arrival: Arrival) -> Outcome:
        self.arrivals.append(arrival)
        return self.decide(arrival)

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


def arrivals_of(batch: Batch) -> list[Arrival]:
    """The pushes of a batch, in order."""
    prefixes = [segment.id_prefix for segment in batch.segments for _ in range(segment.pushes)]
    found, start = [], 0
    for prefix, (token_bytes, payload_bytes, position) in zip(prefixes, unpack_entries(batch), strict=True):
        middle = start + token_bytes
        end = middle + payload_bytes
        found.append(Arrival(batch.data[start:middle], batch.data[middle:end], (prefix, position)))
        start = end
    return found
