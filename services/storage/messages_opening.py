"""Opens the store of cached messages that the settings name."""

from services.storage.messages import Bounds, MessageStore
from services.storage.messages_sqlite import open_sqlite
from shared.places import database_path
from shared.settings import Settings

_SQLITE_NAME = "messages.db"


def open_messages(settings: Settings) -> MessageStore:
    """A file of its own beside that of all else, or the same Redis. Raises SettingsError, StorageError."""
    bounds = bounds_of(settings)
    if settings.storage == "sqlite":
        path = database_path(settings).with_name(_SQLITE_NAME)
        return open_sqlite(path, settings.storage_durability, bounds)
    from services.storage.messages_redis import open_redis  # noqa: PLC0415  (SQLite needs no Redis library)

    return open_redis(settings.storage, bounds)


def bounds_of(settings: Settings) -> Bounds:
    """What the settings say of messages."""
    return Bounds(
        settings.cached_messages_max,
        settings.cached_bytes_max,
        settings.cached_total_bytes_max,
        settings.cached_policy == "drop_oldest",
    )
