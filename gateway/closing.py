"""What is counted and logged when a connection opens and ends (docs/logs.md)."""

import logging
import time

from gateway.connection_lines import ConnectionLines
from gateway.connections import Connection, Protocol
from gateway.log_limits import LineLimit
from gateway.tables import PROTOCOL_NAMES
from shared.log_events import Event
from shared.reasons import CloseReason

logger = logging.getLogger("gateway.connections")
lines = ConnectionLines(logger)

ORDINARY = "ordinary"
#: At which level is logged what is not out of the ordinary; set once, at start.
_levels = {ORDINARY: logging.DEBUG}

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
_OPENS, _CLOSES = LineLimit("opened connections", LINES_PER_S), LineLimit("closed connections", LINES_PER_S)


def close_counter(reason: CloseReason) -> str:
    """Name of the counter of a close reason."""
    return f"close_{reason.value}"


def count_close(counters: dict[str, int], reason: CloseReason) -> None:
    counters[close_counter(reason)] += 1


def log_open(connection: Connection) -> None:
    """One line when a client has been bound to its token: from then on it is known who it is."""
    level = _levels[ORDINARY]
    if logger.isEnabledFor(level) and _OPENS.allows():
        lines.add(level, _opened, connection.address, connection.protocol, connection.token, connection.uid)


def _opened(address: str, protocol: int, token: bytes, uid: str | None) -> Event:
    return Event("opened", address=address, protocol=PROTOCOL_NAMES[Protocol(protocol)], token=token.decode(), uid=uid)


def log_close(connection: Connection, reason: CloseReason, detail: str) -> None:
    """One line.

    An ordinary end of a connection that was never bound (a look whether the port answers) is worth a DEBUG line only.
    """
    ordinary = reason in _ORDINARY
    level = logging.INFO if not ordinary else _levels[ORDINARY] if connection.token else logging.DEBUG
    if logger.isEnabledFor(level) and _CLOSES.allows():
        seconds, unsent = _seconds_bound(connection), len(connection.output or b"")
        waiting = (unsent or None, len(connection.unacknowledged or ()) or None)
        who = (connection.address, connection.protocol, connection.token or b"-")
        lines.add(level, _closed, *who, reason, seconds, *waiting, detail)


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


def log_connections(which: str) -> None:
    """Setting `log_connections`: `all`, or `unusual` for those closes alone that are out of the ordinary."""
    _levels[ORDINARY] = logging.INFO if which == "all" else logging.DEBUG


def take_left_out() -> int:
    """How many lines about connections were left out since the last call."""
    return _OPENS.take_left_out() + _CLOSES.take_left_out()
