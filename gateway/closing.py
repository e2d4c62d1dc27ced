"""What is counted and logged when a connection ends."""

import logging

from gateway.connections import Connection, Protocol
from gateway.tables import PROTOCOL_NAMES
from shared.reasons import CloseReason

logger = logging.getLogger("gateway.connections")

#: Ends that belong to a client's ordinary life; the others are worth a line each.
_ORDINARY = frozenset(
    {
        CloseReason.PEER_CLOSED,
        CloseReason.IO_ERROR,
        CloseReason.CLIENT_DISCONNECT,
        CloseReason.HTTP_DONE,
        CloseReason.SHUTDOWN,
        CloseReason.REPLACED,
    }
)


def close_counter(reason: CloseReason) -> str:
    """Name of the counter of a close reason."""
    return f"close_{reason.value}"


def count_close(counters: dict[str, int], reason: CloseReason) -> None:
    counters[close_counter(reason)] += 1


def log_close(connection: Connection, reason: CloseReason, detail: str) -> None:
    """One line: INFO where the peer or the worker did something out of the ordinary, else DEBUG."""
    level = logging.DEBUG if reason in _ORDINARY else logging.INFO
    if logger.isEnabledFor(level):
        protocol = PROTOCOL_NAMES[Protocol(connection.protocol)]
        token = (connection.token or b"-").decode()
        logger.log(
            level,
            "closed %s reason=%s protocol=%s token=%s %s",
            connection.address,
            reason.value,
            protocol,
            token,
            detail,
        )
