"""Pushes to users, groups and all known: a service says who that is, and each member gets a push as to a token.

Members come in pages, and each page is a push request of its own whose outcomes are added up, so that a group may have
any number of them. A page has a copy of the payload for each member; so it is small, few are under way, and the next
is asked for when there is room for it. What cannot be pushed in time is said to be incomplete, and pushed when the
request is repeated under its id. There is one outcome for all, and counts (docs/sender-protocol.md, section To a user
or a group).
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import msgpack
import ujson

from router.answers import Answers
from router.connections import Connection
from router.counters import Counters
from router.overload import Admission
from router.paces import Pace
from router.pending import Pending, PendingPushes, SegmentTail
from router.pushes import Pushes
from router.services import Services
from shared.bus import Terms
from shared.calls import Internal, Topic, internal
from shared.outcomes import Outcome
from shared.push_ids import PREFIX_BYTES
from shared.requests import TARGET, PushOptions, PushRequest
from shared.tokens import encode_token

#: Members in one page: with tokens of 255 bytes an answer stays below the smallest limits that make sense for bodies.
PAGE = 2000
#: Bytes of one page at most (of one push, if that is more), and of the pages of one request that are under way.
_PAGE_BYTES, _UNDER_WAY_BYTES = 1 << 20, 8 << 20
#: Members under way that are to be stored, of all requests together: this part of what may wait at one worker for the
#: message cache.
_UNDER_WAY_PART = 0.8
_TOKEN_BYTES = 64  # about
#: Tokens in an answer, however many were asked for.
_TOKENS_MAX = 1 << 16

_ASKED = {
    "user": ("uid", internal(Internal.MEMBERS)),
    "group": ("group", internal(Internal.GROUP_MEMBERS)),
    "all": ("all", internal(Internal.TOKENS)),
}
#: The one outcome is the best that any member got, or may have got; behind these comes the first that is there.
_BEST = (Outcome.ACKED, Outcome.SENT, Outcome.STORED, Outcome.BUFFERED, Outcome.UNKNOWN)


class PendingMembers(Pending):
    """A push to a user or a group. `more`: there may be members behind `last`.

    `pages`: those under way, and of each how many members the message cache has still to store.

    `asking`: the next page is asked for. `most`: members in a page, the same for each try of a request, so that each
    page has the same ids.
    """

    __slots__ = (
        "asking",
        "counts",
        "deadline",
        "exists",
        "failed",
        "last",
        "more",
        "most",
        "number",
        "pages",
        "request",
        "segment",
        "terms",
    )

    def __init__(
        self,
        desk: "Expansions",
        connection: Connection,
        request_id: bytes,
        segment: SegmentTail,
        request: PushRequest,
        terms: Terms | None,
    ) -> None:
        super().__init__(desk, connection, request_id, len(request.index) + len(request.data))
        self.segment, self.request, self.terms = segment, request, terms
        self.counts: Counter[Outcome] = Counter()  # in order of the first of each
        self.pages: dict[PendingPushes, int] = {}
        self.number = 0
        self.more, self.last = True, ""
        self.most, self.asking = page_members(request), False
        self.failed = False  # not all members could be found out, or pushed to in time
        self.exists = True
        self.deadline = 0.0

    @property
    def is_stored(self) -> bool:
        """Whether the message cache keeps it for its members."""
        return self.terms is not None and self.terms.ttl > 0


def page_members(request: PushRequest) -> int:
    """Members in one page of a request, by the size of its payload."""
    _, payload_bytes = TARGET.unpack(request.index)
    return int(max(1, min(PAGE, _PAGE_BYTES // (payload_bytes + TARGET.size + _TOKEN_BYTES))))


class Expansions:
    """Finds out members, pushes to them, adds up."""

    def __init__(
        self,
        answers: Answers,
        pushes: Pushes,
        services: Services,
        admission: Admission,
        counters: Counters,
        stored_max: int,
    ) -> None:
        """`stored_max`: pushes that may wait at a worker for the message cache, this router's share of them."""
        self._answers, self._pushes, self._services, self._counters = answers, pushes, services, counters
        self._admission = admission
        self._pace: Pace[PendingMembers] = Pace(int(stored_max * _UNDER_WAY_PART))
        self._is_waking = False

    def accept(self, pending: PendingMembers, deadline: float, now: float) -> None:
        """Take a request in."""
        pending.deadline = deadline
        self._answers.open(pending, deadline)
        self._ask_if_room(pending, now)

    def _ask_if_room(self, pending: PendingMembers, now: float) -> None:
        """Ask for the next page, unless too much is under way; what waits for others is woken by them."""
        if not pending.more or pending.asking or pending.answered:
            return
        under_way = sum([page.size for page in pending.pages])
        if under_way and (
            under_way + _PAGE_BYTES > _UNDER_WAY_BYTES or not self._admission.has_room(pending.connection, _PAGE_BYTES)
        ):
            return
        if not pending.is_stored or self._pace.enter(pending, pending.most):
            self._ask(pending, now)

    def _wake(self, now: float) -> None:
        """Ask for those that have waited for room, as far as there is some."""
        if self._is_waking:  # an answer that came at once
            return
        self._is_waking = True
        try:
            while (pending := self._pace.first()) is not None:
                if pending.answered:
                    self._pace.leave(pending)
                elif self._pace.enter(pending, pending.most):
                    self._ask(pending, now)
                else:
                    break
        finally:
            self._is_waking = False

    def _ask(self, pending: PendingMembers, now: float) -> None:
        target, _ = self._target(pending.request)
        field, topic = _ASKED[pending.request.options.to]
        name = target.decode() if pending.request.options.to != "all" else ""
        body = msgpack.packb({field: name, "after": pending.last, "most": pending.most})
        pending.asking = True
        done: Callable[[int, bytes, float], None] = partial(self._told, pending)
        self._services.ask(Topic(*topic), name, body, max(0.001, pending.deadline - now), now, done)

    @staticmethod
    def _target(request: PushRequest) -> tuple[bytes, bytes]:
        target_bytes, _ = TARGET.unpack(request.index)
        return request.data[:target_bytes], request.data[target_bytes:]

    def _told(self, pending: PendingMembers, code: int, body: bytes, now: float) -> None:
        """A page of members, or why there is none."""
        pending.asking = False
        if pending.is_stored:
            self._pace.add(-pending.most)  # from here on those count that there are
        if pending.answered:
            self._wake(now)
            return
        page = _page(code, body, pending.last)
        pending.more = page is not None and page.more
        if page is None:
            pending.failed = True
        else:
            pending.exists = page.exists
            for start in range(0, len(page.tokens), pending.most):  # a service may give more than it was asked for
                self._push(pending, page.tokens[start : start + pending.most], now)
            if page.tokens:
                pending.last = page.tokens[-1].decode()
        self._wake(now)
        self._ask_if_room(pending, now)
        self._finish_if_done(pending, now)

    def _push(self, pending: PendingMembers, tokens: list[bytes], now: float) -> None:
        _, payload = self._target(pending.request)
        index = b"".join([TARGET.pack(len(token), len(payload)) for token in tokens])
        data = b"".join([part for token in tokens for part in (token, payload)])
        flags, prefix, signal, sub_signal = pending.segment
        if pending.number:  # each page has ids of its own, the same when the request is repeated
            prefix = sha256(prefix + pending.number.to_bytes(4, "big")).digest()[:PREFIX_BYTES]
        pending.number += 1
        segment = (flags, prefix, signal, sub_signal)
        page = PendingPushes(self._pushes, pending.connection, pending.request_id, len(data), segment, len(tokens))
        page.terms, page.since, page.journey = pending.terms, now, pending.journey
        page.told, page.eased = partial(self._page_done, pending, page), partial(self._eased, pending, page)
        stored = pending.pages[page] = len(tokens) if pending.is_stored else 0
        self._pace.add(stored)
        self._counters["pushes"] += len(tokens)
        options: PushOptions = pending.request.options
        self._pushes.accept(page, PushRequest(options, index, data), None, pending.deadline, now)

    def _eased(self, pending: PendingMembers, page: PendingPushes, count: int, now: float) -> None:
        """So many of its members wait for their acknowledgement alone."""
        count = min(count, pending.pages.get(page, 0))
        if count:
            pending.pages[page] -= count
            self._pace.add(-count)
            self._wake(now)

    def _page_done(self, pending: PendingMembers, page: PendingPushes, outcomes: bytes, now: float) -> None:
        self._pace.add(-pending.pages.pop(page))
        for outcome in dict.fromkeys(outcomes):
            pending.counts[Outcome(outcome)] += outcomes.count(outcome)
        self._wake(now)
        self._ask_if_room(pending, now)
        self._finish_if_done(pending, now)

    def _finish_if_done(self, pending: PendingMembers, now: float) -> None:
        if not pending.pages and not pending.more and not pending.answered:
            pending.incomplete = pending.failed
            self._answers.done(pending, bytes([_outcome(pending)]), _detail(pending), now)

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: what is known of the pages is added up."""
        assert isinstance(pending, PendingMembers)
        pending.failed |= pending.more
        pending.more = False
        for page in list(pending.pages):
            page.desk.expire(page, now)
        self._finish_if_done(pending, now)


class _Page(NamedTuple):
    tokens: list[bytes]
    more: bool
    exists: bool  # whether there is such a group


def _page(code: int, body: bytes, last: str) -> _Page | None:
    """The page behind the token `last` in a service's answer; None: it is none."""
    try:
        fields = msgpack.unpackb(body) if code == 0 else None
    except Exception:  # msgpack raises whatever its input leads to
        return None
    said = fields.get("tokens") if isinstance(fields, dict) else None
    if fields is None or not isinstance(said, list) or len(said) > _TOKENS_MAX:
        return None
    encoded = [encode_token(token) for token in said]
    more = bool(fields.get("more")) and bool(said)
    if any(fault for _, fault in encoded) or (more and said[-1] == last):  # it would never come to an end
        return None
    return _Page([token for token, _ in encoded], more, bool(fields.get("exists", True)))


def _outcome(pending: PendingMembers) -> Outcome:
    for outcome in _BEST:
        if pending.counts[outcome]:
            return outcome
    if pending.failed:
        return Outcome.UNAVAILABLE
    return next((outcome for outcome, count in pending.counts.items() if count), Outcome.OFFLINE)


def _detail(pending: PendingMembers) -> bytes:
    counts = {outcome.name.lower(): pending.counts[outcome] for outcome in Outcome}
    more = {} if pending.exists else {"exists": False}
    return ujson.dumps(
        {"matched": sum(pending.counts.values()), **counts, **more, **({"incomplete": True} if pending.failed else {})}
    ).encode()
