"""What workers find out of other processes, in place of `gateway.processes` and `shared.startup.pid_files`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator.worlds import caller


def start_of_this_process() -> int:
    """When this process began; with its pid it names it for good."""
    return caller().started


def watch_process(pid: int, ended: Callable[[], None]) -> Any:
    """Call `ended()` when the parent is no more."""
    process = caller()
    if process.parent != pid:
        process.hub.run_callback(ended)
    process.orphaned = ended
    return process


def holder_of(path: Path) -> int | None:
    """Somebody's pid if a pid file is locked, else None."""
    return 1 if str(path) in caller().host.locks else None
