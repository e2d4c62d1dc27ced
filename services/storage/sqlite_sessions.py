"""Sessions and users in SQLite."""

from collections.abc import Callable

from services.storage.interfaces import Session
from services.storage.sqlite_connections import Connection

#: How many that have expired go with each one that is put.
SWEPT = 10

_SWEEP = "DELETE FROM sessions WHERE since IN (SELECT since FROM sessions WHERE expires <= ? LIMIT ?)"
_END_EXPIRED = "DELETE FROM sessions WHERE uid = ? AND client_identifier = ? AND expires <= ?"
# `since` stays while the session is renewed: it says who has had a token longest.
_PUT = """INSERT INTO sessions (uid, client_identifier, secret, usertoken, created, expires, mobile)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid, client_identifier) DO UPDATE SET secret = excluded.secret,
    usertoken = excluded.usertoken, created = excluded.created, expires = excluded.expires, mobile = excluded.mobile"""
_SELECT = "SELECT uid, client_identifier, secret, usertoken, created, expires, mobile FROM sessions WHERE uid = ?"
_OWNER = """SELECT uid FROM sessions WHERE client_identifier = ? AND (expires IS NULL OR expires > ?)
    ORDER BY since LIMIT 1"""


class SqliteSessions:
    """See interfaces.Sessions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, session: Session, now: float) -> None:
        with self._connection.write() as transaction:
            transaction.change(_END_EXPIRED, session.uid, session.client_identifier, now)
            transaction.change(_SWEEP, now, SWEPT)
            transaction.change(_PUT, *session)

    def get(self, uid: str, client_identifier: str) -> Session | None:
        rows = self._connection.read(f"{_SELECT} AND client_identifier = ?", uid, client_identifier)
        return Session(*rows[0]) if rows else None

    def by_uid(self, uid: str) -> list[Session]:
        return [Session(*row) for row in self._connection.read(_SELECT, uid)]

    def delete(self, uid: str, client_identifier: str) -> bool:
        with self._connection.write() as transaction:
            ended = "DELETE FROM sessions WHERE uid = ? AND client_identifier = ?"
            return transaction.change(ended, uid, client_identifier) > 0

    def owner_of(self, token: str, now: float) -> str | None:
        rows = self._connection.read(_OWNER, token, now)
        return str(rows[0][0]) if rows else None


class SqliteUsers:
    """See interfaces.Users."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def user_by_mobile(self, mobile: str, make: Callable[[], str]) -> tuple[str, bool]:
        select = "SELECT uid FROM mobiles WHERE mobile = ?"
        if rows := self._connection.read(select, mobile):
            return rows[0][0], False
        made = make()
        with self._connection.write() as transaction:
            is_new = transaction.change("INSERT INTO mobiles VALUES (?, ?) ON CONFLICT DO NOTHING", mobile, made) > 0
            return transaction.read(select, mobile)[0][0], is_new

    def is_blocked(self, uid: str) -> bool:
        return bool(self._connection.read("SELECT 1 FROM blocked WHERE uid = ?", uid))

    def block(self, uid: str, blocked: bool) -> None:
        change = (
            "INSERT INTO blocked VALUES (?) ON CONFLICT DO NOTHING" if blocked else "DELETE FROM blocked WHERE uid = ?"
        )
        with self._connection.write() as transaction:
            transaction.change(change, uid)
