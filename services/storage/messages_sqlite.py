"""Cached messages in SQLite: one file of their own, a transaction for each batch.

All state is in the file, so several processes may use it; nothing is loaded at start, however many there are.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from services.storage.messages import IDLE_MS, Bounds, Expiring, Swept, Totals
from services.storage.messages_turns import REQUEST_ID, Turn
from services.storage.sqlite_connections import SYNCHRONOUS, keep_a_log, make_directory, translated
from services.storage.sqlite_schema import migrate, version_of
from shared.cached_messages import Count, Failed, Operation, Read, Result
from shared.errors import StorageError

#: Statements of each step from one version of the file to the next; new ones come at the end.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY, token BLOB NOT NULL UNIQUE, newest INTEGER NOT NULL,
            messages INTEGER NOT NULL, bytes INTEGER NOT NULL, emptied INTEGER)""",
        "CREATE INDEX emptied_tokens ON tokens (emptied) WHERE emptied IS NOT NULL",
        """CREATE TABLE messages (
            token INTEGER NOT NULL, seq INTEGER NOT NULL, key BLOB NOT NULL, signal INTEGER NOT NULL,
            sub_signal INTEGER NOT NULL, expires INTEGER NOT NULL, bytes INTEGER NOT NULL, collapse TEXT,
            sender TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (token, seq)) WITHOUT ROWID""",
        "CREATE UNIQUE INDEX message_keys ON messages (token, key)",
        "CREATE UNIQUE INDEX message_collapses ON messages (token, collapse) WHERE collapse IS NOT NULL",
        "CREATE INDEX message_expiries ON messages (expires)",
        """CREATE TABLE recent (
            id INTEGER PRIMARY KEY, token INTEGER NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL,
            until INTEGER NOT NULL)""",
        "CREATE UNIQUE INDEX recent_keys ON recent (token, key)",
        "CREATE TABLE totals (messages INTEGER NOT NULL, bytes INTEGER NOT NULL, floor INTEGER NOT NULL)",
        "INSERT INTO totals VALUES (0, 0, 0)",
    ),
    # Request ids are a table of their own: others pay nothing, and caches of version 1 that still run store and remove.
    (
        """CREATE TABLE message_requests (
            token INTEGER NOT NULL, seq INTEGER NOT NULL, request_id TEXT NOT NULL, PRIMARY KEY (token, seq)
            ) WITHOUT ROWID""",
        """CREATE TRIGGER forget_request AFTER DELETE ON messages BEGIN
            DELETE FROM message_requests WHERE token = OLD.token AND seq = OLD.seq; END""",
    ),
)
#: How long another process may hold the lock, in seconds; whoever calls the cache waits five.
BUSY_S = 3.0
_CACHE_KIB = 64 << 10
_CHECKPOINT_PAGES = 4000


def open_sqlite(path: Path, durability: str, bounds: Bounds, busy_s: float = BUSY_S) -> "SqliteMessages":
    """Opens the file, makes it or brings it to this version. With durability `memory` there is none.

    Raises StorageError for a file that is damaged, or somebody else's, or of a later version, and leaves it as it is.
    """
    if durability == "memory":
        return SqliteMessages(_prepared(":memory:", durability, busy_s), bounds)
    make_directory(path.parent)
    with translated(path):
        if path.exists() and path.stat().st_size:
            _check(path, busy_s)
        database = _prepared(str(path), durability, busy_s)
    path.chmod(0o600)
    return SqliteMessages(database, bounds)


