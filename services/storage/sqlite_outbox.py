"""The outbox of events in SQLite."""

from collections.abc import Sequence

from services.storage.events import CHUNK, SEQUENCE_MS, Event, Keeping, Kept, Outbox, Totals
from services.storage.sqlite_connections import Connection, Transaction

#: Former sequences that go with each chunk.
_SWEPT = 400

_PUT = "INSERT INTO events (id, token, kind, sequence, text) VALUES (?, ?, ?, ?, ?)"
# The one behind the last, or by the clock.
_NEXT = """INSERT INTO event_sequences VALUES (?1, ?2, ?3) ON CONFLICT (token) DO UPDATE SET
    sequence = sequence + 1, until = excluded.until RETURNING sequence"""
_SWEEP = "DELETE FROM event_sequences WHERE token IN (SELECT token FROM event_sequences WHERE until <= ? LIMIT ?)"
_TAKE = """INSERT INTO event_consumers VALUES (?1, 0, ?2, ?3) ON CONFLICT (consumer) DO UPDATE SET
    owner = excluded.owner, lease = excluded.lease WHERE owner = ?2 OR lease <= ?4 RETURNING number"""
_CONFIRM = "UPDATE event_consumers SET number = max(number, ?) WHERE consumer = ? AND owner = ?"
_LAST = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
# Both in one SELECT would read the whole table.
_BOUNDS = "SELECT coalesce((SELECT max(number) FROM events), 0), coalesce((SELECT min(number) FROM events), 1)"


class SqliteOutbox(Outbox):
    """See Outbox."""

    def __init__(self, connection: Connection, keeping: Keeping) -> None:
        self._connection, self.keeping = connection, keeping

    def put(self, events: Sequence[Event], now: int) -> None:
        kept = self.keeping.of(events)
        for start in range(0, len(kept), CHUNK):
            with self._connection.write() as transaction:
                self.put_within(transaction, kept[start : start + CHUNK], now)

    def put_within(self, transaction: Transaction, events: Sequence[Event], now: int) -> None:
        """The same as part of a transaction, of events that are kept; not too many."""
        for event in _new(transaction, events):
            sequence = event.sequence
            if sequence is None:
                sequence = transaction.read(_NEXT, event.token, now, now + SEQUENCE_MS)[0][0]
            transaction.change(_PUT, event.id, event.token, event.kind, sequence, event.text())
        transaction.change(_SWEEP, now, _SWEPT)
        ((last, first),) = transaction.read(_BOUNDS)
        if last - first >= self.keeping.most:
            dropped = transaction.change("DELETE FROM events WHERE number <= ?", last - self.keeping.most)
            transaction.change("UPDATE event_totals SET dropped = dropped + ?", dropped)

    def read(self, after: int, most: int) -> list[Kept]:
        select = "SELECT number, token, kind, sequence, text FROM events WHERE number > ? ORDER BY number LIMIT ?"
        return [Kept(*row) for row in self._connection.read(select, after, most)]

    def take(self, consumer: str, owner: str, lease_ms: int, now: int) -> int | None:
        with self._connection.write() as transaction:
            rows = transaction.read(_TAKE, consumer, owner, now + lease_ms, now)
            return int(rows[0][0]) if rows else None

    def confirm(self, consumer: str, owner: str, number: int) -> bool:
        with self._connection.write() as transaction:
            return transaction.change(_CONFIRM, number, consumer, owner) > 0

    def release(self, consumer: str, owner: str) -> None:
        with self._connection.write() as transaction:
            transaction.change("UPDATE event_consumers SET lease = 0 WHERE consumer = ? AND owner = ?", consumer, owner)

    def prune(self, consumers: Sequence[str]) -> None:
        marks = ", ".join("?" * len(consumers))
        read = f"SELECT count(*), min(number) FROM event_consumers WHERE consumer IN ({marks})"
        with self._connection.write() as transaction:
            ((known, number),) = transaction.read(read, *consumers)
            if known == len(consumers) and known:
                transaction.change("DELETE FROM events WHERE number <= ?", number)

    def totals(self) -> Totals:
        ((newest, first),) = self._connection.read(_BOUNDS)
        rows = self._connection.read(_LAST)
        dropped = self._connection.read("SELECT dropped FROM event_totals")[0][0]
        return Totals(max(newest - first + 1, 0) if newest else 0, rows[0][0] if rows else 0, dropped)


def _new(transaction: Transaction, events: Sequence[Event]) -> list[Event]:
    """Those that are not there, each once."""
    by_id = {event.id: event for event in events}
    marks = ", ".join("?" * len(by_id))
    there = {known for (known,) in transaction.read(f"SELECT id FROM events WHERE id IN ({marks})", *by_id)}
    return [event for known, event in by_id.items() if known not in there]
