"""What is counted and logged when a connection ends."""

import logging
import time

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


#: A fleet under attack must not fill its disk: the counters tell what the log leaves out.
LINES_PER_S = 1000


class LineLimit(logging.Filter):
    """Lets so many lines a second through; the first one after that says how many are missing."""

    def __init__(self, lines_per_s: int) -> None:
        super().__init__()
        self._most = lines_per_s
        self._second = 0
        self._lines = self._dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._dropped:
                record.msg = f"({self._dropped} closes were not logged) {record.msg}"
            self._second, self._lines, self._dropped = second, 0, 0
        self._lines += 1
        self._dropped += self._lines > self._most
        return self._lines <= self._most


logger.addFilter(LineLimit(LINES_PER_S))


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
