"""Opens the storage that the settings name."""

from services.storage.interfaces import Storage
from services.storage.sqlite_storage import SqliteStorage
from shared.places import database_path
from shared.settings import Settings
from shared.storage_locations import parse_location


def open_storage(settings: Settings) -> Storage:
    """The one that `storage` names, safe as `storage_durability` says, with tables of this version.

    Raises StorageError, which says what is wrong: then nothing has been changed. Raises StorageUnavailable, one of
    these, where to try again may help.
    """
    location = parse_location(settings.storage)
    if location is None:
        return SqliteStorage(database_path(settings), settings.storage_durability)
    from services.storage.redis_storage import RedisStorage  # noqa: PLC0415  (SQLite needs no redis)

    return RedisStorage(location, settings.storage_durability)
