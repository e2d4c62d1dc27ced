"""PUSH1 and PUSH2: checked against what this version can do, what fits, and what an `id` says was there before."""

from collections.abc import Callable, Sequence

import ujson

from router.connections import Connection
from router.expansions import PendingMembers
from router.journeys import Arrival, Journey
from router.overload import check_hold
from router.parts import Parts
from router.pending import Pending, PendingAll, PendingPushes, SegmentTail
from router.repeats import Repeat
from shared.bus import OPTIONS, ORIGIN, REPEATABLE, Target, Terms
from shared.errors import RequestError
from shared.outcomes import Outcome
from shared.push_ids import PREFIX_BYTES, id_prefix
from shared.requests import TARGET, PushOptions, PushRequest, decode_push
from shared.tokens import token_fault

#: A worker waits for acknowledgements until `timeout_ms` is over; so much later (seconds) its answer is not waited for.
ACKED_GRACE_S = 1.0

_KINDS = {"user": "uid", "group": "group"}


class PushRequests:
    """Takes push requests in. `random_bytes(n)` makes the push ids of requests without an `id`."""

    def __init__(self, parts: Parts, random_bytes: Callable[[int], bytes]) -> None:
        self._parts = parts
        self._max_targets = parts.settings.max_targets
        self._random_bytes = random_bytes

    def receive(self, connection: Connection, frames: Sequence[bytes], now: float) -> None:
        """A PUSH1 or PUSH2 with a good request id. Raises RequestError; then nothing of it is delivered."""
        check_hold(connection, frames[1], now)
        request = decode_push(frames, self._max_targets)
        check_options(request.options)
        self._parts.sender_times.arrived(request.options.sent_at)
        if request.options.id is not None:
            self._receive_with_id(connection, frames[1], request, request.options.id, now)
            return
        self._admit(connection, frames[1], _size(request), now)
        pending = self._pending(connection, frames[1], request, 0, self._random_bytes(PREFIX_BYTES))
        self._start(pending, request, None, now)

    def _receive_with_id(
        self, connection: Connection, request_id: bytes, request: PushRequest, id: str, now: float
    ) -> None:
        name, options, repeats = connection.name, request.options, self._parts.repeats
        if name is None:
            raise RequestError("hello_needed", "a request with an id needs HELLO1 with a name before it")
        kept = (options.ttl, options.wait, options.collapse)
        content = (options.to, options.signal, options.sub_signal, kept, request.index, request.data)
        known = repeats.find(name, id, content, now)
        if known is not None:
            self._receive_again(connection, request_id, request, known, now)
            return
        self._admit(connection, request_id, _size(request), now)
        pending = self._pending(connection, request_id, request, REPEATABLE, id_prefix(name, id.encode()))
        pending.repeat = repeats.begin(name, id, content, pending)
        self._start(pending, request, None, now)

    def _receive_again(
        self, connection: Connection, request_id: bytes, request: PushRequest, known: Repeat, now: float
    ) -> None:
        """Its `id` is known: wait for it, try again what failed for now, or answer from memory."""
        again = known.to_try_again() if known.pending is None else []
        self._admit(connection, request_id, _size(request) if again else 0, now)
        self._parts.counters["repeats"] += 1
        if known.pending is not None:
            self._note_repeat(connection, request, b"", "waits with the first", now)
            self._parts.answers.join(known.pending, connection, request_id)
        elif not again:
            self._note_repeat(connection, request, known.outcomes, "answered as before", now)
            self._parts.answers.say_done(connection, request_id, known.outcomes, known.detail)
        else:
            pending = self._pending(
                connection, request_id, request, REPEATABLE, id_prefix(known.name, known.id.encode())
            )
            pending.repeat = known
            if isinstance(pending, PendingPushes):
                pending.first = known.outcomes
            self._parts.repeats.begin_again(known, pending)
            self._start(pending, request, again, now)

    def _note_repeat(
        self, connection: Connection, request: PushRequest, outcomes: bytes, what: str, now: float
    ) -> None:
        if request.options.origin is not None:
            journey = Journey(request.options.origin, request.options.to, connection.name, now)
            self._parts.outbox.arrivals.append(Arrival(journey, now, outcomes, repeat=what))

    def _admit(self, connection: Connection, request_id: bytes, size: int, now: float) -> None:
        try:
            self._parts.admission.check(connection, size)
        except RequestError as error:
            if error.code == "overloaded":
                self._parts.admission.hold(connection, request_id, now)
            raise

    def _pending(
        self, connection: Connection, request_id: bytes, request: PushRequest, flags: int, prefix: bytes
    ) -> PendingPushes | PendingAll | PendingMembers:
        terms = terms_of(request.options, connection.name or b"")
        if terms is not None:
            flags |= OPTIONS
        if request.options.origin is not None:
            flags |= ORIGIN
        segment: SegmentTail = (flags, prefix, request.options.signal, request.options.sub_signal)
        size, parts = _size(request), self._parts
        if request.options.to == "all" and terms is None:
            return PendingAll(parts.fan_outs, connection, request_id, size, segment, request)
        target = target_of(request) if terms is None else None
        if target is not None and parts.fan_outs.takes_targets:
            return PendingAll(parts.fan_outs, connection, request_id, size, segment, request, target)
        if request.options.to != "token":
            return PendingMembers(parts.expansions, connection, request_id, segment, request, terms)
        pending = PendingPushes(parts.pushes, connection, request_id, size, segment, request.count)
        pending.terms = terms
        return pending

    def _start(self, pending: Pending, request: PushRequest, only: Sequence[int] | None, now: float) -> None:
        self._parts.counters["requests"] += 1
        if request.options.origin is not None:
            pending.journey = Journey(request.options.origin, request.options.to, pending.connection.name, now)
        deadline = now + request.options.timeout_ms / 1000
        fault = name_fault(request)
        if fault:
            self._parts.answers.open(pending, deadline)
            detail = ujson.dumps({"matched": 0, "reason": fault}).encode()
            self._parts.answers.done(pending, bytes([Outcome.REFUSED]), detail, now)
        elif isinstance(pending, PendingPushes):
            self._parts.counters["pushes"] += pending.count if only is None else len(only)
            pending.since = now
            self._parts.pushes.accept(pending, request, only, _deadline(pending.terms, deadline), now)
        elif isinstance(pending, PendingAll):
            self._parts.fan_outs.accept(pending, deadline, now)
        elif isinstance(pending, PendingMembers):
            self._parts.expansions.accept(pending, _deadline(pending.terms, deadline), now)


