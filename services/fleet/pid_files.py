"""Locked pid files: who of a fleet runs. A file counts only while its process holds the lock on it."""

import contextlib
import fcntl
import os
import signal
from pathlib import Path

from shared import places
from shared.errors import SettingsError
from shared.settings import Settings


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


def guardians(settings: Settings) -> dict[str, int]:
    """Pids of the running workers' guardians by file name (`gateway-0`)."""
    found = {path.stem: holder_of(path) for path in places.run_dir(settings).glob("gateway-*.pid")}
    return {name: pid for name, pid in found.items() if pid}


def stop_workers(settings: Settings) -> dict[str, int]:
    """SIGINT to every guardian: its worker says DISCONNECT to its clients and ends within 5 s. Who was told."""
    told = guardians(settings)
    for pid in told.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    return told


def hold(path: Path) -> int:
    """Descriptor of the locked pid file, which names this process. Raises SettingsError (`data_dir`)."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SettingsError("data_dir", f"a fleet already runs in {path.parent.parent}") from None
    except OSError as error:
        raise SettingsError("data_dir", f"{path}: {(error.strerror or str(error)).lower()}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
