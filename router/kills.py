"""Killing a worker that is silent, and nobody else: it might wake at any time and serve what others serve by then.

A pid may be another process's by now. A descriptor of the process (pidfd) stays with the one that it was opened for; so
what is checked after opening it holds when the signal is sent.
"""

import os
import signal
from pathlib import Path

from router.outbox import Kill

#: Fields of /proc/PID/stat after the closing bracket of the name begin with the third; the start time is the 22nd.
_STARTED_AT = 22 - 3


def kill(victim: Kill) -> bool:
    """SIGKILL to that very process, if it is this user's; whether it was sent."""
    try:
        descriptor = os.pidfd_open(victim.pid)
    except (OSError, OverflowError):
        return False
    try:
        if started(victim.pid) != victim.started or os.stat(f"/proc/{victim.pid}").st_uid != os.getuid():
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def started(pid: int) -> int:
    """When a process started, in clock ticks after the machine's boot. Raises OSError if there is none."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[_STARTED_AT])
