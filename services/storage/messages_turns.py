"""One transaction on the SQLite file of cached messages: the rules of storing, reading and dropping."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from services.storage.messages import OVERHEAD_BYTES, RECENT_MAX, RECENT_MS, Bounds, Holding, number_at, victim
from shared.cached_messages import (
    Clear,
    Cleared,
    Copy,
    Count,
    Counted,
    Drop,
    Dropped,
    Full,
    Message,
    Messages,
    Operation,
    Read,
    Result,
    Store,
    Stored,
)

#: SQL for the request id of a row of `messages`, or nothing.
REQUEST_ID = """IFNULL((SELECT request_id FROM message_requests AS ids
    WHERE ids.token = messages.token AND ids.seq = messages.seq), '')"""


@dataclass(slots=True)
class _Token:
    """The row of a token, read once in a turn and written once. `held`: its messages, once they had to be known."""

    id: int
    newest: int
    messages: int = 0
    bytes: int = 0
    is_new: bool = False  # nothing of it is in the file
    changed: bool = False
    held: dict[int, Holding] | None = None


class Turn:
    """Operations on a connection within whose transaction it lives; `finish` before the commit."""

    def __init__(self, db: sqlite3.Connection, bounds: Bounds, now_ms: int) -> None:
        self._execute = db.execute
        self._bounds, self._now = bounds, now_ms
        self._tokens: dict[bytes, _Token] = {}
        self._totals: list[int] = list(self._execute("SELECT messages, bytes, floor FROM totals").fetchone())
        self._removed = False

    def apply(self, operation: Operation) -> Result:
        """One of them. Raises sqlite3.Error."""
        return self._appliers[type(operation)](self, operation)

    def finish(self) -> None:
        """Writes what has been counted."""
        changed = [token for token in self._tokens.values() if token.changed]
        for token in changed:
            emptied = None if token.messages else self._now
            self._execute(
                "UPDATE tokens SET newest = ?, messages = ?, bytes = ?, emptied = ? WHERE id = ?",
                (token.newest, token.messages, token.bytes, emptied, token.id),
            )
        if changed:
            self._execute("UPDATE totals SET messages = ?, bytes = ?", self._totals[:2])
        if self._removed:
            self._execute("DELETE FROM recent WHERE id <= (SELECT MAX(id) FROM recent) - ?", (RECENT_MAX,))

    # --- storing

    def _store(self, store: Store) -> Result:
        token = self._token(store.token) or self._new_token(store.token)
        if not token.is_new and (seq := self._seq_of_key(token, store.key)):
            return Copy(seq)
        size = len(store.payload) + OVERHEAD_BYTES
        older = self._of_same_collapse(token, store)
        if self._is_over(token, size, older):
            self._expire(token)
            older = self._of_same_collapse(token, store)
        saved = older[1] if older else 0
        too_much = size > self._bounds.bytes or self._totals[1] - saved + size > self._bounds.total_bytes
        if too_much or (self._is_over(token, size, older) and not self._bounds.drops_oldest):
            return Full()
        if older:
            self._remove(token, older[0])
        dropped = self._make_room(token, size, store.sender)
        return Stored(self._insert(token, store, size), dropped, int(older is not None))

    def _is_over(self, token: _Token, size: int, older: tuple[int, int] | None) -> bool:
        """Whether there are too many with one more of that size; `older` goes for it."""
        messages, saved = (1, older[1]) if older else (0, 0)
        return token.messages - messages >= self._bounds.messages or token.bytes - saved + size > self._bounds.bytes

    def _make_room(self, token: _Token, size: int, sender: str) -> int:
        dropped = 0
        while self._is_over(token, size, None):
            by_bytes = token.messages < self._bounds.messages
            self._remove(token, victim(self._held(token), sender, by_bytes))
            dropped += 1
        return dropped

    def _insert(self, token: _Token, store: Store, size: int) -> int:
        token.newest = max(token.newest + 1, number_at(self._now))
        token.is_new = False
        self._execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (token.id, token.newest, *store[1:5], size, store.collapse, store.sender, store.payload),
        )
        if store.request_id:
            self._execute("INSERT INTO message_requests VALUES (?, ?, ?)", (token.id, token.newest, store.request_id))
        if token.held is not None:
            token.held[token.newest] = Holding(store.sender, size)
        self._add(token, 1, size)
        return token.newest

    # --- all others

    def _read(self, read: Read) -> Result:
        token = self._token(read.token)
        if token is None:
            return Messages([], 0, False)
        rows = self._execute(
            f"SELECT seq, key, signal, sub_signal, expires, payload, {REQUEST_ID} FROM messages"
            " WHERE token = ? AND seq > ? AND expires > ? ORDER BY seq LIMIT ?",
            (token.id, read.after, self._now, read.most + 1),
        )
        messages: list[Message] = []
        left = read.most_bytes
        for row in rows:
            left -= len(row[5])
            if len(messages) == read.most or (messages and left < 0):
                return Messages(messages, token.newest, True)
            messages.append(Message._make(row))
        return Messages(messages, token.newest, False)

    def _drop(self, drop: Drop) -> Result:
        token = self._token(drop.token)
        return Dropped(sum([self._remove(token, seq) for seq in drop.seqs]) if token else 0)

    def _clear(self, clear: Clear) -> Result:
        token = self._token(clear.token)
        return Cleared(self._remove_where(token, "seq > ?", 0) if token else 0)

    def _count(self, count: Count) -> Result:
        token = self._token(count.token)
        return Counted(token.messages, token.bytes) if token else Counted(0, 0)

    _appliers: ClassVar[dict[type, Callable[["Turn", Any], Result]]] = {
        Store: _store,
        Read: _read,
        Drop: _drop,
        Clear: _clear,
        Count: _count,
    }

    def expire(self, most: int) -> int:
        """Removes up to `most` expired ones of any tokens; how many there were."""
        rows = self._execute(
            "SELECT tokens.token, seq FROM messages JOIN tokens ON tokens.id = messages.token"
            " WHERE expires <= ? ORDER BY expires LIMIT ?",
            (self._now, most),
        ).fetchall()
        for name, seq in rows:
            token = self._token(name)
            assert token is not None
            self._remove(token, seq)
        return len(rows)

    # --- rows

    def _token(self, name: bytes) -> _Token | None:
        token = self._tokens.get(name)
        if token is None:
            row = self._execute("SELECT id, newest, messages, bytes FROM tokens WHERE token = ?", (name,)).fetchone()
            if row is not None:
                token = self._tokens[name] = _Token(*row)
        return token

    def _new_token(self, name: bytes) -> _Token:
        floor = self._totals[2]
        row = self._execute(
            "INSERT INTO tokens (token, newest, messages, bytes, emptied) VALUES (?, ?, 0, 0, ?)",
            (name, floor, self._now),
        )
        assert row.lastrowid is not None
        token = self._tokens[name] = _Token(row.lastrowid, floor, is_new=True)
        return token

    def _seq_of_key(self, token: _Token, key: bytes) -> int:
        """The number under which it is or was kept; 0: none."""
        row = self._execute(
            "SELECT seq FROM messages WHERE token = ? AND key = ?"
            " UNION ALL SELECT seq FROM recent WHERE token = ? AND key = ? AND until > ?",
            (token.id, key, token.id, key, self._now),
        ).fetchone()
        return int(row[0]) if row else 0

    def _of_same_collapse(self, token: _Token, store: Store) -> tuple[int, int] | None:
        """(number, bytes) of the older one that it replaces."""
        if store.collapse is None:
            return None
        row: tuple[int, int] | None = self._execute(
            "SELECT seq, bytes FROM messages WHERE token = ? AND collapse = ?", (token.id, store.collapse)
        ).fetchone()
        return row

    def _held(self, token: _Token) -> dict[int, Holding]:
        if token.held is None:
            rows = self._execute("SELECT seq, sender, bytes FROM messages WHERE token = ? ORDER BY seq", (token.id,))
            token.held = {seq: Holding(sender, size) for seq, sender, size in rows}
        return token.held

    def _expire(self, token: _Token) -> None:
        self._remove_where(token, "expires <= ?", self._now)

    def _remove_where(self, token: _Token, condition: str, value: int) -> int:
        rows = self._execute(f"SELECT seq FROM messages WHERE token = ? AND {condition}", (token.id, value)).fetchall()
        return sum([self._remove(token, seq) for (seq,) in rows])

    def _remove(self, token: _Token, seq: int) -> int:
        """How many went: 1, or 0 if it is not there."""
        row = self._execute(
            "DELETE FROM messages WHERE token = ? AND seq = ? RETURNING key, bytes", (token.id, seq)
        ).fetchone()
        if row is None:
            return 0
        self._execute(
            "INSERT OR REPLACE INTO recent (token, key, seq, until) VALUES (?, ?, ?, ?)",
            (token.id, row[0], seq, self._now + RECENT_MS),
        )
        self._removed = True
        if token.held is not None:
            token.held.pop(seq, None)
        self._add(token, -1, -row[1])
        return 1

    def _add(self, token: _Token, messages: int, size: int) -> None:
        token.messages += messages
        token.bytes += size
        token.changed = True
        self._totals[0] += messages
        self._totals[1] += size
