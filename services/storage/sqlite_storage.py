"""A Storage in one SQLite file."""

from pathlib import Path
from typing import Self

from services.storage.events import NOTHING, Keeping
from services.storage.sqlite_connections import BUSY_S, connect
from services.storage.sqlite_devices import SqliteDevices
from services.storage.sqlite_groups import SqliteGroups
from services.storage.sqlite_limits import SqliteCodes, SqliteLimits
from services.storage.sqlite_outbox import SqliteOutbox
from services.storage.sqlite_presences import SqlitePresences
from services.storage.sqlite_sessions import SqliteSessions, SqliteUsers


class SqliteStorage:
    """See interfaces.Storage. `connection` is for further tables in the same file."""

    def __init__(
        self, path: Path, durability: str = "written", busy_s: float = BUSY_S, keeping: Keeping = NOTHING
    ) -> None:
        """`keeping`: of events. Raises StorageError, StorageUnavailable, as sqlite_connections.connect does."""
        self.connection = connect(path, durability, busy_s)
        self.sessions = SqliteSessions(self.connection)
        self.users = SqliteUsers(self.connection)
        self.devices = SqliteDevices(self.connection)
        self.groups = SqliteGroups(self.connection)
        self.limits = SqliteLimits(self.connection)
        self.codes = SqliteCodes(self.connection)
        self.outbox = SqliteOutbox(self.connection, keeping)
        self.presences = SqlitePresences(self.connection, self.outbox)
        self.groups.finish()

    def close(self) -> None:
        """Give the file back."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
