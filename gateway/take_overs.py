"""Taking over what a dead predecessor of this worker has left: its clients, by the ledger."""

import os
import socket
from collections import defaultdict
from dataclasses import dataclass, field

from gateway.client_loop import ClientLoop
from gateway.closing import count_close
from gateway.connections import Connection, address_text
from gateway.facts import decode_facts, unacknowledged_of
from gateway.ledgers import Entry, Kind, Mark
from gateway.sends import TORN
from shared.errors import BusError
from shared.reasons import CloseReason

_REASONS = {
    Mark.INPUT: "unfinished input",
    Mark.OUTPUT: "unsent output",
    Mark.OWED: "awaits an answer",
    Mark.UNKEPT: "facts too long",
}


@dataclass(slots=True)
class Left:
    """What was found. `passing`: by index of the worker that may have them. `known`: ids by which clients came."""

    served: list[Connection] = field(default_factory=list)
    passing: defaultdict[int, list[Connection]] = field(default_factory=lambda: defaultdict(list))
    listeners: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    known: set[int] = field(default_factory=set)
    unfit: set[Connection] = field(default_factory=set)  # of `passing`, those that have a mark
    lost: int = 0


def take_over(clients: ClientLoop) -> Left:
    """Sort what the ledger has. Who has a mark, or was being read or written, is closed (`worker_lost`).

    The others are returned; those to be served are not watched yet.
    """
    ledger, left = clients.ledger, Left()
    left.known = ledger.ids()
    busy = set(ledger.words)
    for entry in ledger.entries():
        if entry.kind == Kind.LISTENER:
            left.listeners[entry.peer].append(entry.fd)
        elif entry.kind == Kind.CLOSING:
            _close(clients, entry.fd)
        else:
            connection = _restored(entry)
            why = _why_lost(entry, connection, busy)
            if connection is not None and entry.kind == Kind.PASSING:
                left.passing[entry.peer].append(connection)  # another may have it whole
                if why:
                    left.unfit.add(connection)
            elif connection is None or why:
                _lose(clients, connection or Connection(entry.fd, _peer(entry.fd)), why)
                left.lost += 1
            else:
                left.served.append(connection)
    ledger.words[0] = ledger.words[1] = -1
    left.known |= ledger.ended()
    return left


def _restored(entry: Entry) -> Connection | None:
    """The record, as far as facts make it; None if they are not whole."""
    if not entry.facts:
        return None
    try:
        connection = decode_facts(entry.facts, entry.fd)
    except BusError:
        return None
    connection.last_message_id = entry.last_message_id
    if entry.window:
        connection.unacknowledged = unacknowledged_of(entry.last_message_id, entry.window)
    return connection


def _why_lost(entry: Entry, connection: Connection | None, busy: set[int]) -> str:
    """Why a client cannot be gone on with; empty: it can."""
    reasons = [text for mark, text in _REASONS.items() if entry.marks & mark]
    if entry.fan_out == TORN:
        reasons.append("a part of a push sent")
    if entry.fd in busy:
        reasons.append("being served")
    if connection is None:
        reasons.append("no whole facts")
    return ", ".join(reasons)


def _lose(clients: ClientLoop, connection: Connection, why: str) -> None:
    count_close(clients.counters, CloseReason.WORKER_LOST)
    clients.logs.closed(connection, CloseReason.WORKER_LOST, why)
    _close(clients, connection.fd)


def _close(clients: ClientLoop, fd: int) -> None:
    clients.ledger.leave(fd)
    os.close(fd)


def _peer(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as shell:
        try:
            peer = shell.getpeername()
        except OSError:
            return "unknown"
    return address_text(peer[0], peer[1]) if isinstance(peer, tuple) else "unix"
