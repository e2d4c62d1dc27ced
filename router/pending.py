"""Requests that are owed an answer. Each is answered exactly once, by `Answers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from shared.bus import ENTRY, HELD, KEPT, STALE
from shared.outcomes import Outcome

if TYPE_CHECKING:
    from router.batches import Batch, Lane
    from router.connections import Connection
    from router.journeys import Journey
    from router.repeats import Repeat
    from shared.bus import Target, Terms
    from shared.requests import PushRequest

#: Flags, id prefix, signal, sub_signal of a bus segment; its count comes before.
SegmentTail = tuple[int, bytes, int, int]

_UNKNOWN, _UNAVAILABLE = bytes([Outcome.UNKNOWN]), bytes([Outcome.UNAVAILABLE])
_HELD, _KEPT, _STALE = bytes([HELD]), bytes([KEPT]), bytes([STALE])


class Desk(Protocol):
    """The part of the router that works on a kind of request."""

    def expire(self, pending: Pending, now: float) -> None:
        """Answer `pending` with what is known: its time is over."""


class Pending:
    """A request and whom to answer. `also`: retries that wait for the same outcome."""

    __slots__ = (
        "also", "answered", "connection", "desk", "incomplete", "journey", "repeat", "request_id", "size", "tick",
        "told",
    )  # fmt: skip

    def __init__(self, desk: Desk, connection: Connection, request_id: bytes, size: int) -> None:
        self.desk = desk
        self.connection = connection
        self.request_id = request_id
        self.size = size
        self.also: list[tuple[Connection, bytes]] = []
        self.answered = False
        self.incomplete = False  # there are targets that it has not been pushed to
        self.repeat: Repeat | None = None
        self.journey: Journey | None = None  # its sender has said where it comes from
        self.tick = 0
        #: Part of a greater request: told its outcomes in place of the sender.
        self.told: Callable[[bytes, float], None] | None = None


class PendingPushes(Pending):
    """A push request to tokens. `remaining`: how many of its pushes have no outcome yet.

    `terms`, since when it is here (monotonic seconds), and how many older stored pushes it has cost, by position.
    """

    __slots__ = ("count", "dropped", "eased", "first", "parts", "remaining", "segment", "since", "terms")

    def __init__(
        self, desk: Desk, connection: Connection, request_id: bytes, size: int, segment: SegmentTail, count: int
    ) -> None:
        super().__init__(desk, connection, request_id, size)
        self.segment = segment
        self.count = count
        self.remaining = count
        self.parts: list[Part] = []
        self.first: bytes | None = None  # a retry's: the outcomes known before it
        self.terms: Terms | None = None
        self.since = 0.0
        self.dropped: dict[int, int] | None = None
        #: Told of pushes that are KEPT from now on: they wait for an acknowledgement alone.
        self.eased: Callable[[int, float], None] | None = None


class PendingAll(Pending):
    """A push to all, or (`target`) to a user or a group. `waiting`: workers that have it and have not answered.

    `blind`: some worker cannot find out who is a member.
    """

    __slots__ = ("blind", "counts", "deadline", "request", "segment", "target", "unknown_workers", "waiting", "workers")

    def __init__(
        self,
        desk: Desk,
        connection: Connection,
        request_id: bytes,
        size: int,
        segment: SegmentTail,
        request: PushRequest,
        target: Target | None = None,
    ) -> None:
        super().__init__(desk, connection, request_id, size)
        self.segment = segment
        self.request = request
        self.target = target
        self.counts: dict[str, int] = {}
        self.waiting: set[bytes] = set()
        self.workers = 0
        self.unknown_workers = 0
        self.blind = False
        self.deadline = 0.0


class Part:
    """Consecutive pushes of one request on their way to one worker.

    They wait in `lane`, or are in `batch` from its push number `start` on; with neither they were never sent.
    """

    __slots__ = ("batch", "count", "lane", "pending", "start")

    def __init__(self, pending: PendingPushes, count: int, lane: Lane | None) -> None:
        self.pending, self.count = pending, count
        self.lane: Lane | None = lane
        self.batch: Batch | None = None
        self.start = 0


def gather(pending: PendingPushes) -> bytes:
    """The outcome of every push of a request, in its order.

    What is in a batch without an answer is UNKNOWN; what is in no batch, or came back STALE and is in no later one, is
    UNAVAILABLE. Nearly always everything was SENT (0), or one worker had the whole request: then nothing needs to be
    put in place.
    """
    parts = pending.parts
    if pending.first is None:
        if parts and all(part.batch is not None and part.batch.all_sent for part in parts):
            return bytes(pending.count)
        if len(parts) == 1:
            return _outcomes_of(parts[0]).replace(_STALE, _UNAVAILABLE) or _UNAVAILABLE * pending.count
        outcomes = bytearray(_UNAVAILABLE * pending.count)
    else:
        # Not sent this time: certainly not delivered, unless an earlier try may have been (UNKNOWN stays).
        outcomes = bytearray(pending.first.replace(bytes([Outcome.OVERLOADED]), _UNAVAILABLE))
    for part in parts:
        if part.batch is not None:
            index = part.batch.index[ENTRY.size * part.start : ENTRY.size * (part.start + part.count)]
            for (_, _, position), outcome in zip(ENTRY.iter_unpack(index), _outcomes_of(part), strict=True):
                if outcome != STALE:
                    outcomes[position] = outcome
    return bytes(outcomes)


def _outcomes_of(part: Part) -> bytes:
    """Its outcomes as far as they are known; empty if it is in no batch."""
    batch = part.batch
    if batch is None:
        return b""
    if batch.outcomes is None:
        return _UNKNOWN * part.count
    outcomes = bytes(batch.outcomes[part.start : part.start + part.count])
    return outcomes.replace(_HELD, _UNKNOWN).replace(_KEPT, _UNKNOWN)
