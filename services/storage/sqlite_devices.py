"""Devices in SQLite."""

from services.storage.interfaces import Device
from services.storage.sqlite_connections import Connection
from services.storage.sqlite_limits import SWEPT

_ADD = """INSERT INTO devices VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (token) DO UPDATE SET
    added = iif(uid = excluded.uid, added, excluded.added),
    uid = excluded.uid, protocol = excluded.protocol, seen = excluded.seen"""
_SWEEP = "DELETE FROM met WHERE token IN (SELECT token FROM met WHERE until <= ? LIMIT ?)"
_MEET = "INSERT INTO met VALUES (?1, ?2) ON CONFLICT (token) DO UPDATE SET until = excluded.until"
_ALL = """SELECT token FROM (SELECT token FROM devices WHERE token > ?1 ORDER BY token LIMIT ?2)
    UNION SELECT token FROM (SELECT token FROM met WHERE token > ?1 AND until > ?3 ORDER BY token LIMIT ?2)
    UNION SELECT token FROM (SELECT token FROM presences WHERE token > ?1 AND ended IS NULL ORDER BY token LIMIT ?2)
    ORDER BY token LIMIT ?2"""


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

    def meet(self, token: str, until: float, now: float) -> None:
        rows = self._connection.read("SELECT until FROM met WHERE token = ?", token)
        if rows and rows[0][0] - now > (until - now) / 2:
            return  # who comes often is not written each time
        with self._connection.write() as transaction:
            transaction.change(_SWEEP, now, SWEPT)
            transaction.change(_MEET, token, until)

    def all_tokens(self, after: str, most: int, now: float) -> list[str]:
        return [token for (token,) in self._connection.read(_ALL, after, most, now)]
