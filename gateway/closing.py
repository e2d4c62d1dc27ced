"""What is counted and logged when a connection opens and ends (docs/logs.md)."""

import logging
import time

from gateway.connection_lines import ConnectionLines
from gateway.connections import Connection, Protocol
from gateway.tables import PROTOCOL_NAMES
from shared.log_events import Event
from shared.log_limits import LineLimit
from shared.reasons import CloseReason

logger = logging.getLogger("gateway.connections")

#: Ends that belong to a client's ordinary life.
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

#: The most lines in a second, of opens and of closes.
LINES_PER_S = 1000


def close_counter(reason: CloseReason) -> str:
    """Name of the counter of a close reason."""
    return f"close_{reason.value}"


def count_close(counters: dict[str, int], reason: CloseReason) -> None:
    counters[close_counter(reason)] += 1


class ConnectionLogs:
    """The log lines of one worker about its connections."""

    def __init__(self) -> None:
        self.lines = ConnectionLines(logger)
        self._opens, self._closes = LineLimit("opened connections", LINES_PER_S), LineLimit("closes", LINES_PER_S)
        self._ordinary = logging.DEBUG

    def choose(self, which: str) -> None:
        """Setting `log_connections`: `all`, or `unusual` for those closes alone that are out of the ordinary."""
        self._ordinary = logging.INFO if which == "all" else logging.DEBUG

    def opened(self, connection: Connection) -> None:
        """One line when a client has been bound to its token: from then on it is known who it is."""
        level = self._ordinary
        if logger.isEnabledFor(level) and self._opens.allows():
            who = (connection.address, connection.protocol, connection.token, connection.uid)
            self.lines.add(level, _opened, *who)

    def closed(self, connection: Connection, reason: CloseReason, detail: str) -> None:
        """One line.

        An ordinary end of a connection that was never bound (a look whether the port answers) is worth DEBUG only.
        """
        ordinary = reason in _ORDINARY
        level = logging.INFO if not ordinary else self._ordinary if connection.token else logging.DEBUG
        if logger.isEnabledFor(level) and self._closes.allows():
            seconds, unsent = _seconds_bound(connection), len(connection.output or b"")
            waiting = (unsent or None, len(connection.unacknowledged or ()) or None)
            who = (connection.address, connection.protocol, connection.token or b"-")
            self.lines.add(level, _closed, *who, reason, seconds, *waiting, detail)

    def take_left_out(self) -> int:
        """How many lines were left out since the last call."""
        return self._opens.take_left_out() + self._closes.take_left_out()


def _opened(address: str, protocol: int, token: bytes, uid: str | None) -> Event:
    return Event("opened", address=address, protocol=PROTOCOL_NAMES[Protocol(protocol)], token=token.decode(), uid=uid)


def _closed(
    address: str,
    protocol: int,
    token: bytes,
    reason: CloseReason,
    seconds: float | None,
    unsent_bytes: int | None,
    unacknowledged: int | None,
    detail: str,
) -> Event:
    return Event(
        "closed",
        address=address,
        reason=reason.value,
        protocol=PROTOCOL_NAMES[Protocol(protocol)],
        token=token.decode(),
        seconds=seconds,
        unsent_bytes=unsent_bytes,
        unacknowledged=unacknowledged,
        detail=detail,
    )


def _seconds_bound(connection: Connection) -> float | None:
    """Since its binding, by the clock of the machine; over hand-overs and restarts of workers, too."""
    return round(max(0.0, time.time_ns() / 1e9 - connection.binding / 1000), 3) if connection.binding else None
