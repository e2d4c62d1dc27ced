"""Pushes to tokens: routed by the ring, sent in batches, their outcomes gathered."""

from collections.abc import Sequence
from itertools import chain

from router.answers import Answers
from router.batches import Batch
from router.counters import Counters
from router.lanes import Lanes
from router.membership import Membership, Worker
from router.outbox import Outbox
from router.pending import Pending, PendingPushes, gather
from shared.bus import HELD, decode_late, decode_outcomes
from shared.errors import BusError
from shared.outcomes import Outcome
from shared.requests import PushRequest, unpack_targets
from shared.tokens import token_fault

_HELD = bytes([HELD])
#: Translates a worker's outcome bytes: what is no outcome becomes UNKNOWN.
_CHECKED = bytes([byte if byte in (*Outcome, HELD) else Outcome.UNKNOWN for byte in range(256)])

#: What still has to be routed: the packed request and, for a retry, the positions to try again.
_Unrouted = tuple[PushRequest, Sequence[int] | None]


class Pushes:
    """Every push that has no outcome yet is in one place: `_unrouted` (no ring yet), a lane, or a batch of a worker."""

    def __init__(
        self, answers: Answers, membership: Membership, outbox: Outbox, counters: Counters, window: int
    ) -> None:
        self._answers, self._membership, self._outbox, self._counters = answers, membership, outbox, counters
        self._window = window
        self._lanes = Lanes()
        self._unrouted: dict[PendingPushes, _Unrouted] = {}
        self._last_number = membership.epoch.started_ms << 20  # no answer to an earlier router's batch is mistaken
        self.stopping = False

    def accept(
        self, pending: PendingPushes, request: PushRequest, only: Sequence[int] | None, deadline: float, now: float
    ) -> None:
        """Take a request in. `only`: the positions to try, of a retry; None: all."""
        self._answers.open(pending, deadline)
        pending.remaining = pending.count if only is None else len(only)
        if self._lanes and not self.stopping:
            self._route(pending, request, only)
        elif self._membership.settled or self.stopping:
            self._answers.done(pending, _nobody(pending, request, only), b"", now)
        else:
            self._unrouted[pending] = (request, only)

    def _route(self, pending: PendingPushes, request: PushRequest, only: Sequence[int] | None) -> None:
        if only is None:
            self._lanes.route(pending, request.index, request.data)
        else:
            self._lanes.route_some(pending, request.index, request.data, only)

    def change_ring(self, owners: Sequence[str], now: float) -> None:
        """Route what waits by the ring of a new epoch; with no worker it is UNAVAILABLE."""
        for part in self._lanes.change_ring(owners):
            self._resolve(part.pending, part.count, now)
        unrouted, self._unrouted = self._unrouted, {}
        for pending, (request, only) in unrouted.items():
            if self._lanes:
                self._route(pending, request, only)
            else:
                self._answers.done(pending, _nobody(pending, request, only), b"", now)

    def flush(self) -> None:
        """Send what waits, as far as the workers' windows allow: one message per worker, or several if it is much."""
        if self.stopping:
            return
        for lane in self._lanes:
            if not lane.entries:
                continue
            worker = self._membership.workers.get(lane.worker.encode())
            if worker is not None:
                while len(worker.in_flight) < self._window:
                    taken = lane.next_batch(self._last_number + 1, self._membership.epoch)
                    if taken is None:
                        break
                    self._send(worker, *taken)

    def _send(self, worker: Worker, batch: Batch, frames: list[bytes]) -> None:
        self._last_number = batch.number
        worker.in_flight[batch.number] = batch
        self._outbox.to_workers.append((worker.identity, frames))
        self._counters["batches"] += 1

    def unsent(self, worker: Worker, unsent: Sequence[tuple[int, bytes]]) -> None:
        """(batch number, data frame) of batches that ZeroMQ did not take: they wait again, first in their lane.

        To be called before the worker is lost; the new ring then routes them again.
        """
        lane = self._lanes.get(worker.name)
        for number, data in reversed(unsent):
            batch = worker.in_flight.pop(number, None)
            if batch is not None and lane is not None:
                lane.put_back(batch, data)

    def outcomes(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """OUTCOMES1. Raises BusError; then the pushes of the batch are UNKNOWN."""
        number, outcomes = decode_outcomes(frames)
        batch = worker.in_flight.pop(number, None)
        if batch is None:
            self._counters["bus_strays"] += 1
            return
        if len(outcomes) != batch.count:
            self._settle(batch, bytes([Outcome.UNKNOWN]) * batch.count, now)
            raise BusError(f"{len(outcomes)} outcomes for {batch.count} pushes")
        if outcomes.strip(b"\0"):
            outcomes = outcomes.translate(_CHECKED)
            if HELD in outcomes:
                self._hold(worker, batch, outcomes, now)
                return
        else:
            batch.all_sent = True
        self._settle(batch, outcomes, now)

    def _settle(self, batch: Batch, outcomes: bytes, now: float) -> None:
        """Every push of the batch has its outcome."""
        batch.outcomes = outcomes
        for part in batch.take_parts():
            self._resolve(part.pending, part.count, now)

    def _hold(self, worker: Worker, batch: Batch, outcomes: bytes, now: float) -> None:
        batch.outcomes, batch.held = bytearray(outcomes), outcomes.count(_HELD)
        worker.held[batch.number] = batch
        for part in batch.parts:
            held = outcomes.count(_HELD, part.start, part.start + part.count)
            self._resolve(part.pending, part.count - held, now)

    def late(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """LATE1: outcomes of pushes that were HELD. Raises BusError."""
        number, late = decode_late(frames)
        batch = worker.held.get(number)
        if batch is None:
            self._counters["bus_strays"] += 1
            return
        for index, outcome in late:
            self._late(batch, index, _CHECKED[outcome], now)
        if not batch.held:
            del worker.held[number]
            batch.take_parts()

    def _late(self, batch: Batch, index: int, outcome: int, now: float) -> None:
        if not isinstance(batch.outcomes, bytearray) or index >= batch.count or outcome == HELD:
            raise BusError("LATE1 for a push that is not in its batch")
        if batch.outcomes[index] != HELD:
            self._counters["bus_strays"] += 1
            return
        batch.outcomes[index] = outcome
        batch.held -= 1
        part = next(part for part in batch.parts if index < part.start + part.count)
        self._resolve(part.pending, 1, now)

    def lost(self, worker: Worker, now: float) -> None:
        """Nobody will hear from this incarnation again: what it had, and has not answered, is UNKNOWN."""
        batches = list(chain(worker.in_flight.values(), worker.held.values()))
        worker.in_flight.clear()
        worker.held.clear()
        for batch in batches:
            so_far = bytes(batch.outcomes or _HELD * batch.count)
            batch.outcomes = so_far.replace(_HELD, bytes([Outcome.UNKNOWN]))
            for part in batch.take_parts():
                self._resolve(part.pending, so_far.count(_HELD, part.start, part.start + part.count), now)

    def _resolve(self, pending: PendingPushes, count: int, now: float) -> None:
        """So many more pushes of the request have an outcome; answer it when all have."""
        pending.remaining -= count
        if not pending.remaining and not pending.answered:
            self._answers.done(pending, gather(pending), b"", now)
            pending.parts.clear()

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: UNKNOWN for what a worker has, UNAVAILABLE for the rest, which is never sent."""
        assert isinstance(pending, PendingPushes)
        self._unrouted.pop(pending, None)
        self._answers.done(pending, gather(pending), b"", now)
        for part in pending.parts:
            if part.lane is not None:
                part.lane.bury(part.count)
        pending.parts.clear()

    def waits_in_router(self, pending: PendingPushes) -> bool:
        """Whether no push of it is with a worker."""
        return all(part.batch is None for part in pending.parts)

    def waiting(self) -> dict[str, int]:
        """How many pushes wait for each worker."""
        return {lane.worker: lane.counted for lane in self._lanes}


def _nobody(pending: PendingPushes, request: PushRequest, only: Sequence[int] | None) -> bytes:
    """Outcomes when no worker is live: REFUSED for what is no token, else UNAVAILABLE."""
    outcomes = bytearray(gather(pending))
    targets = unpack_targets(request.index, request.data)
    tried = range(pending.count) if only is None else set(only)
    for position, (target, _) in enumerate(targets):
        if position in tried and token_fault(target) is not None:
            outcomes[position] = Outcome.REFUSED
    return bytes(outcomes)
