"""A router's core without ZeroMQ: tests say what arrives and look at what would be sent."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import ujson

from router.core import Core
from router.journeys import Arrival
from router.outbox import Kill
from shared import bus, bus_rings
from shared.requests import HELLO1, PUSH2, pack_targets
from shared.rings import owners_of_slots
from shared.settings import Settings
from shared.tokens import slot_of

STARTED_MS = 1_700_000_000_000


class Sent(NamedTuple):
    """A PUSHES1 that went to a worker."""

    worker: str
    batch: bus.Batch
    pushes: list[tuple[bytes, bytes, int]]  # token, payload, position


def pushes_of(batch: bus.Batch) -> list[tuple[bytes, bytes, int]]:
    """(token, payload, position) of each push."""
    pushes, start = [], 0
    for token_bytes, payload_bytes, position in bus.unpack_entries(batch):
        middle = start + token_bytes
        pushes.append((batch.data[start:middle], batch.data[middle : middle + payload_bytes], position))
        start = middle + payload_bytes
    return pushes


def push2(request_id: bytes, pairs: Sequence[tuple[bytes, bytes]], /, **options: object) -> list[bytes]:
    """PUSH2 frames."""
    return [PUSH2, request_id, ujson.dumps(options).encode() if options else b"", *pack_targets(pairs)]


class DrivenCore:
    """A core with a clock that stands still until it is moved. Workers and services in `cut` cannot be reached."""

    def __init__(self, *workers: str, position: int = 0, **settings: Any) -> None:
        settings = {"host_name": "h", "ring_settle_ms": 0, "workers": max(1, len(workers)), **settings}
        self.now = 100.0
        entropy = random.Random(1).randbytes
        self.core = Core(Settings(**settings), STARTED_MS, self.now, entropy, lambda: self.unix_us, position)
        self.cut: set[bytes] = set()
        self.to_workers: list[tuple[str, list[bytes]]] = []
        self.to_senders: list[tuple[bytes, list[bytes]]] = []
        self.to_services: list[tuple[bytes, list[bytes]]] = []
        self.notices: list[str] = []
        self.arrivals: list[Arrival] = []
        self.unsent: list[list[bytes]] = []
        self.kills: list[Kill] = []
        for name in workers:
            self.join(name)

    @property
    def unix_us(self) -> int:
        """What its clock shows."""
        return STARTED_MS * 1000 + round((self.now - 100.0) * 1e6)

    def join(self, name: str, incarnation: str = "a", **more: object) -> None:
        """READY1."""
        body = {"worker": name, "incarnation": incarnation, "pid": 1, "hand_over": f"/run/{name}.sock", **more}
        self.say(name, bus.encode_control(bus.READY1, body))

    def say(self, name: str, frames: Sequence[bytes]) -> None:
        """A message of a worker."""
        self.core.from_worker(name.encode(), frames, self.now)
        self.turn()

    def ask(self, *frames: bytes, sender: bytes = b"s1", **more: Any) -> None:
        """A message of a sender."""
        self.core.from_sender(sender, list(frames), self.now, **more)
        self.turn()

    def hello(self, name: bytes, sender: bytes = b"s1") -> None:
        """HELLO1, answered."""
        self.ask(HELLO1, name, b"", sender=sender)
        assert self.answers(sender)[-1][0] == HELLO1

    def push(self, request_id: bytes, /, *tokens: bytes, sender: bytes = b"s1", **options: object) -> None:
        """A PUSH2 of the payload `p` to each token."""
        self.ask(*push2(request_id, [(token, b"p") for token in tokens], **options), sender=sender)

    def advance(self, seconds: float) -> None:
        """Move the clock as a shell would: tick whenever a deadline comes."""
        end = self.now + seconds
        while self.core.next_deadline() <= end:
            self.now = max(self.now, self.core.next_deadline())
            self.core.tick(self.now)
            self.turn()
        self.now = end

    def turn(self) -> None:
        """Flush, and 'send': what the shell does."""
        lost = True
        while lost:
            self.core.flush(self.now)
            unsent: dict[bytes, list[list[bytes]]] = {}
            for identity, frames in self.core.outbox.take_to_workers():
                if identity in self.cut:
                    unsent.setdefault(identity, []).append(frames)
                    self.unsent.append(frames)
                else:
                    self.to_workers.append((identity.decode(), frames))
            for identity, messages in unsent.items():
                self.core.unreachable(identity, messages, self.now)
            lost = bool(unsent) | self._send_to_services()
        self.to_senders += self.core.outbox.take_to_senders()
        self.kills += self.core.outbox.take_kills()
        self.notices += self.core.outbox.take_notices()
        self.arrivals += self.core.outbox.take_arrivals()

    def _send_to_services(self) -> bool:
        unsent: dict[bytes, list[list[bytes]]] = {}
        for identity, frames in self.core.outbox.take_to_services():
            if identity in self.cut:
                unsent.setdefault(identity, []).append(frames)
            else:
                self.to_services.append((identity, frames))
        for identity, messages in unsent.items():
            self.core.service_unreachable(identity, messages, self.now)
        return bool(unsent)

    def answers(self, sender: bytes = b"s1") -> list[list[bytes]]:
        """What that sender was answered since the last call."""
        taken = [frames for identity, frames in self.to_senders if identity == sender]
        self.to_senders = [answer for answer in self.to_senders if answer[0] != sender]
        return taken

    def answer(self, sender: bytes = b"s1") -> list[bytes]:
        """The one answer that it got."""
        (answer,) = self.answers(sender)
        return answer

    def fault(self, sender: bytes = b"s1") -> str:
        """The code of the FAIL1 that is its one answer."""
        command, _, body = self.answer(sender)
        assert command == b"FAIL1"
        return str(ujson.loads(body)["code"])

    def messages(self, kind: bytes, worker: str | None = None) -> list[list[bytes]]:
        """Messages of that kind that went to workers; kept."""
        return [frames for name, frames in self.to_workers if frames[0] == kind and worker in (None, name)]

    def sent(self) -> list[Sent]:
        """Batches that went to workers since the last call."""
        batches = [(name, bus.decode_batch(frames)) for name, frames in self.to_workers if frames[0] == bus.PUSHES1]
        self.to_workers = [message for message in self.to_workers if message[1][0] != bus.PUSHES1]
        return [Sent(name, batch, pushes_of(batch)) for name, batch in batches]

    def outcomes(self, sent: Sent, outcomes: bytes | None = None, when: tuple[int, int] | None = None) -> None:
        """OUTCOMES1 for a batch; all SENT unless said."""
        self.say(sent.worker, bus.encode_outcomes(sent.batch.number, outcomes or bytes(len(sent.pushes)), when))

    def late(self, sent: Sent, *late: tuple[int, int]) -> None:
        """LATE1 for a batch."""
        self.say(sent.worker, bus.encode_late(sent.batch.number, late))

    def rings(self, worker: str) -> list[bus_rings.RingNews]:
        """RING1s that a worker got."""
        return [bus_rings.decode_ring(frames) for frames in self.messages(bus.RING1, worker)]


def tokens_of(owner: str, workers: Sequence[str], count: int) -> list[bytes]:
    """So many tokens that `owner` owns in the ring of `workers`."""

    owners = owners_of_slots(workers)
    tokens = (b"t%d" % number for number in range(1_000_000))
    return [token for token, _ in zip((t for t in tokens if owners[slot_of(t)] == owner), range(count), strict=False)]
