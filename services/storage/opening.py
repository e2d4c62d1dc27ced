"""Opens the storage that the settings name."""

from services.storage.events import KINDS, NOTHING, Keeping
from services.storage.interfaces import Storage
from services.storage.sqlite_storage import SqliteStorage
from shared.errors import SettingsError
from shared.places import database_path
from shared.settings import Settings, split
from shared.storage_locations import parse_location


def open_storage(settings: Settings) -> Storage:
    """The one that `storage` names, safe as `storage_durability` says, with tables of this version.

    Raises StorageError, which says what is wrong: then nothing has been changed. Raises StorageUnavailable, one of
    these, where to try again may help.
    """
    location, keeping = parse_location(settings.storage), keeping_of(settings)
    if location is None:
        return SqliteStorage(database_path(settings), settings.storage_durability, keeping=keeping)
    from services.storage.redis_storage import RedisStorage  # noqa: PLC0415  (SQLite needs no redis)

    return RedisStorage(location, settings.storage_durability, keeping=keeping)


def keeping_of(settings: Settings) -> Keeping:
    """Which events are kept. Raises SettingsError (`event_kinds`)."""
    kinds = frozenset(split(settings.event_kinds) or KINDS)
    if unknown := sorted(kinds - set(KINDS)):
        raise SettingsError("event_kinds", f"{unknown[0][:64]!r} is none of {', '.join(KINDS)}")
    return Keeping(settings.events_max, kinds) if settings.keeps_events else NOTHING
