"""Other processes of this host, as a worker looks at them."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import gevent

_READ = 1
#: Of /proc/PID/stat behind the command's name, which ends with the last parenthesis: the start, field 22.
_START_FIELD = 19


def start_of_this_process() -> int:
    """When this process began, in clock ticks since the machine did: with its pid it names it for good."""
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[_START_FIELD])


def watch_process(pid: int, ended: Callable[[], None]) -> Any:
    """Call `ended()` in the hub when the parent process `pid` is no more; keep what is returned until then."""
    loop = gevent.get_hub().loop
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        descriptor = -1
    if descriptor < 0 or os.getppid() != pid:  # it has died already, and another may have its number
        if descriptor >= 0:
            os.close(descriptor)
        loop.run_callback(ended)
        return None
    watcher = loop.io(descriptor, _READ)

    def fire() -> None:
        watcher.stop()
        os.close(descriptor)
        ended()

    watcher.start(fire)
    return watcher


def usual_priority(guardian: int) -> None:
    """From now on no more priority than the guardian has, which let this process start first: every thread of it."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread), os.getpriority(os.PRIO_PROCESS, guardian))
