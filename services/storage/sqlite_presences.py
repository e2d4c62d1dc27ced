"""Who is connected, in SQLite."""

from collections.abc import Sequence
from typing import Any

from services.storage.events import presence_event
from services.storage.presences import ENDED_MS, Entry, Presence, PresenceStore, Swap
from services.storage.sqlite_connections import Connection, Transaction
from services.storage.sqlite_outbox import SqliteOutbox

#: Former entries that go in one transaction.
PURGED_MAX = 5000

_COLUMNS = "token, uid, worker, protocol, address, binding, bound_by, moves, term, sequence, version, ended, lost"
_PUT = f"INSERT INTO presences ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NEW = f"{_PUT} ON CONFLICT DO NOTHING"
_AGAIN = """UPDATE presences SET uid = ?, worker = ?, protocol = ?, address = ?, binding = ?, bound_by = ?, moves = ?,
    term = ?, sequence = ?, version = ?, ended = ?, lost = ? WHERE token = ? AND version = ?"""
_PAGE = "SELECT token FROM presences WHERE {} = ? AND ended IS NULL AND token > ? ORDER BY token LIMIT ?"
_OF_WORKER, _OF_USER = _PAGE.format("worker"), _PAGE.format("uid")
_PURGE = "DELETE FROM presences WHERE token IN (SELECT token FROM presences WHERE ended < ? LIMIT ?)"
_REPORT = """UPDATE presence_workers SET number = ?, lease = ? WHERE worker = ? AND term = ? AND number IN (?, ?)"""


class SqlitePresences(PresenceStore):
    """See PresenceStore."""

    def __init__(self, connection: Connection, outbox: SqliteOutbox) -> None:
        self._connection, self._outbox = connection, outbox

    def load(self, tokens: Sequence[str]) -> list[Entry | None]:
        marks = ", ".join("?" * len(tokens))
        rows = self._connection.read(f"SELECT {_COLUMNS} FROM presences WHERE token IN ({marks})", *tokens)
        found = {row[0]: _entry(row) for row in rows}
        return [found.get(token) for token in tokens]

    def swap(self, changes: Sequence[Swap], at: int) -> list[bool]:
        if not changes:
            return []
        with self._connection.write() as transaction:
            done = [_swap(transaction, before, entry) for before, entry, _ in changes]
            if self._outbox.keeping.most:
                happened = [one for (*_, told), is_done in zip(changes, done, strict=True) if is_done for one in told]
                events = self._outbox.keeping.of([presence_event(one) for one in happened])
                self._outbox.put_within(transaction, events, at)
            return done

    def finish(self, now: int) -> None:
        """Nothing is cut off: a transaction has both."""

    def tokens_of(self, worker: str, after: str, most: int) -> list[str]:
        return [token for (token,) in self._connection.read(_OF_WORKER, worker, after, most)]

    def tokens_of_user(self, uid: str, after: str, most: int) -> list[str]:
        return [token for (token,) in self._connection.read(_OF_USER, uid, after, most)]

    def report(self, worker: str, term: str, number: int, lease_ms: int, now: int, *, begin: bool) -> bool:
        with self._connection.write() as transaction:
            if begin:
                row = (worker, term, number, None, now + lease_ms)
                transaction.change("INSERT OR REPLACE INTO presence_workers VALUES (?, ?, ?, ?, ?)", *row)
                return True
            return transaction.change(_REPORT, number, now + lease_ms, worker, term, number, number - 1) > 0

    def told_whole(self, worker: str, term: str, now: int) -> None:
        with self._connection.write() as transaction:
            transaction.change("UPDATE presence_workers SET whole = ? WHERE worker = ? AND term = ?", now, worker, term)

    def workers(self, now: int) -> list[str]:
        rows = self._connection.read("SELECT worker FROM presence_workers WHERE lease > ? ORDER BY worker", now)
        return [worker for (worker,) in rows]

    def term_of(self, worker: str, now: int) -> str | None:
        rows = self._connection.read("SELECT term FROM presence_workers WHERE worker = ? AND lease > ?", worker, now)
        return rows[0][0] if rows else None

    def ending(self, now: int, grace_ms: int) -> list[tuple[str, str | None]]:
        lapsed = self._connection.read("SELECT worker, NULL FROM presence_workers WHERE lease <= ?", now)
        due = "SELECT worker, term FROM presence_workers WHERE lease > ? AND whole <= ?"
        return [(worker, term) for worker, term in [*lapsed, *self._connection.read(due, now, now - grace_ms)]]

    def forget(self, worker: str, term: str | None, now: int) -> None:
        with self._connection.write() as transaction:
            if term is None:
                transaction.change("DELETE FROM presence_workers WHERE worker = ? AND lease <= ?", worker, now)
            else:
                done = "UPDATE presence_workers SET whole = NULL WHERE worker = ? AND term = ?"
                transaction.change(done, worker, term)

    def renew(self, lease_ms: int, now: int) -> None:
        with self._connection.write() as transaction:
            transaction.change("UPDATE presence_workers SET lease = max(lease, ?)", now + lease_ms)

    def purge(self, now: int) -> None:
        with self._connection.write() as transaction:
            transaction.change(_PURGE, now - ENDED_MS, PURGED_MAX)


def _entry(row: tuple[Any, ...]) -> Entry:
    *presence, term, sequence, version, ended, lost = row
    return Entry(Presence(*presence), term, sequence, version, ended, bool(lost))


def _swap(transaction: Transaction, before: Entry | None, entry: Entry) -> bool:
    token, *rest = entry.presence
    values = (*rest, entry.term, entry.sequence, entry.version, entry.ended, int(entry.lost))
    if before is None:
        return transaction.change(_NEW, token, *values) > 0
    return transaction.change(_AGAIN, *values, token, before.version) > 0
