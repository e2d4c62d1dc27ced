"""The promises of docs/architecture.md, checked while the fleet runs: each breach ends the run.

Who serves a connection, what is written to it, what becomes of pushes and why connections end is looked at as it
happens; what must be true when all is quiet, in `simulator.endings`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from shared import bus
from shared.errors import RemoteError
from shared.outcomes import Outcome
from shared.packets import parse_packet
from shared.requests import PUSH2, decode_push, unpack_targets
from shared.signals import Signal
from simulator.bus import Frames
from simulator.clients import Client, Connection
from simulator.processes import Process
from simulator.senders import Sender, Sent
from simulator.tcp import Stream
from simulator.worlds import World

if TYPE_CHECKING:
    from simulator.workers import Seat

NOT_DELIVERED = frozenset(
    {Outcome.OFFLINE, Outcome.OVERLOADED, Outcome.TOO_LARGE, Outcome.UNAVAILABLE, Outcome.REFUSED, Outcome.EXPIRED}
)

#: Shown in a full trace.
_SHOWN = frozenset(
    {bus.READY1, bus.BYE1, bus.NEWS1, bus.RING1, bus.CLAIM1, bus.UNCLAIM1, bus.CLAIMED1, bus.TAKEN1, bus.FREED1}
)


class Promises:
    """Everything that has been seen. `strict`: no fault of this run may cost a push."""

    def __init__(self, world: World, strict: bool) -> None:
        self.world, self.strict = world, strict
        self.seats: list[Seat] = []
        self.clients: dict[bytes, Client] = {}
        self.delivered: defaultdict[bytes, list[tuple[float, int]]] = defaultdict(list)  # payload -> (when, stream)
        self.outcomes: dict[bytes, tuple[Outcome, float]] = {}
        self.pushes: dict[bytes, Sent] = {}
        self.doubt_at = -1.0  # when a fault last made it impossible to know what became of a push
        self.crash_at = self.cut_at = self.healed_at = -1.0
        self.counts: Counter[str] = Counter()
        self._wire: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._last: dict[tuple[int, bytes], int] = {}  # (stream, sender) -> greatest number written
        self._asked: Counter[bytes] = Counter()
        self._arrived: Counter[bytes] = Counter()
        self._stale: Counter[bytes] = Counter()
        self._batches: dict[tuple[str, int], list[bytes]] = {}

    # --- one holder

    def touched(self, stream: Stream, process: Process) -> None:
        """A process reads or writes a connection: nobody else may be about to."""
        if len(stream.tables) < 2:
            return
        for seat in self.seats:
            other = seat.process
            if other is process or not other.alive or other.worker is None or seat.descriptors not in stream.tables:
                continue
            table = other.worker._clients.table
            for number, file in seat.descriptors.items():
                if file is stream and number < len(table.by_fd) and table.by_fd[number] is not None:
                    self.world.broken(
                        "one holder", f"connection {stream.number} is served by {process.name} and by {other.name}"
                    )

    # --- what is written

    def written(self, stream: Stream, data: bytes) -> None:
        """Bytes for a client: whole packets, and every push once, in order."""
        wire = self._wire[stream.number]
        wire += data
        try:
            while found := parse_packet(wire, 0, 2, 1 << 20):
                packet, end = found
                del wire[:end]
                if packet.signal == Signal.PUSH:
                    self._push_written(stream, packet.body)
        except RemoteError as error:
            self.world.broken("bytes are whole", f"connection {stream.number}: {error}")

    def _push_written(self, stream: Stream, body: bytes) -> None:
        payload = body[body.index(b"|") + 1 :]
        earlier = self.delivered[payload]
        self.counts["deliveries"] += 1
        self.world.detail(f"wire {stream.number}", "%s", payload)
        told = self.outcomes.get(payload)
        if told and told[0] in NOT_DELIVERED:
            self.world.broken("outcomes are true", f"{payload!r} was told to be {told[0].name}, and is delivered now")
        if earlier:
            self._copy_written(stream, payload, earlier)
        else:
            self._check_order(stream, payload)
        earlier.append((self.world.now, stream.number))

    def _copy_written(self, stream: Stream, payload: bytes, earlier: list[tuple[float, int]]) -> None:
        self.counts["copies"] += 1
        if self._asked[payload] < 2:
            self.world.broken("once", f"{payload!r} was sent once and delivered twice")
        on_this = [when for when, number in earlier if number == stream.number]
        if on_this and self.crash_at < on_this[-1]:
            self.world.broken("copies are dropped", f"{payload!r} came to connection {stream.number} again")

    def _check_order(self, stream: Stream, payload: bytes) -> None:
        sender, _, number = payload.split(b" ")
        key, place = (stream.number, sender), int(number)
        if place < self._last.get(key, -1):
            sent = self.pushes.get(payload)
            told = self.outcomes.get(payload)
            doubtful = told is not None and told[0] is Outcome.UNKNOWN
            repeated = self._asked[payload] > 1 and sent is not None and self.doubt_at > sent.at
            if not doubtful and not repeated:
                self.world.broken("order", f"{payload!r} came behind number {self._last[key]} of {sender.decode()}")
            return
        self._last[key] = place

    # --- pushes

    def sent(self, sent: Sent, name: bytes) -> None:
        self.pushes[name] = sent
        self.counts["pushes"] += 1

    def asked(self, frames: Frames) -> None:
        """A sender's message."""
        if frames[0] == PUSH2:
            request = decode_push(frames)
            for _, payload in unpack_targets(request.index, request.data):
                self._asked[payload.partition(b"|")[2]] += 1

    def on_bus(self, source: str, target: str, frames: Frames) -> None:
        """A message that arrives on a bus link, or at a sender."""
        kind = frames[0]
        if kind in _SHOWN:
            self.world.detail(target, "from %s: %s %s", source, kind.decode(), frames[1:])
        if kind == bus.PUSHES1:
            self._batch(source, target, bus.decode_batch(frames))
        elif kind == bus.OUTCOMES1:
            number, outcomes = bus.decode_outcomes(frames)
            self._answered(source, target, number, list(enumerate(outcomes)))
        elif kind == bus.LATE1:
            self._answered(source, target, *bus.decode_late(frames))

    def _batch(self, router: str, worker: str, batch: bus.Batch) -> None:
        payloads, start = [], 0
        for token_bytes, payload_bytes, _ in bus.unpack_entries(batch):
            end = start + token_bytes + payload_bytes
            payload = batch.data[start + token_bytes : end].partition(b"|")[2]
            start = end
            payloads.append(payload)
            self._arrived[payload] += 1
            if self._arrived[payload] > self._asked[payload] + self._stale[payload]:
                self.world.broken("one push, one worker", f"{payload!r} went to {worker} too, by {router}")
        self._batches[router, batch.number] = payloads
        self.world.detail(worker, "from %s: PUSHES1 %d of %s: %s", router, batch.number, batch.epoch, payloads)

    def _answered(self, worker: str, router: str, number: int, outcomes: list[tuple[int, int]]) -> None:
        payloads = self._batches.get((router, number), [])
        self.world.detail(router, "from %s: of batch %d: %s", worker, number, outcomes)
        for place, outcome in outcomes:
            if outcome == bus.STALE and place < len(payloads):
                self._stale[payloads[place]] += 1
                self.counts["stale"] += 1

    def done(self, sender: Sender, sent: Sent, outcome: Outcome) -> None:
        """A push has its outcome: is it true?"""
        now, payload = self.world.now, sent.payload.partition(b"|")[2]
        if payload in self.outcomes:
            self.world.broken("one outcome", f"{payload!r} has a second outcome {outcome.name}")
        self.outcomes[payload] = (outcome, now)
        self.counts[outcome.name] += 1
        self.world.detail(sender.name, "told of %s: %s", payload, outcome.name)
        here = self.delivered.get(payload)
        client = self.clients[sent.token]
        throughout = [each for each in client.connections if _bound_since(each, sent.at)]
        if outcome is Outcome.SENT and not here:
            self.world.broken("outcomes are true", f"{payload!r} is SENT, and was never written")
        elif outcome in NOT_DELIVERED and here:
            self.world.broken("outcomes are true", f"{payload!r} is {outcome.name}, and was delivered")
        elif outcome is Outcome.OFFLINE and throughout and not self._was_cut_off(sent.at):
            self.world.broken("outcomes are true", f"{payload!r} is OFFLINE, and {throughout[0]} was bound throughout")
        elif outcome is Outcome.UNKNOWN and self.doubt_at < 0:
            self.world.broken("outcomes are known", f"{payload!r} is UNKNOWN, and no fault explains it")
        elif self.strict and throughout and outcome not in (Outcome.SENT, Outcome.BUFFERED) and not client.kind.slow:
            self.world.broken("deploys are invisible", f"{payload!r} is {outcome.name}; {throughout[0]} was there")

    # --- faults

    def doubt(self) -> None:
        """From now on, for pushes under way, nobody may know."""
        self.doubt_at = self.world.now

    def crashed(self) -> None:
        """A worker has died."""
        self.crash_at = self.world.now
        self.counts["crashes"] += 1
        self.doubt()

    def _was_cut_off(self, since: float) -> bool:
        """Whether a host was cut off meanwhile: then nobody can know of its clients."""
        return self.cut_at >= 0 and (self.cut_at >= self.healed_at or self.healed_at + 5 >= since)


def _bound_since(connection: Connection, when: float) -> bool:
    stream = connection.stream
    bound = connection.bound_at is not None and connection.bound_at <= when and connection.ended_at is None
    return bound and not (stream.over or stream.shut or stream.reset)
