"""What a connection knows of the stored pushes of its token: which it has been sent, and which are not acknowledged.

Pure. A connection that has all of them, acknowledged, has no such state: None stands for it.
"""

from __future__ import annotations

from typing import Any

from shared.bus import Terms
from shared.errors import BusError

#: In place of a sequence number: the cache has not said it yet; it has not when it should have; it was not asked.
UNKNOWN_SEQ, MAYBE_STORED, NOT_STORED = 0, -1, -2


class Written:
    """A push that has been written to its client, and that the cache has, or whose acknowledgement is waited for."""

    __slots__ = ("acked", "at", "key", "message_id", "otherwise", "push", "seq", "size")

    def __init__(self, key: bytes, message_id: int, seq: int, size: int, at: float = 0.0) -> None:
        self.key = key  # id prefix and position, 18 bytes
        self.message_id = message_id  # 0: its client cannot acknowledge it
        self.seq = seq  # in the cache
        self.size = size  # on the wire, bytes
        self.at = at  # when it was, monotonic seconds; 0.0: another worker has done it
        self.acked = False
        self.push: Any = None  # the HeldPush whose sender waits for the acknowledgement
        self.otherwise = 0  # its outcome if none comes


class StoredState:
    """`live`: pushes go to the client at once. Else it is sent what the cache has; newer ones wait behind that."""

    __slots__ = ("after", "flight", "live", "newest", "reading", "unanswered", "window")

    def __init__(self, live: bool) -> None:
        self.live = live
        self.after = 0  # it has been sent everything up to this number
        self.newest = 0  # the cache has pushes up to this number at least
        self.reading = False  # a read is under way
        self.unanswered = 0  # of those written, so many are not known to be stored
        self.window: dict[int, Written] = {}  # by message id, in order
        self.flight: list[Written] = []  # to a client that cannot acknowledge, in order

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember."""
        return self.live and not (self.window or self.flight or self.unanswered)


def expires_unix_ms(terms: Terms, now_ms: int) -> int:
    """When a push is not to be delivered any more; `now_ms`: Unix time."""
    return now_ms - terms.age_ms + terms.ttl * 1000


def state_to_fields(state: StoredState) -> list[Any]:
    """The state for a record: live, after, newest, [message id, seq] ..., [seq, size] ..."""
    window = [[message_id, written.seq] for message_id, written in state.window.items() if written.seq > 0]
    flight = [[written.seq, written.size] for written in state.flight if written.seq > 0]
    return [state.live, state.after, state.newest, window, flight]


def state_from_fields(fields: Any) -> StoredState:
    """The reverse; what a newer version has behind it is passed over. Raises BusError."""
    try:
        live, after, newest, window, flight, *_ = fields
        state = StoredState(bool(live))
        state.after, state.newest = int(after), int(newest)
        state.window = {int(message_id): Written(b"", int(message_id), int(seq), 0) for message_id, seq, *_ in window}
        state.flight = [Written(b"", 0, int(seq), int(size)) for seq, size, *_ in flight]
    except (ValueError, TypeError, OverflowError) as error:
        raise BusError(f"malformed state of stored pushes: {error!r}") from None
    return state
