"""Locked pid files: who of a fleet runs. A file counts only while its process, or a child of it, holds the lock."""

import fcntl
import os
import time
from pathlib import Path

from shared.errors import SettingsError

#: `holder_of` has the lock for a moment; a process that starts just then tries again this often, so many seconds apart.
_TRIES, _PAUSE_S = 10, 0.02


def hold(path: Path, taken: str) -> int:
    """Descriptor of the locked pid file, which names this process; the lock goes with the descriptor, also over exec.

    Raises SettingsError (`data_dir`), with the message `taken` if another process holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError("data_dir", f"{path}: {(error.strerror or str(error)).lower()}") from None
    if not _lock(descriptor):
        os.close(descriptor)
        raise SettingsError("data_dir", taken)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _lock(descriptor: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    return False


def holder_of(path: Path) -> int | None:
    """Pid in a pid file whose lock is held, or None: nobody runs."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
    except (FileNotFoundError, ValueError):
        pass
    return None
