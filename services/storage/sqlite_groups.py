"""Groups in SQLite. Many members come and go in transactions of `CHUNK`, so that others write in between."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from services.storage.interfaces import Members
from services.storage.sqlite_connections import Connection
from shared.errors import NoGroupError

#: Members of one transaction, and rows of one read.
CHUNK = 1000

_TOKEN, _UID = "t", "u"
_JOIN = "INSERT INTO members VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_LEAVE = "DELETE FROM members WHERE number = ? AND kind = ? AND member = ?"
_PAGE = "SELECT member FROM members WHERE number = ? AND kind = ? AND member > ? ORDER BY member LIMIT ?"
_OF = """SELECT name FROM members JOIN groups USING (number) WHERE kind = 't' AND member = ?
    UNION SELECT name FROM members JOIN groups USING (number) WHERE kind = 'u' AND member = ?"""
_SWEEP = """DELETE FROM members WHERE (number, kind, member) IN
    (SELECT number, kind, member FROM members WHERE number = ? LIMIT ?)"""


class SqliteGroups:
    """See interfaces.Groups."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, owner: str) -> bool:
        with self._connection.write() as transaction:
            made = "INSERT INTO groups (name, owner) VALUES (?, ?) ON CONFLICT DO NOTHING"
            return transaction.change(made, name, owner) > 0

    def dismiss(self, name: str) -> Iterator[None] | None:
        with self._connection.write() as transaction:
            ended = transaction.read("DELETE FROM groups WHERE name = ? RETURNING number", name)
            transaction.change_many("INSERT INTO dismissed VALUES (?)", ended)
        return self._sweep(ended[0][0]) if ended else None

    def exists(self, name: str) -> bool:
        return self.owner(name) is not None

    def owner(self, name: str) -> str | None:
        rows = self._connection.read("SELECT owner FROM groups WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def join(self, name: str, tokens: Iterable[str], uids: Iterable[str]) -> int:
        number = self._number(name)
        if number is None:
            raise NoGroupError(name)
        added = 0
        for chunk in _chunks(tokens, uids):
            with self._connection.write() as transaction:
                if not transaction.read("SELECT 1 FROM groups WHERE number = ?", number):
                    raise NoGroupError(name)
                added += transaction.change_many(_JOIN, [(number, *member) for member in chunk])
        return added

    def leave(self, name: str, tokens: Iterable[str], uids: Iterable[str]) -> int:
        number = self._number(name)
        removed = 0
        for chunk in _chunks(tokens, uids) if number is not None else ():
            with self._connection.write() as transaction:
                removed += transaction.change_many(_LEAVE, [(number, *member) for member in chunk])
        return removed

    def members(self, name: str) -> Members:
        number = self._number(name)
        if number is None:
            return Members([], [])
        return Members(list(self._all(number, _TOKEN)), list(self._all(number, _UID)))

    def of(self, token: str | None, uid: str | None) -> list[str]:
        return [name for (name,) in self._connection.read(_OF, token, uid)]

    def _number(self, name: str) -> int | None:
        rows = self._connection.read("SELECT number FROM groups WHERE name = ?", name)
        return int(rows[0][0]) if rows else None

    def _all(self, number: int, kind: str) -> Iterator[str]:
        last = ""
        while page := [member for (member,) in self._connection.read(_PAGE, number, kind, last, CHUNK)]:
            yield from page
            last = page[-1]

    def _sweep(self, number: int) -> Iterator[None]:
        """Remove the members of a group that is no more, step by step."""
        removed = CHUNK
        while removed == CHUNK:
            with self._connection.write() as transaction:
                removed = transaction.change(_SWEEP, number, CHUNK)
                if removed < CHUNK:
                    transaction.change("DELETE FROM dismissed WHERE number = ?", number)
            yield

    def finish(self) -> None:
        """Remove what a process that ended amid `dismiss` has left. Nobody sees it, but it takes room."""
        for (number,) in self._connection.read("SELECT number FROM dismissed"):
            for _ in self._sweep(number):
                pass


def _chunks(tokens: Iterable[str], uids: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    members = chain(((_TOKEN, token) for token in tokens), ((_UID, uid) for uid in uids))
    while chunk := list(islice(members, CHUNK)):
        yield chunk
