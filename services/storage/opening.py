"""Opens the storage that the settings name."""

from services.storage.interfaces import Storage
from services.storage.sqlite_storage import SqliteStorage
from shared.places import database_path
from shared.settings import Settings


def open_storage(settings: Settings) -> Storage:
    """The one that `storage` names, safe as `storage_durability` says, with tables of this version.

    Raises StorageError, which says what is wrong: then nothing has been changed. Raises StorageUnavailable, one of
    these, where to try again may help.
    """
    return SqliteStorage(database_path(settings), settings.storage_durability)
