"""The workers that run, by their locked pid files, and how all are told to stop."""

import contextlib
import os
import signal
from pathlib import Path

from shared import places
from shared.settings import Settings
from shared.startup.pid_files import holder_of


def guardians(settings: Settings) -> dict[str, int]:
    """Pids of the running workers' guardians by file name (`gateway-0`)."""
    found = {path.stem: guardian(path) for path in places.run_dir(settings).glob("gateway-*.pid")}
    return {name: pid for name, pid in found.items() if pid}


def guardian(path: Path) -> int | None:
    """The guardian that holds this pid file locked. None: nobody does, or only the worker of a dead guardian.

    Such a worker leaves by itself; the pid in the file may be anybody's by then.
    """
    pid = holder_of(path)
    return pid if pid and _has_open(pid, path) else None


def _has_open(pid: int, path: Path) -> bool:
    try:
        wanted = path.stat()
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(entry.path), wanted):
                    return True
    except OSError:
        pass
    return False


def stop_workers(settings: Settings) -> dict[str, int]:
    """SIGINT to every guardian: its worker says DISCONNECT to its clients and ends within 5 s. Who was told."""
    told = guardians(settings)
    for pid in told.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    return told
