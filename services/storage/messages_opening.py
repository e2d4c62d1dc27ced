"""Opens the store of cached messages that the settings name."""

from services.storage.messages import Bounds, MessageStore
from services.storage.messages_sqlite import open_sqlite
from shared.places import database_path
from shared.settings import Settings
from shared.storage_locations import parse_location

_SQLITE_NAME = "messages.db"


def open_messages(settings: Settings) -> MessageStore:
    """A file of its own beside that of all else, or the same Redis. Raises SettingsError, StorageError."""
    bounds = bounds_of(settings)
    location = parse_location(settings.storage)
    if location is None:
        path = database_path(settings).with_name(_SQLITE_NAME)
        return open_sqlite(path, settings.storage_durability, bounds)
    from services.storage.messages_redis import RedisMessages  # noqa: PLC0415  (SQLite needs no redis)

    return RedisMessages(location, settings.storage_durability, bounds)


def bounds_of(settings: Settings) -> Bounds:
    """What the settings say of messages."""
    return Bounds(
        settings.cached_messages_max,
        settings.cached_bytes_max,
        settings.cached_total_bytes_max,
        settings.cached_policy == "drop_oldest",
    )
