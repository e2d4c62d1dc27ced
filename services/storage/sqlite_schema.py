"""Tables of the SQLite file, by versions (`PRAGMA user_version`), and the steps from each to the next."""

import sqlite3

from shared.errors import StorageError

#: What version 1 begins with. Times are Unix seconds. A group's members are those of its number, so that a group which
#: is made again after its end has none of the earlier one's, even while these are still being removed (`dismissed`).
_BEGINNING = (
    """CREATE TABLE sessions (
        uid TEXT NOT NULL, client_identifier TEXT NOT NULL, secret TEXT NOT NULL, usertoken TEXT NOT NULL,
        created REAL NOT NULL, expires REAL, mobile TEXT,
        since INTEGER PRIMARY KEY AUTOINCREMENT, UNIQUE (uid, client_identifier))""",
    "CREATE INDEX sessions_by_client ON sessions (client_identifier)",
    "CREATE INDEX sessions_by_end ON sessions (expires) WHERE expires IS NOT NULL",
    "CREATE TABLE mobiles (mobile TEXT PRIMARY KEY, uid TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE blocked (uid TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE devices (
        token TEXT PRIMARY KEY, uid TEXT NOT NULL, protocol TEXT NOT NULL, added REAL NOT NULL, seen REAL NOT NULL
        ) WITHOUT ROWID""",
    "CREATE INDEX devices_by_uid ON devices (uid)",
    "CREATE TABLE groups (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL)",
    """CREATE TABLE members (
        number INTEGER NOT NULL, kind TEXT NOT NULL, member TEXT NOT NULL, PRIMARY KEY (number, kind, member)
        ) WITHOUT ROWID""",
    "CREATE INDEX groups_by_member ON members (kind, member)",
    "CREATE TABLE dismissed (number INTEGER PRIMARY KEY)",
    """CREATE TABLE tries (
        key TEXT PRIMARY KEY, began REAL NOT NULL, ends REAL NOT NULL, count INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX tries_by_end ON tries (ends)",
    "CREATE TABLE codes (key TEXT PRIMARY KEY, code TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX codes_by_end ON codes (expires)",
)

#: Version 2: who is connected. Times are Unix ms; `whole` is when a worker has told of all its clients.
_PRESENCES = (
    """CREATE TABLE presences (
        token TEXT PRIMARY KEY, uid TEXT, worker TEXT NOT NULL, protocol TEXT NOT NULL, address TEXT NOT NULL,
        binding INTEGER NOT NULL, bound_by TEXT NOT NULL, moves INTEGER NOT NULL, term TEXT NOT NULL,
        sequence INTEGER NOT NULL, version INTEGER NOT NULL, ended INTEGER, lost INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX presences_by_worker ON presences (worker, token) WHERE ended IS NULL",
    "CREATE INDEX presences_by_end ON presences (ended) WHERE ended IS NOT NULL",
    """CREATE TABLE presence_workers (
        worker TEXT PRIMARY KEY, term TEXT NOT NULL, number INTEGER NOT NULL, whole INTEGER, lease INTEGER NOT NULL
        ) WITHOUT ROWID""",
)

#: Version 3: who is connected, by user.
_PRESENCES_OF_USERS = (
    "CREATE INDEX presences_by_uid ON presences (uid, token) WHERE ended IS NULL AND uid IS NOT NULL",
)

#: Version 4: tokens that have come without a user, and until when (Unix seconds) they are known.
_MET = (
    "CREATE TABLE met (token TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX met_by_end ON met (until)",
)

#: Version 5: events that consumers have not confirmed; the last sequences of tokens; consumers. Times are Unix ms.
_EVENTS = (
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, token TEXT NOT NULL, kind TEXT NOT NULL,
        sequence INTEGER NOT NULL, text TEXT NOT NULL)""",
    """CREATE TABLE event_sequences (
        token TEXT PRIMARY KEY, sequence INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX event_sequences_by_end ON event_sequences (until)",
    """CREATE TABLE event_consumers (
        consumer TEXT PRIMARY KEY, number INTEGER NOT NULL, owner TEXT NOT NULL, lease INTEGER NOT NULL
        ) WITHOUT ROWID""",
    "CREATE TABLE event_totals (dropped INTEGER NOT NULL)",
    "INSERT INTO event_totals VALUES (0)",
)

#: Statements of each step; the first one makes version 1 out of an empty file. New steps come at the end.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_BEGINNING, _PRESENCES, _PRESENCES_OF_USERS, _MET, _EVENTS)


def migrate(database: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Go the steps that the file has not gone, each in a transaction. Processes that come at once wait for one.

    Raises StorageError for a file of a newer version, sqlite3.Error.
    """
    while (version := version_of(database)) != len(migrations):
        database.execute("BEGIN IMMEDIATE")
        try:
            version = version_of(database)  # another process may have been first
            if version > len(migrations):
                raise StorageError(f"has version {version}, newer than {len(migrations)}, which this program knows")
            for statement in migrations[version] if version < len(migrations) else ():
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {min(version + 1, len(migrations))}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def version_of(database: sqlite3.Connection) -> int:
    """Version of a file; 0: nothing is in it."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])
