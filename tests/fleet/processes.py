"""Processes of tests: started in a session of their own, their output in a file, ended by pid, and seen to be gone."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Longest wait (seconds) for anything that a healthy process does at once.
DEADLINE_S = 20.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE_S) -> None:
    """Poll until `condition` holds. Raises TimeoutError that says what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


class Started:
    """One running command. What it forks stays in its session and is found by it."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path, cwd: Path) -> None:
        self.name, self.log_path = name, log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                env=environ,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """A signal to the process itself; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(number)

    def wait(self, seconds: float = DEADLINE_S) -> int:
        """Its exit status. Raises TimeoutError with the end of its log."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {seconds} s\n{self.log[-4000:]}") from None

    def left_behind(self) -> list[int]:
        """Pids of its session that are alive, itself included.

        No process gets the pid of a session that has members: once it has ended, whoever has it is a stranger, and so
        is the session.
        """
        if self.popen.returncode is not None and Path(f"/proc/{self.pid}").exists():
            return []
        return sorted(pid for pid in _pids() if _session_of(pid) == self.pid and not _is_zombie(pid))

    def kill(self) -> list[int]:
        """SIGKILL to all that is left of its session; their pids."""
        left = self.left_behind()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()
        wait_until(lambda: not self.left_behind(), f"{self.name} gone")
        return left


def children_of(pid: int) -> list[int]:
    """Pids of a process's living children."""
    return [child for child in _pids() if _stat_field(child, 1) == str(pid) and not _is_zombie(child)]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _is_zombie(pid: int) -> bool:
    return _stat_field(pid, 0) in ("Z", "X", "")


def _stat_field(pid: int, number: int) -> str:
    """Field of /proc/PID/stat, counted from the state (0), parent pid (1); empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[number]
    except (OSError, IndexError):
        return ""
