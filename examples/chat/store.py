"""What the chat keeps: people, messages, titles of groups. One SQLite file; from any thread.

Who is in which group the gateway's group service knows.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people (name TEXT PRIMARY KEY, display_name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, title TEXT NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sender TEXT NOT NULL, user TEXT, "group" TEXT, text TEXT NOT NULL,
    sent_ms INTEGER NOT NULL, client_id TEXT, UNIQUE (sender, client_id)
);
CREATE INDEX IF NOT EXISTS of_user ON messages (user);
CREATE INDEX IF NOT EXISTS of_group ON messages ("group");
"""
_COLUMNS = 'id, sender, user, "group", text, sent_ms'


class Said(NamedTuple):
    """A message, to a user or to a group; the other one is None."""

    id: int
    sender: str
    user: str | None
    group: str | None
    text: str
    sent_ms: int


class Store:
    """Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=3)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.executescript(_SCHEMA)

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    def _write(self, statement: str, values: Sequence[object]) -> None:
        with self._lock, self._database:
            self._database.execute(statement, values)

    # --- people

    def set_display_name(self, name: str, display_name: str) -> str:
        """Whoever is new is known from now on; what the name is. Empty: as it was, first the name itself."""
        if display_name:
            self._write("INSERT OR REPLACE INTO people VALUES (?, ?)", (name, display_name))
        else:
            self._write("INSERT OR IGNORE INTO people VALUES (?, ?)", (name, name))
        return self.display_names([name])[name]

    def display_names(self, names: Iterable[str]) -> dict[str, str]:
        """Of those that are known."""
        asked = list(names)
        statement = f"SELECT name, display_name FROM people WHERE name IN ({_places(asked)})"
        return dict(self._read(statement, asked))

    def everybody(self) -> dict[str, str]:
        """Display names by name."""
        return dict(self._read("SELECT name, display_name FROM people ORDER BY name LIMIT 1000"))

    # --- messages

    def add(self, message: Said, client_id: str) -> Said:
        """Keeps it and gives it an id; one that its sender has said already is the one that was kept then."""
        values = (*message[1:], client_id or None)
        with self._lock, self._database:
            added = self._database.execute(
                'INSERT OR IGNORE INTO messages (sender, user, "group", text, sent_ms, client_id)'
                " VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            if added.rowcount:
                return message._replace(id=added.lastrowid or 0)
            old = f"SELECT {_COLUMNS} FROM messages WHERE sender = ? AND client_id = ?"
            return Said(*self._database.execute(old, (message.sender, client_id)).fetchone())

    def after(self, position: int, name: str, groups: Sequence[str], most: int) -> list[Said]:
        """Messages from and to a user, and in groups, with ids over `position`; the oldest first."""
        mine = f'sender = ? OR user = ? OR "group" IN ({_places(groups)})'
        statement = f"SELECT {_COLUMNS} FROM messages WHERE id > ? AND ({mine}) ORDER BY id LIMIT ?"
        return [Said(*row) for row in self._read(statement, (position, name, name, *groups, most))]

    # --- groups

    def add_group(self, name: str, title: str, owner: str) -> None:
        self._write("INSERT INTO groups VALUES (?, ?, ?)", (name, title, owner))

    def groups(self, names: Sequence[str]) -> list[tuple[str, str, str]]:
        """(name, title, owner) of those that are known."""
        statement = f"SELECT name, title, owner FROM groups WHERE name IN ({_places(names)}) ORDER BY title, name"
        return self._read(statement, names)


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
