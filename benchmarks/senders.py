"""Senders: pre-packed requests, so that the sender costs little and is never measured."""

import gc
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import zmq

from benchmarks.faults import BenchmarkFault
from shared.requests import DONE1, HELLO1, PUSH2, pack_targets

PAYLOAD_BYTES = 128
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Packed:
    """The two packed frames of a PUSH2 and how many targets they have."""

    index: bytes
    data: bytes
    count: int


@dataclass(slots=True)
class Told:
    """What a sender was told: outcomes and how often, and how long it all took."""

    outcomes: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def sent(self) -> int:
        """Pushes that reach their clients: SENT, or BUFFERED behind a full socket."""
        return self.outcomes[0] + self.outcomes[9]


def random_batches(clients: int, size: int = 50, count: int = 400, seed: int = 1) -> list[Packed]:
    """`count` batches of `size` pushes of 128 bytes, each to one random client `c0`..."""
    chosen = random.Random(seed)
    payload = b"x" * PAYLOAD_BYTES
    batches = []
    for _ in range(count):
        pairs = [(b"c%d" % chosen.randrange(clients), payload) for _ in range(size)]
        batches.append(Packed(*pack_targets(pairs), size))
    return batches


class Sender:
    """A DEALER on a router's sender endpoint."""

    def __init__(self, endpoint: str, name: bytes = b"benchmark") -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._number = 0
        self._socket.send_multipart([HELLO1, name, b""])
        if self._answer()[0] != HELLO1:
            raise BenchmarkFault("HELLO1 was refused")

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _answer(self) -> list[bytes]:
        if not self._socket.poll(_TIMEOUT_S * 1000):
            raise BenchmarkFault(f"a request stayed unanswered for {_TIMEOUT_S} s")
        return self._socket.recv_multipart()

    def _ask(self, batch: Packed, options: bytes = b"") -> None:
        self._number += 1
        self._socket.send_multipart([PUSH2, b"%d" % self._number, options, batch.index, batch.data])

    def flat_out(self, batches: list[Packed], requests: int, in_flight: int, with_id: bool = False) -> Told:
        """`requests` requests out of `batches`, `in_flight` of them unanswered at any time."""
        told, asked, answered, began = Told(), 0, 0, time.monotonic()
        while answered < requests:
            while asked < requests and asked - answered < in_flight:
                options = b'{"id":"%d-%d"}' % (time.monotonic_ns(), asked) if with_id else b""
                self._ask(batches[asked % len(batches)], options)
                asked += 1
            self._take(self._answer(), told)
            answered += 1
        told.seconds = time.monotonic() - began
        return told

    def to_all(self, count: int) -> Told:
        """`count` pushes to all, one after the other."""
        batch = Packed(*pack_targets([(b"", b"x" * PAYLOAD_BYTES)]), 1)
        told, began = Told(), time.monotonic()
        for _ in range(count):
            self._ask(batch, b'{"to":"all"}')
            self._take(self._answer(), told)
        told.seconds = time.monotonic() - began
        return told

    def push_stamped(self, token: bytes, payload: bytes) -> None:
        """One push; answers are read when they are there."""
        self._ask(Packed(*pack_targets([(token, payload)]), 1))

    def take_answers(self, told: Told, timeout_ms: int = 0) -> int:
        """Reads the answers that are there; how many they were."""
        count = 0
        while self._socket.poll(timeout_ms):
            self._take(self._socket.recv_multipart(), told)
            count += 1
        return count

    @staticmethod
    def _take(frames: list[bytes], told: Told) -> None:
        if frames[0] != DONE1:
            raise BenchmarkFault(f"a request failed: {frames[-1].decode(errors='replace')}")
        told.outcomes.update(frames[2])


class FloorSender:
    """A ZeroMQ socket on the floor's request port: the sender is the same, only the fleet is missing."""

    def __init__(self, port: int) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.STREAM)
        self._socket.linger = 0
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._peer = self._socket.recv_multipart()[0]  # said when the connection stands

    def close(self) -> None:
        self._context.destroy(linger=0)

    def push_stamped(self, token: bytes, payload: bytes) -> None:
        """One push to the client of that token."""
        self._socket.send_multipart([self._peer, _floor_request(token, payload)])

    def take_answers(self, told: Told, timeout_ms: int = 0) -> int:
        """The floor never answers."""
        return 0


class PlainFloorSender:
    """The same with a bare TCP socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def push_stamped(self, token: bytes, payload: bytes) -> None:
        """One push to the client of that token."""
        self._socket.sendall(_floor_request(token, payload))

    def take_answers(self, told: Told, timeout_ms: int = 0) -> int:
        """The floor never answers."""
        return 0


def _floor_request(token: bytes, payload: bytes) -> bytes:
    return int(token[1:]).to_bytes(4, "big") + len(payload).to_bytes(2, "big") + payload


class AnySender(Protocol):
    """What `paced` needs."""

    def push_stamped(self, token: bytes, payload: bytes) -> None: ...

    def take_answers(self, told: Told, timeout_ms: int = 0) -> int: ...


def paced(sender: AnySender, clients: int, rate: int, count: int) -> Told:
    """`count` pushes at `rate` a second, each to one random client, stamped as they are sent."""
    chosen, told = random.Random(2), Told()
    sequences: Counter[int] = Counter()
    gc.collect()
    gc.disable()  # a collection in the sender would look like the fleet's latency
    due = time.monotonic()
    for _ in range(count):
        number = chosen.randrange(clients)
        sequences[number] += 1
        due += 1 / rate
        while (ahead := due - time.monotonic()) > 0:
            time.sleep(ahead)
        stamp = b"t%016xs%08x" % (time.monotonic_ns(), sequences[number])
        sender.push_stamped(b"c%d" % number, stamp.ljust(PAYLOAD_BYTES, b"x"))
        sender.take_answers(told)
    gc.enable()
    sender.take_answers(told, timeout_ms=500)
    return told
