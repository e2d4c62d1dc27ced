"""A process that writes and says what it has written. `python -m tests.services.storage.writers KIND PATH [FIRST]`."""

import resource
import signal
import sys
from itertools import count
from pathlib import Path

from services.storage.interfaces import Session
from services.storage.sqlite_storage import SqliteStorage
from shared.errors import StorageUnavailable

NOW = 1_800_000_000.0


def write_on(path: Path, first: int) -> None:
    """Sessions and members of group `g`, one of each after the other; each number is said when it is kept."""
    with SqliteStorage(path) as storage:
        storage.groups.create("g", "owner")
        for number in count(first):
            storage.sessions.put(Session("u", f"c{number}", "s" * 200, "t", NOW, None), NOW)
            storage.groups.join("g", (f"t{number}-{each}" for each in range(20)), [])
            print(number, flush=True)


def fill(path: Path) -> None:
    """Write until there is no more room: files of this process may not grow over 512 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with SqliteStorage(path) as storage:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512 << 10, 512 << 10))
        for number in count():
            try:
                storage.sessions.put(Session("u", f"c{number}", "s" * 10_000, "t", NOW, None), NOW)
            except StorageUnavailable:
                break
        kept = len(storage.sessions.by_uid("u"))
        print(number, kept, error_is_repeated(storage), flush=True)


def error_is_repeated(storage: SqliteStorage) -> bool:
    """Whether it still refuses, and still answers."""
    try:
        storage.sessions.put(Session("u", "last", "s" * 10_000, "t", NOW, None), NOW)
    except StorageUnavailable:
        return storage.sessions.get("u", "last") is None
    return False


if __name__ == "__main__":
    kind, name, *more = sys.argv[1:]
    if kind == "fill":
        fill(Path(name))
    else:
        write_on(Path(name), int(more[0]))