def check_options(options: PushOptions) -> None:
    """Raises RequestError `bad_options` for what has no meaning."""
    if options.collapse is not None and not options.ttl:
        raise RequestError("bad_options", "option collapse is about stored pushes: it needs ttl")


def name_fault(request: PushRequest) -> str | None:
    """What is wrong with the name of a user or a group to which a request pushes; it is a name as tokens are."""
    to = request.options.to
    if to not in _KINDS:
        return None
    target_bytes, _ = TARGET.unpack(request.index)
    fault = token_fault(request.data[:target_bytes])
    return fault.replace("token", f"name of the {to}", 1) if fault else None


def target_of(request: PushRequest) -> Target | None:
    """The user or the group of a request; None: it has none, or a name that is not UTF-8."""
    kind = _KINDS.get(request.options.to)
    if kind is None:
        return None
    target_bytes, _ = TARGET.unpack(request.index)
    try:
        return Target(kind, request.data[:target_bytes].decode())
    except UnicodeDecodeError:
        return None


def terms_of(options: PushOptions, sender: bytes) -> Terms | None:
    """What its worker must know beyond sending; None: nothing. `sender`: its name, if any."""
    acked = options.wait == "acked"
    if not options.ttl and not acked:
        return None
    return Terms(options.ttl, acked, options.collapse, options.timeout_ms, sender.decode(errors="replace"))


def _deadline(terms: Terms | None, deadline: float) -> float:
    """Workers answer a push that awaits an acknowledgement at its time-out; they are given a moment more."""
    return deadline + ACKED_GRACE_S if terms is not None and terms.acked else deadline


def _size(request: PushRequest) -> int:
    return len(request.index) + len(request.data)