def _check(path: Path, busy_s: float) -> None:
    """Reads all of it, without the right to change it: 0.3 s for a million messages of 128 bytes (290 MB)."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_s)) as database:
        version = version_of(database)
        if version > len(MIGRATIONS):
            raise StorageError(f"{path} has version {version}, newer than {len(MIGRATIONS)}, which this program knows")
        if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StorageError(f"{path} is corrupt, and left as it is: {found}")
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if (version or names) and "recent_keys" not in names:
            raise StorageError(f"{path} is a database of something else, and left as it is")


def _prepared(name: str, durability: str, busy_s: float) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        keep_a_log(database, busy_s)
        for pragma in (
            f"synchronous = {SYNCHRONOUS[durability]}",
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        ):
            database.execute(f"PRAGMA {pragma}")
        migrate(database, MIGRATIONS)
    except BaseException:
        database.close()
        raise
    return database


class SqliteMessages:
    """A MessageStore on a file, or in memory."""

    def __init__(self, db: sqlite3.Connection, bounds: Bounds) -> None:
        self._db, self._bounds = db, bounds

    def apply(self, operations: Sequence[Operation], now_ms: int) -> list[Result]:
        """All in one transaction: if it fails nothing of it is done, and reads are answered without it."""
        if all(isinstance(each, Read | Count) for each in operations):
            return self._reads(operations, now_ms)
        try:
            return self._transaction(operations, now_ms)
        except sqlite3.Error as error:
            failed = Failed(str(error))
        return [self._reads([each], now_ms)[0] if isinstance(each, Read | Count) else failed for each in operations]

    def _transaction(self, operations: Sequence[Operation], now_ms: int) -> list[Result]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            turn = Turn(self._db, self._bounds, now_ms)
            results = [turn.apply(each) for each in operations]
            turn.finish()
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return results

    def _reads(self, operations: Sequence[Operation], now_ms: int) -> list[Result]:
        try:
            self._db.execute("BEGIN")
            turn = Turn(self._db, self._bounds, now_ms)
            return [turn.apply(each) for each in operations]
        except sqlite3.Error as error:
            return [Failed(str(error))] * len(operations)
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def sweep(self, now_ms: int, most: int) -> Swept:
        try:
            return self._sweep(now_ms, most)
        except sqlite3.Error as error:
            self._roll_back()
            raise StorageError(f"sweep of messages: {error}") from None

    def _sweep(self, now_ms: int, most: int) -> Swept:
        self._db.execute("BEGIN IMMEDIATE")
        turn = Turn(self._db, self._bounds, now_ms)
        expired = turn.expire(most)
        turn.finish()
        # Of what is appended as time goes on, only the head is looked at: an index on the time would cost more.
        recent = self._db.execute(
            "DELETE FROM recent WHERE until <= ? AND id IN (SELECT id FROM recent ORDER BY id LIMIT ?)", (now_ms, most)
        ).rowcount
        idle = self._forget_tokens(now_ms, most)
        self._db.execute("COMMIT")
        return Swept(expired, most in (expired, recent, idle))

    def _forget_tokens(self, now_ms: int, most: int) -> int:
        rows = self._db.execute(
            "SELECT id, newest FROM tokens WHERE emptied <= ? ORDER BY emptied LIMIT ?", (now_ms - IDLE_MS, most)
        ).fetchall()
        for token, newest in rows:
            self._db.execute("UPDATE totals SET floor = MAX(floor, ?)", (newest,))
            self._db.execute("DELETE FROM recent WHERE token = ?", (token,))
            self._db.execute("DELETE FROM tokens WHERE id = ?", (token,))
        return len(rows)

    def expiring(self, now_ms: int, most: int) -> list[Expiring]:
        try:
            rows = self._db.execute(
                f"SELECT tokens.token, key, {REQUEST_ID} FROM messages JOIN tokens ON tokens.id = messages.token"
                " WHERE expires <= ? ORDER BY expires LIMIT ?",
                (now_ms, most),
            ).fetchall()
            return [Expiring._make(row) for row in rows]
        except sqlite3.Error as error:
            raise StorageError(f"messages: {error}") from None

    def totals(self) -> Totals:
        try:
            return Totals(*self._db.execute("SELECT messages, bytes FROM totals").fetchone())
        except sqlite3.Error as error:
            raise StorageError(f"messages: {error}") from None

    def close(self) -> None:
        self._db.close()
