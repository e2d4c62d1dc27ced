"""The SQLite file: opening it with care, one connection that threads take in turn, and what its errors mean."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from services.storage.sqlite_schema import MIGRATIONS, migrate
from shared.errors import StorageError, StorageUnavailable

SYNCHRONOUS = {"memory": "OFF", "written": "NORMAL", "fsynced": "FULL"}
#: How long a call waits for other processes that write, in seconds.
BUSY_S = 5.0
_PAUSE_S = 0.01

#: Errors (primary result codes) that pass by themselves, or when somebody makes room.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class Connection:
    """One connection. Threads wait for each other; other processes too, for `busy_s` seconds at most."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path, self._database, self._lock = path, database, RLock()

    def read(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows of one SELECT. Raises StorageError, StorageUnavailable."""
        with self._lock, translated(self._path):
            return self._database.execute(sql, parameters).fetchall()

    @contextmanager
    def write(self) -> Iterator["Transaction"]:
        """A transaction: kept if the block ends, undone if it raises. Raises StorageError, StorageUnavailable.

        No other process writes meanwhile, so keep it short: some thousand rows.
        """
        with self._lock, translated(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(self._database)
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk or a failed COMMIT may have ended it already.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Give the file back; the last process that does folds the log into it."""
        with self._lock:
            self._database.close()


class Transaction:
    """Statements of one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def change(self, sql: str, *parameters: object) -> int:
        """One statement; how many rows it has changed."""
        return self._database.execute(sql, parameters).rowcount

    def change_many(self, sql: str, rows: Sequence[Sequence[object]]) -> int:
        """One statement for each row of parameters; how many rows they have changed."""
        return self._database.executemany(sql, rows).rowcount

    def read(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows of one SELECT, or of a statement that returns some."""
        return self._database.execute(sql, parameters).fetchall()


def connect(path: Path, durability: str, busy_s: float = BUSY_S) -> Connection:
    """Open the file, made or brought to this version if need be. `durability`: as the setting storage_durability.

    Raises StorageError for a file that is corrupt, not SQLite's or of a newer version, and leaves it as it is; and for
    a place that cannot be written. Raises StorageUnavailable where others keep it locked, or the disk is full.
    """
    make_directory(path.parent)
    with translated(path):
        if path.exists() and path.stat().st_size:
            check(path, busy_s)
        database = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        try:
            prepare(database, durability, busy_s)
        except BaseException:
            database.close()
            raise
    path.chmod(0o600)
    return Connection(path, database)


def make_directory(directory: Path) -> None:
    """For its owner alone. Raises StorageError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory} cannot be made: {(error.strerror or str(error)).lower()}") from None


def check(path: Path, busy_s: float) -> None:
    """Read all of a file that is there, without the right to change it. Raises StorageError, sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=busy_s)) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StorageError(f"{path} has version {version}, newer than {len(MIGRATIONS)}, which this program knows")
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StorageError(f"{path} is corrupt, and left as it is: {found}")
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if (version or names) and "mobiles" not in names:
            raise StorageError(f"{path} is a database of something else, and left as it is")


def prepare(database: sqlite3.Connection, durability: str, busy_s: float = BUSY_S) -> None:
    """Set up a new connection, and bring its file to this version. Raises StorageError, sqlite3.Error."""
    keep_a_log(database, busy_s)
    database.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
    database.execute("PRAGMA foreign_keys = ON")
    migrate(database)


def keep_a_log(database: sqlite3.Connection, busy_s: float) -> None:
    """Write to a log beside the file. Raises sqlite3.Error.

    While another process sets this for a new file, SQLite says at once that the file is locked, `timeout` or not.
    """
    deadline = time.monotonic() + busy_s
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: what passes is StorageUnavailable, all else StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StorageError(f"{path} is corrupt, and left as it is: {error}") from error
        kind = StorageUnavailable if code in _PASSING else StorageError
        raise kind(f"{path}: {error}") from error
