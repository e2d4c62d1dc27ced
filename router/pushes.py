"""Pushes to tokens: routed by claims and ring, sent in batches, their outcomes gathered."""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby

import ujson

from router.answers import Answers
from router.batches import Batch, Lane
from router.claims import Claims
from router.counters import Counters
from router.journeys import Hop
from router.lanes import Lanes
from router.members import Worker
from router.membership import Membership
from router.outbox import Outbox
from router.parking import Parking, Returned
from router.pending import Pending, PendingPushes, gather
from router.traces import Traces
from router.unreached import Unreached
from shared.bus import ENTRY, HELD, KEPT, STALE, decode_late, decode_numbered, decode_outcomes, decode_when
from shared.durations import Durations
from shared.errors import BusError
from shared.outcomes import Outcome
from shared.requests import PushRequest, unpack_targets
from shared.tokens import slot_of, token_fault

_UNAVAILABLE, _UNKNOWN = bytes([Outcome.UNAVAILABLE]), bytes([Outcome.UNKNOWN])
#: Translates a worker's outcome bytes: what is no outcome becomes UNKNOWN.
_CHECKED = bytes([byte if byte in (*Outcome, HELD, KEPT, STALE) else Outcome.UNKNOWN for byte in range(256)])

#: What still has to be routed: the packed request and, for a retry, the positions to try again.
_Unrouted = tuple[PushRequest, Sequence[int] | None]


