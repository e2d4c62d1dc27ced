"""Outcomes: what became of one push (docs/sender-protocol.md, section Outcomes)."""

from enum import IntEnum


class Outcome(IntEnum):
    """One byte per target in DONE1."""

    SENT = 0  # the kernel took the last byte
    ACKED = 1  # the client acknowledged
    STORED = 2  # the message cache has it
    OFFLINE = 3  # not connected, and ttl was 0
    EXPIRED = 4
    OVERLOADED = 5  # this client's buffer is full; not delivered
    TOO_LARGE = 6  # does not fit the client's protocol version or the limit
    UNAVAILABLE = 7  # certainly not delivered: no worker, or a bound was hit
    REFUSED = 8  # bad token, not allowed, or not text for a text client
    BUFFERED = 9  # waits in the worker behind a full socket
    UNKNOWN = 10  # lost from sight after a worker had it: repeat with the same id


#: A repeat of a finished request tries targets with these outcomes again.
RETRYABLE = frozenset({Outcome.OVERLOADED, Outcome.UNAVAILABLE, Outcome.UNKNOWN})

#: No further word about such a push can come: a relay may commit it.
FINAL = frozenset(
    {
        Outcome.SENT,
        Outcome.ACKED,
        Outcome.STORED,
        Outcome.OFFLINE,
        Outcome.EXPIRED,
        Outcome.TOO_LARGE,
        Outcome.REFUSED,
    }
)
