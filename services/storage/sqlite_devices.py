"""Devices in SQLite."""

from services.storage.interfaces import Device
from services.storage.sqlite_connections import Connection

_ADD = """INSERT INTO devices VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (token) DO UPDATE SET
    added = iif(uid = excluded.uid, added, excluded.added),
    uid = excluded.uid, protocol = excluded.protocol, seen = excluded.seen"""


class SqliteDevices:
    """See interfaces.Devices."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, uid: str, token: str, protocol: str, now: float) -> None:
        with self._connection.write() as transaction:
            transaction.change(_ADD, token, uid, protocol, now)

    def of(self, uid: str) -> list[Device]:
        rows = self._connection.read("SELECT token, protocol, added, seen FROM devices WHERE uid = ?", uid)
        return [Device(*row) for row in rows]

    def remove(self, uid: str, token: str) -> bool:
        with self._connection.write() as transaction:
            return transaction.change("DELETE FROM devices WHERE token = ? AND uid = ?", token, uid) > 0

    def uid_of(self, token: str) -> str | None:
        rows = self._connection.read("SELECT uid FROM devices WHERE token = ?", token)
        return str(rows[0][0]) if rows else None

    def all_tokens(self, after: str, most: int) -> list[str]:
        rows = self._connection.read("SELECT token FROM devices WHERE token > ? ORDER BY token LIMIT ?", after, most)
        return [token for (token,) in rows]