class Pushes:
    """Every push that has no outcome yet is in one place: `_unrouted` (no ring yet), a lane (maybe the parked one),

    a batch of a worker, or `_parking`, when it came back.

    `queue_times`: from a request to its leave in a batch, `answer_times`: from a batch's leave to its OUTCOMES1,
    `outcome_times`: from the request to each push's outcome.
    """

    def __init__(
        self,
        answers: Answers,
        membership: Membership,
        claims: Claims,
        outbox: Outbox,
        counters: Counters,
        traces: Traces,
        window: int,
    ) -> None:
        self._answers, self._membership, self._outbox, self._counters = answers, membership, outbox, counters
        self._claims, self._traces = claims, traces
        self._window = window
        self._lanes = Lanes(claims.by_token)
        self._parking = Parking()
        self._unrouted: dict[PendingPushes, _Unrouted] = {}
        self._last_number = membership.started_ms << 20  # no answer to an earlier router's batch is mistaken
        self.stopping = False
        self.unreached: Unreached | None = None  # where somebody wants to know of those
        self.queue_times, self.answer_times, self.outcome_times = Durations(), Durations(), Durations()

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
        self.follow_claims()
        for part in self._lanes.change_ring(owners, self._must_park(self._lanes.moved(owners))):
            self._resolve(part.pending, part.count, now)
        if not self._lanes:
            for returned in self._parking.take():
                self._resolve(returned.pending, 1, now)
        unrouted, self._unrouted = self._unrouted, {}
        for pending, (request, only) in unrouted.items():
            if self._lanes:
                self._route(pending, request, only)
            else:
                self._answers.done(pending, _nobody(pending, request, only), b"", now)

    def follow_claims(self) -> None:
        """Route what waits by the newest claims. To be called before anything else is routed."""
        moved = self._claims.take_moved()
        if moved and self._lanes:
            self._lanes.park(self._must_park(moved), {worker for _, worker in moved})

    def _must_park(self, moved: Iterable[tuple[int, str]]) -> set[int]:
        """Of slots and the workers that their pushes have gone to: those of which some may come back."""
        slots, busy = set(), {}
        for slot, name in moved:
            worker = self._membership.workers.get(name.encode())
            if worker is not None and (worker.in_flight or worker.held):
                busy[name] = worker
                if slot not in self._lanes.parked_slots:
                    slots.add(slot)
        self._parking.wait_for(busy.values())
        return slots

    def flush(self, now: float) -> None:
        """Send what waits, as far as the workers' windows allow: one message per worker, or several if it is much."""
        if self.stopping:
            return
        if self._lanes.parked_slots and not self._parking.waits:
            self._go_on(now)
        for lane in self._lanes:
            if not lane.entries:
                continue
            worker = self._membership.workers.get(lane.worker.encode())
            if worker is not None and worker.reached:
                if not worker.stores:
                    for part in lane.take_with_terms():
                        self._resolve(part.pending, part.count, now)  # in no batch: gathered as UNAVAILABLE
                while len(worker.in_flight) < self._window:
                    taken = lane.next_batch(self._last_number + 1, self._membership.epoch, now, worker.origins)
                    if taken is None:
                        break
                    self._send(worker, *taken, now)

    def _go_on(self, now: float) -> None:
        """Nothing more can come back: route what did, and then what was parked."""
        parked = self._lanes.unpark()
        self._membership.fence(self._parking.take_owed(), now)
        for pending, group in groupby(self._parking.take(), key=lambda returned: returned.pending):
            again = []
            for returned in group:
                if self._goes_elsewhere(returned):
                    again.append(returned)
                else:
                    self._resolve(pending, 1, now)  # gathered as UNAVAILABLE: its worker would say the same again
                    self._doubt_claim(returned, now)
            self._counters["pushes_rerouted"] += len(again)
            self._lanes.route_packed(pending, [each.entry for each in again], [each.item for each in again])
        self._counters["pushes_parked"] += sum(part.count for part, _, _ in parked)
        self._lanes.route_chunks(parked)

    def _goes_elsewhere(self, returned: Returned) -> bool:
        """Whether ring or claims have changed for this push since it was sent."""
        token = _token(returned.entry, returned.item)
        return (
            returned.batch.epoch != self._membership.epoch
            or self._claims.version_of(slot_of(token)) > returned.batch.version
            or self._lanes.target(token) != returned.worker
        )

    def _doubt_claim(self, returned: Returned, now: float) -> None:
        """Its worker does not have a client that is known as claimed by it: it is to say what it has claimed."""
        claimed = self._claims.by_token.get(_token(returned.entry, returned.item))
        if claimed is not None and claimed.worker == returned.worker:
            self._membership.ask(returned.worker.encode(), now)

    def _send(self, worker: Worker, batch: Batch, frames: list[bytes], now: float) -> None:
        self._last_number, batch.sent_at = batch.number, now
        batch.version = self._claims.version
        worker.in_flight[batch.number] = batch
        self._outbox.to_workers.append((worker.identity, frames))
        self._counters["batches"] += 1
        self._traces.given(worker.name, batch, frames, now)
        for part in batch.parts:
            self.queue_times.add(now - part.pending.since, part.count)

    def unsent(self, worker: Worker, numbers: Sequence[int], now: float) -> None:
        """Batches that ZeroMQ did not take: they wait again, first in their lane, until the worker is reached."""
        lane = self._lanes.get(worker.name)
        for number in reversed(numbers):
            batch = worker.in_flight.pop(number, None)
            if batch is not None:
                self._parking.resolved(number)
                if lane is not None:
                    lane.put_back(batch)
                else:
                    self._settle(batch, _UNAVAILABLE * batch.count, now)

    def outcomes(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """OUTCOMES1. Raises BusError; then the pushes of the batch are UNKNOWN."""
        number, outcomes = decode_outcomes(frames)
        batch = worker.in_flight.pop(number, None)
        if batch is None:
            self._counters["bus_strays"] += 1
            return
        self.answer_times.add(now - batch.sent_at, batch.count)
        if len(frames) > 3:
            _pass_worker(worker, batch, frames, now)
        if len(outcomes) != batch.count:
            self._settle(batch, _UNKNOWN * batch.count, now)
            raise BusError(f"{len(outcomes)} outcomes for {batch.count} pushes")
        self._traces.answered(number, outcomes, now)
        if outcomes.strip(b"\0"):
            outcomes = outcomes.translate(_CHECKED)
            if self.unreached is not None and Outcome.OFFLINE in outcomes:
                self.unreached.add_all(batch, outcomes, now)
            if HELD in outcomes or STALE in outcomes or KEPT in outcomes:
                self._open_outcomes(worker, batch, bytearray(outcomes), now)
                return
        else:
            batch.all_sent = True
        self._settle(batch, outcomes, now)

    def _settle(self, batch: Batch, outcomes: bytes, now: float) -> None:
        """Every push of the batch has its outcome."""
        batch.outcomes = outcomes
        self._parking.resolved(batch.number)
        for part in batch.take_parts():
            self._resolve(part.pending, part.count, now)

    def _open_outcomes(self, worker: Worker, batch: Batch, outcomes: bytearray, now: float) -> None:
        """Some pushes are HELD or KEPT, or have to go elsewhere."""
        batch.outcomes = outcomes
        items, returned = list(batch.items()), []
        for part in batch.parts:
            known, kept = part.count, 0
            for index in range(part.start, part.start + part.count):
                if outcomes[index] == HELD:
                    batch.held[index] = items[index][1]
                    known -= 1
                elif outcomes[index] == KEPT:
                    batch.kept.add(index)
                    known -= 1
                    kept += 1
                elif outcomes[index] == STALE:
                    returned.append(Returned(batch, index, worker.name, part.pending, *items[index]))
                    known -= 1
            self._resolve(part.pending, known, now)
            self._ease(part.pending, kept, now)
        batch.data = b""
        self._file(worker, batch)
        for each in returned:
            self._come_back(each, now)

    def _file(self, worker: Worker, batch: Batch) -> None:
        """Keep an answered batch as long as anything more is to be said of it."""
        if batch.held:
            worker.held[batch.number] = batch
            return
        worker.held.pop(batch.number, None)
        self._parking.resolved(batch.number)
        if batch.kept:
            worker.kept[batch.number] = batch
        else:
            worker.kept.pop(batch.number, None)
            batch.take_parts()

    def late(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """LATE1: outcomes of pushes that were HELD or KEPT. Raises BusError."""
        number, late = decode_late(frames)
        batch = worker.held.get(number) or worker.kept.get(number)
        if batch is None:
            self._counters["bus_strays"] += 1
            return
        self._traces.settled(number, late, now)
        for index, outcome in late:
            self._late(worker, batch, index, _CHECKED[outcome], now)
        self._file(worker, batch)

    def detail(self, worker: Worker, frames: Sequence[bytes]) -> None:
        """DETAIL1: how many older pushes of a token the cache has dropped to store one. Raises BusError."""
        number, body = decode_numbered(frames)
        batch = worker.held.get(number) or worker.kept.get(number)
        if batch is None:
            self._counters["bus_strays"] += 1
            return
        try:
            dropped = {int(index): int(count) for index, count in body["dropped"].items()}
        except (KeyError, ValueError, TypeError, AttributeError):
            raise BusError("DETAIL1 without counts of dropped pushes") from None
        for index, count in dropped.items():
            if not 0 <= index < batch.count:
                raise BusError("DETAIL1 for a push that is not in its batch")
            pending = batch.part_of(index).pending
            pending.dropped = pending.dropped or {}
            pending.dropped[ENTRY.unpack(batch.entry(index))[2]] = count

    def _late(self, worker: Worker, batch: Batch, index: int, outcome: int, now: float) -> None:
        if not isinstance(batch.outcomes, bytearray) or index >= batch.count or outcome == HELD:
            raise BusError("LATE1 for a push that is not in its batch")
        item = batch.held.pop(index, None)
        if item is None and index not in batch.kept:
            self._counters["bus_strays"] += 1
            return
        if item is None and outcome == STALE:
            raise BusError("LATE1 that sends back what was in its place")
        batch.kept.discard(index)
        batch.outcomes[index] = outcome
        if self.unreached is not None and outcome == Outcome.OFFLINE and item is not None:
            self.unreached.add(batch, index, item, now)
        pending = batch.part_of(index).pending
        if outcome == KEPT:
            batch.kept.add(index)
            self._ease(pending, 1, now)
        elif item is not None and outcome == STALE:
            self._come_back(Returned(batch, index, worker.name, pending, batch.entry(index), item), now)
        else:
            self._resolve(pending, 1, now)

    @staticmethod
    def _ease(pending: PendingPushes, count: int, now: float) -> None:
        if count and pending.eased is not None:
            pending.eased(count, now)

    def _come_back(self, returned: Returned, now: float) -> None:
        """Its worker has not delivered it, for it is another's. It waits, and all later ones to its slot are parked."""
        slot = slot_of(_token(returned.entry, returned.item))
        if self.stopping or not self._lanes:
            self._resolve(returned.pending, 1, now)
            self._membership.fence({returned.worker: [slot]}, now)  # nothing is routed again: nothing to be overtaken
            return
        if self._parking.add(returned, slot):
            self.follow_claims()
            self._must_park([(slot, returned.worker)])  # also if it is parked: for another worker, maybe
            if slot not in self._lanes.parked_slots:
                self._lanes.park({slot}, [returned.worker])

    def lost(self, worker: Worker, now: float) -> None:
        """Nobody will hear from this incarnation again: what it had, and has not answered, is UNKNOWN."""
        batches = list(chain(worker.in_flight.values(), worker.held.values(), worker.kept.values()))
        worker.in_flight.clear()
        worker.held.clear()
        worker.kept.clear()
        for batch in batches:
            so_far = bytes(batch.outcomes or bytes([HELD]) * batch.count).replace(bytes([KEPT]), bytes([HELD]))
            batch.outcomes = so_far.replace(bytes([HELD]), _UNKNOWN)
            batch.held.clear()
            batch.kept.clear()
            self._parking.resolved(batch.number)
            for part in batch.take_parts():
                self._resolve(part.pending, so_far.count(HELD, part.start, part.start + part.count), now)

    def forget_expired(self, now: float) -> None:
        """Requests were answered because their time was over: do not wait for what can come back no more.

        A worker that is heard and has not answered a batch in all that time never will: its answer went with a link
        that broke. The batch must not take up its window for ever. (A silent worker's window stays full.)
        """
        self._parking.drop_expired()
        for worker in self._membership.workers.values():
            if worker.in_flight and self._membership.is_heard(worker, now):
                for number, batch in list(worker.in_flight.items()):
                    if all(part.pending.answered for part in batch.parts):
                        del worker.in_flight[number]
                        batch.take_parts()
                        self._counters["batches_forgotten"] += 1

    def _resolve(self, pending: PendingPushes, count: int, now: float) -> None:
        """So many more pushes of the request have an outcome; answer it when all have."""
        pending.remaining -= count
        if not pending.answered:
            self.outcome_times.add(now - pending.since, count)
        if not pending.remaining and not pending.answered:
            self._answers.done(pending, gather(pending), _detail(pending), now)
            pending.parts.clear()

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: UNKNOWN for what a worker has, UNAVAILABLE for the rest, which is never sent."""
        assert isinstance(pending, PendingPushes)
        self._unrouted.pop(pending, None)
        self._answers.done(pending, gather(pending), _detail(pending), now)
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

    @property
    def lanes(self) -> Iterable[Lane]:
        """Where pushes wait: for each worker, and until their slots have changed hands."""
        return (*self._lanes, self._lanes.parked)

    def is_parked(self, slot: int) -> bool:
        """Whether pushes to tokens of this slot wait until it has changed hands."""
        return slot in self._lanes.parked_slots

    @property
    def parked(self) -> int:
        """How many pushes wait until their slots have changed hands."""
        return self._lanes.parked.counted


def _pass_worker(worker: Worker, batch: Batch, frames: Sequence[bytes], now: float) -> None:
    """OUTCOMES1 of a batch with origins. Raises BusError."""
    when = decode_when(frames)
    if when is None:
        return
    for part in batch.parts:
        journey = part.pending.journey
        if journey is not None and not part.pending.answered:
            journey.pass_worker(Hop(worker.name, part.count, batch.sent_at, now, *when))


def _token(entry: bytes, item: bytes) -> bytes:
    target_bytes, _, _ = ENTRY.unpack(entry)
    return item[:target_bytes]


def _detail(pending: PendingPushes) -> bytes:
    return ujson.dumps({"dropped": pending.dropped}).encode() if pending.dropped else b""


def _nobody(pending: PendingPushes, request: PushRequest, only: Sequence[int] | None) -> bytes:
    """Outcomes when no worker is live: REFUSED for what is no token, else UNAVAILABLE."""
    outcomes = bytearray(gather(pending))
    targets = unpack_targets(request.index, request.data)
    tried = range(pending.count) if only is None else set(only)
    for position, (target, _) in enumerate(targets):
        if position in tried and token_fault(target) is not None:
            outcomes[position] = Outcome.REFUSED
    return bytes(outcomes)
