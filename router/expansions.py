"""Pushes to a user or a group: a service says who that is, and each member gets a push as to a token.

Members come in pages, and each page is a push request of its own whose outcomes are added up, so that a group may have
any number of them. There is one outcome for all, and counts (docs/sender-protocol.md, section To a user or a group).
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import sha256

import msgpack
import ujson

from router.answers import Answers
from router.connections import Connection
from router.counters import Counters
from router.pending import Pending, PendingPushes, SegmentTail
from router.pushes import Pushes
from router.services import Services
from shared.bus import Terms
from shared.calls import Internal, Topic, internal
from shared.outcomes import Outcome
from shared.push_ids import PREFIX_BYTES
from shared.requests import TARGET, PushOptions, PushRequest

#: Members in one page: with tokens of 255 bytes an answer stays below the smallest limits that make sense for bodies.
PAGE = 2000

_ASKED = {"user": ("uid", internal(Internal.MEMBERS)), "group": ("group", internal(Internal.GROUP_MEMBERS))}
#: The one outcome is the best that any member got, or may have got; behind these comes the first that is there.
_BEST = (Outcome.ACKED, Outcome.SENT, Outcome.STORED, Outcome.BUFFERED, Outcome.UNKNOWN)


class PendingMembers(Pending):
    """A push to a user or a group. `pages`: those under way. `more`: there may be members behind `last`."""

    __slots__ = (
        "counts",
        "deadline",
        "exists",
        "failed",
        "last",
        "more",
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
        self.pages: set[PendingPushes] = set()
        self.number = 0
        self.more, self.last = True, ""
        self.failed = False  # not all members could be found out
        self.exists = True
        self.deadline = 0.0


class Expansions:
    """Finds out members, pushes to them, adds up."""

    def __init__(self, answers: Answers, pushes: Pushes, services: Services, counters: Counters) -> None:
        self._answers, self._pushes, self._services, self._counters = answers, pushes, services, counters

    def accept(self, pending: PendingMembers, deadline: float, now: float) -> None:
        """Take a request in."""
        pending.deadline = deadline
        self._answers.open(pending, deadline)
        self._ask(pending, now)

    def _ask(self, pending: PendingMembers, now: float) -> None:
        target, _ = self._target(pending.request)
        field, topic = _ASKED[pending.request.options.to]
        try:
            name = target.decode()
        except UnicodeDecodeError:
            self._answers.done(pending, bytes([Outcome.REFUSED]), _detail(pending), now)
            return
        body = msgpack.packb({field: name, "after": pending.last, "most": PAGE})
        done: Callable[[int, bytes, float], None] = partial(self._told, pending)
        self._services.ask(Topic(*topic), name, body, max(0.001, pending.deadline - now), now, done)

    @staticmethod
    def _target(request: PushRequest) -> tuple[bytes, bytes]:
        target_bytes, _ = TARGET.unpack(request.index)
        return request.data[:target_bytes], request.data[target_bytes:]

    def _told(self, pending: PendingMembers, code: int, body: bytes, now: float) -> None:
        """A page of members, or why there is none."""
        if pending.answered:
            return
        page = _page(code, body)
        pending.more = page is not None and bool(page[1])
        if page is None:
            pending.failed = True
        else:
            tokens, _, pending.exists = page
            if tokens:
                pending.last = tokens[-1]
                self._push(pending, [token.encode() for token in tokens], now)
        if pending.more:
            self._ask(pending, now)
        else:
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
        page.terms, page.since = pending.terms, now
        page.told = partial(self._page_done, pending, page)
        pending.pages.add(page)
        self._counters["pushes"] += len(tokens)
        options: PushOptions = pending.request.options
        self._pushes.accept(page, PushRequest(options, index, data), None, pending.deadline, now)

    def _page_done(self, pending: PendingMembers, page: PendingPushes, outcomes: bytes, now: float) -> None:
        pending.pages.discard(page)
        for outcome in dict.fromkeys(outcomes):
            pending.counts[Outcome(outcome)] += outcomes.count(outcome)
        self._finish_if_done(pending, now)

    def _finish_if_done(self, pending: PendingMembers, now: float) -> None:
        if not pending.pages and not pending.more and not pending.answered:
            self._answers.done(pending, bytes([_outcome(pending)]), _detail(pending), now)

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: what is known of the pages is added up."""
        assert isinstance(pending, PendingMembers)
        pending.failed |= pending.more
        pending.more = False
        for page in list(pending.pages):
            page.desk.expire(page, now)
        self._finish_if_done(pending, now)


def _page(code: int, body: bytes) -> tuple[list[str], bool, bool] | None:
    """(tokens, whether there are more, whether there is such a group) of a service's answer; None: it is none."""
    try:
        fields = msgpack.unpackb(body) if code == 0 else None
    except Exception:  # msgpack raises whatever its input leads to
        return None
    tokens = fields.get("tokens") if isinstance(fields, dict) else None
    if fields is None or not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return None
    return tokens[: 1 << 16], bool(fields.get("more")) and bool(tokens), bool(fields.get("exists", True))


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
