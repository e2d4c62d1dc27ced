"""The workers that run, by their locked pid files, and how all are told to stop."""

import contextlib
import os
import signal

from shared import places
from shared.settings import Settings
from shared.startup.pid_files import holder_of


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
