"""Limits and codes in SQLite. With each one that is put a few that have expired go."""

from services.storage.sqlite_connections import Connection

#: How many that have expired go with each one that is put.
SWEPT = 4

# The window is over when its length has passed since it began, or when the clock was set back by as much.
_TRY = """INSERT INTO tries VALUES (?1, ?3, ?3 + ?2, 1) ON CONFLICT (key) DO UPDATE SET
    count = iif(abs(?3 - began) < ?2, count + 1, 1),
    ends = iif(abs(?3 - began) < ?2, began + ?2, ?3 + ?2),
    began = iif(abs(?3 - began) < ?2, began, ?3)
    RETURNING count"""
_SWEEP_TRIES = "DELETE FROM tries WHERE key IN (SELECT key FROM tries WHERE ends <= ? LIMIT ?)"
_SWEEP_CODES = "DELETE FROM codes WHERE key IN (SELECT key FROM codes WHERE expires <= ? LIMIT ?)"
_PUT = """INSERT INTO codes VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET code = excluded.code, expires = excluded.expires"""


class SqliteLimits:
    """See interfaces.Limits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tries(self, key: str, window_s: float, now: float) -> int:
        with self._connection.write() as transaction:
            transaction.change(_SWEEP_TRIES, now, SWEPT)
            return int(transaction.read(_TRY, key, window_s, now)[0][0])


class SqliteCodes:
    """See interfaces.Codes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, key: str, code: str, expires: float, now: float) -> None:
        with self._connection.write() as transaction:
            transaction.change(_SWEEP_CODES, now, SWEPT)
            transaction.change(_PUT, key, code, expires)

    def get(self, key: str, now: float) -> str | None:
        rows = self._connection.read("SELECT code FROM codes WHERE key = ? AND expires > ?", key, now)
        return str(rows[0][0]) if rows else None

    def delete(self, key: str) -> bool:
        with self._connection.write() as transaction:
            return transaction.change("DELETE FROM codes WHERE key = ?", key) > 0
