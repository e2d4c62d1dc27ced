"""Pushes to all, and those to users and groups that are not to be stored: one ALL1 to every worker concerned.

The counts are added up (docs/sender-protocol.md, sections To all, To a user or a group).
"""

from collections.abc import Sequence
from functools import partial

import msgpack
import ujson

from router.answers import Answers
from router.counters import Counters
from router.members import Worker, WorkerState
from router.membership import Membership
from router.memberships import Memberships
from router.outbox import Outbox
from router.pending import Pending, PendingAll
from router.services import Services
from router.traces import Traces
from shared.bus import FanOut, Segment, decode_numbered, encode_fan_out, is_targeted, without_origin
from shared.calls import Internal, Topic, internal
from shared.errors import BusError
from shared.outcomes import Outcome
from shared.requests import TARGET
from shared.signals import PublishError

#: Numbers have 64 bits on the bus; room is left for those to come.
_NUMBER_MAX = 1 << 63

_GROUP_MEMBERS = Topic(*internal(Internal.GROUP_MEMBERS))

_COUNTS = ("matched", "sent", "buffered", "overloaded", "refused", "too_large", "acked", "stored", "offline")


class FanOuts:
    """Fan-outs by number. The numbers grow also across restarts of the router."""

    def __init__(
        self,
        answers: Answers,
        membership: Membership,
        memberships: Memberships,
        services: Services,
        outbox: Outbox,
        counters: Counters,
        traces: Traces,
    ) -> None:
        self._services, self._traces = services, traces
        self._answers, self._membership, self._outbox, self._counters = answers, membership, outbox, counters
        self._memberships = memberships
        self._unrouted: dict[PendingAll, None] = {}
        self._under_way: dict[int, PendingAll] = {}
        self._asked: set[PendingAll] = set()  # nobody got these: whether there is such a group is being asked
        self._last_number = membership.started_ms << 20
        self.stopping = False

    def pass_number(self, number: object) -> None:
        """A worker has seen fan-out `number`: later ones are greater, also after this host's clock was set back."""
        if isinstance(number, int) and self._last_number < number < _NUMBER_MAX:
            self._last_number = number

    @property
    def takes_targets(self) -> bool:
        """Whether every worker knows ALL1 with a target."""
        return all(worker.targets for worker in self._membership.workers.values())

    def accept(self, pending: PendingAll, deadline: float, now: float) -> None:
        """Take a push in."""
        pending.deadline = deadline
        self._answers.open(pending, deadline)
        if self._membership.settled or self.stopping:
            self._start(pending, now)
        else:
            self._unrouted[pending] = None

    def change_ring(self, now: float) -> None:
        """There is a ring: start what waited for it."""
        unrouted, self._unrouted = self._unrouted, {}
        for pending in unrouted:
            self._start(pending, now)

    def _start(self, pending: PendingAll, now: float) -> None:
        known = self._membership.workers.values()
        workers = [] if self.stopping else [each for each in known if each.state is not WorkerState.LOST]
        if not workers:
            self._answers.done(pending, bytes([Outcome.UNAVAILABLE]), _detail(pending), now)
            return
        target = pending.target
        if target is not None:
            workers = [worker for worker in workers if self._memberships.may_have(worker, target)]
            if not workers:
                self._conclude(pending, Outcome.OFFLINE, now)
                return
        self._last_number += 1
        self._under_way[self._last_number] = pending
        self._counters["fan_outs"] += 1
        request = pending.request
        target_bytes, _ = TARGET.unpack(request.index)
        segment, payload = Segment(1, *pending.segment), request.data[target_bytes:]
        origin = pending.journey.origin if pending.journey else None
        frames = encode_fan_out(self._membership.epoch, self._last_number, segment, payload, target, origin)
        pending.workers = len(workers)
        for worker in workers:
            pending.waiting.add(worker.identity)
            self._give(worker, self._last_number, frames)
        fan_out = FanOut(self._membership.epoch, self._last_number, segment, payload, target, origin)
        self._traces.given_to_many(fan_out, [worker.name for worker in workers], now)

    def _give(self, worker: Worker, number: int, frames: list[bytes]) -> None:
        if worker.reached:
            worker.fan_outs[number] = frames, worker.incarnation
            told = frames if worker.origins else without_origin(frames)
            self._outbox.to_workers.append((worker.identity, told))
        else:
            worker.queued_fan_outs[number] = frames

    def flow(self, worker: Worker, now: float) -> None:
        """It is reached again: what waited for it goes."""
        queued, worker.queued_fan_outs = worker.queued_fan_outs, {}
        for number, frames in sorted(queued.items()):
            begun = number in worker.begun
            if (begun and worker.resumed is None) or (is_targeted(frames) and not worker.targets):
                self._not_given(number, worker, now)  # to a version that does not know such
            else:
                self._give_again(worker, number)
                self._give(worker, number, frames)

    @staticmethod
    def _give_again(worker: Worker, number: int) -> None:
        """What an incarnation had that the present one knows nothing of stays unknown."""
        if number in worker.begun and not worker.resumed and worker.begun[number] != worker.incarnation:
            worker.begun[number] = None

    def counts(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """COUNTS1. Raises BusError; then what this worker did is unknown."""
        number, body = decode_numbered(frames)
        pending = self._under_way.get(number)
        if pending is None or number not in worker.fan_outs:
            self._counters["bus_strays"] += 1
            return
        del worker.fan_outs[number]
        values = {key: body.get(key, 0) for key in _COUNTS}
        # clients that may be members; blind: none of these has got it, or will
        unknown, blind = body.get("unknown", 0), bool(body.get("blind"))
        good = all(type(value) is int and value >= 0 for value in (*values.values(), unknown))
        pending.blind |= blind
        if good:
            for key, value in values.items():
                pending.counts[key] = pending.counts.get(key, 0) + value
        self._traces.counted(number, worker.name, values if good else {}, now)
        known = good and (blind or not unknown) and worker.begun.get(number, "") is not None
        self._answered(number, pending, worker, known=known, now=now)
        if not good:
            raise BusError("COUNTS1 with counts that are no numbers")

    def _answered(self, number: int, pending: PendingAll, worker: Worker, known: bool, now: float) -> None:
        worker.begun.pop(number, None)
        pending.waiting.discard(worker.identity)
        pending.unknown_workers += not known
        if not pending.waiting:
            self._finish(number, pending, now)

    def _finish(self, number: int, pending: PendingAll, now: float) -> None:
        del self._under_way[number]
        nobody = not pending.workers
        outcome = Outcome.UNAVAILABLE if nobody else outcome_of(pending.counts, pending.unknown_workers)
        if outcome is Outcome.OFFLINE and pending.blind:
            outcome = Outcome.UNAVAILABLE
        self._traces.concluded(number, outcome, now)
        self._conclude(pending, outcome, now)

    def _conclude(self, pending: PendingAll, outcome: Outcome, now: float) -> None:
        """Answer it. Where no member of a group got it, the group service says whether there is such a group."""
        if outcome is not Outcome.OFFLINE or pending.target is None or pending.target.kind != "group":
            self._answers.done(pending, bytes([outcome]), _detail(pending), now)
            return
        self._asked.add(pending)
        name = pending.target.name
        body = msgpack.packb({"group": name, "most": 1})
        seconds = max(0.001, pending.deadline - now)
        self._services.ask(_GROUP_MEMBERS, name, body, seconds, now, partial(self._told, pending))

    def _told(self, pending: PendingAll, code: int, body: bytes, now: float) -> None:
        """Whether there is such a group; without an answer nothing is said of it."""
        if pending in self._asked:
            self._asked.discard(pending)
            self._answers.done(pending, bytes([Outcome.OFFLINE]), _detail(pending, code or _exists(body)), now)

    def unsent(self, worker: Worker, number: int, frames: list[bytes]) -> None:
        """ZeroMQ did not take the ALL1: it waits until the worker is reached again."""
        if worker.fan_outs.pop(number, None) is not None:
            worker.queued_fan_outs[number] = frames

    def never_reached(self, worker: Worker, now: float) -> None:
        """It will not be: what waited for it, and no incarnation had, it certainly does not have; it does not count."""
        queued, worker.queued_fan_outs = worker.queued_fan_outs, {}
        for number in queued:
            self._not_given(number, worker, now)

    def _not_given(self, number: int, worker: Worker, now: float) -> None:
        pending, begun = self._under_way[number], number in worker.begun
        pending.workers -= not begun
        self._answered(number, pending, worker, known=not begun, now=now)

    def gone(self, worker: Worker, now: float) -> None:
        """It has answered what it had begun, and has given its clients away: what it has not begun is for nobody."""
        numbers, worker.fan_outs = worker.fan_outs, {}
        for number in numbers:
            self._answered(number, self._under_way[number], worker, known=True, now=now)

    def lost(self, worker: Worker) -> None:
        """This incarnation may not answer: the next one gets again what it has had, and goes on with it."""
        given, worker.fan_outs = worker.fan_outs, {}
        for number, (frames, incarnation) in given.items():
            worker.begun.setdefault(number, incarnation)
            worker.queued_fan_outs[number] = frames

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: workers that have not answered are unknown, those that were not reached do not count."""
        assert isinstance(pending, PendingAll)
        if pending in self._asked:
            self._told(pending, PublishError.TIMED_OUT, b"", now)
            return
        if pending in self._unrouted:
            del self._unrouted[pending]
            self._answers.done(pending, bytes([Outcome.UNAVAILABLE]), _detail(pending), now)
            return
        number = next(number for number, other in self._under_way.items() if other is pending)
        for worker in self._membership.workers.values():
            worker.fan_outs.pop(number, None)
            begun = worker.begun.pop(number, "") != ""
            if worker.queued_fan_outs.pop(number, None) is not None and not begun:
                pending.waiting.discard(worker.identity)
                pending.workers -= 1
        pending.unknown_workers += len(pending.waiting)
        self._finish(number, pending, now)


def outcome_of(counts: dict[str, int], unknown_workers: int) -> Outcome:
    """The one outcome of a push to all: the best that any client got, or that one may have got (UNKNOWN)."""
    best = (
        ("acked", Outcome.ACKED),
        ("sent", Outcome.SENT),
        ("stored", Outcome.STORED),
        ("buffered", Outcome.BUFFERED),
    )
    for key, outcome in best:
        if counts.get(key):
            return outcome
    if unknown_workers:
        return Outcome.UNKNOWN
    for key, outcome in (
        ("overloaded", Outcome.OVERLOADED),
        ("too_large", Outcome.TOO_LARGE),
        ("refused", Outcome.REFUSED),
    ):
        if counts.get(key):
            return outcome
    return Outcome.OFFLINE


def _exists(body: bytes) -> bool:
    """Whether there is such a group, in an answer to GROUP_MEMBERS."""
    try:
        return bool(msgpack.unpackb(body).get("exists", True))
    except Exception:  # msgpack raises whatever its input leads to
        return True


def _detail(pending: PendingAll, exists: int = True) -> bytes:
    counts = {key: pending.counts.get(key, 0) for key in _COUNTS}
    more = {"unknown_workers": pending.unknown_workers} if pending.unknown_workers else {}
    more |= {} if exists else {"exists": False}
    return ujson.dumps(
        {"workers": pending.workers, **counts, **more, **({"incomplete": True} if pending.blind else {})}
    ).encode()
