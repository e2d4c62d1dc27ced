"""`pushctl top`, also in a real pty."""

import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import ioctl

import pytest

from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import DEADLINE_S
from tests.services.pushctl.runs import COMMAND, run


class Terminal:
    """`pushctl` in a terminal of 80 x 24."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid, self._descriptor = pid, descriptor
        self.seen = ""

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self.seen += os.read(self._descriptor, 65536).decode()

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def status(self) -> int:
        """How it ended; what it still prints is read meanwhile."""
        until = time.monotonic() + DEADLINE_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < until, self.seen
            if select.select([self._descriptor], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self._descriptor, 65536).decode()
                except OSError:  # its end of the terminal is closed
                    time.sleep(0.02)


@contextmanager
def terminal(environ: Mapping[str, str], *arguments: str, size: tuple[int, int] = (24, 80)) -> Iterator[Terminal]:
    pid, descriptor = pty.fork()
    if not pid:
        os.execve(sys.executable, [*COMMAND, *arguments], {**environ, "TERM": "xterm"})
    ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    opened = Terminal(pid, descriptor)
    try:
        yield opened
    finally:
        if opened.pid:
            os.kill(opened.pid, signal.SIGKILL)
            os.waitpid(opened.pid, 0)
        os.close(descriptor)


def test_once(running_fleet: Fleet) -> None:
    done = run(running_fleet.environ, "top", "--once", "--interval", "0.2")
    assert done.status == 0
    assert done.stdout.startswith("2 workers live, 0 leaving, 0 away; 1 routers; ring ")
    assert "\nhere/0 " in done.stdout
    said = run(running_fleet.environ, "top", "--json", "--interval", "0.2").json
    assert [row["worker"] for row in said["workers"]] == ["here/0", "here/1"]
    assert sum(row["share"] for row in said["workers"]) == pytest.approx(1)
    assert said["pushes_per_s"] == 0


@pytest.mark.parametrize("keys", [b"q", b"\x03"])
def test_in_a_terminal_until_it_is_told_to_quit(running_fleet: Fleet, keys: bytes) -> None:
    with terminal(running_fleet.environ, "top", "--interval", "0.2") as shown:
        shown.wait_for("here/1")
        shown.wait_for("q: quit")
        before = len(shown.seen)
        run(running_fleet.environ, "push", "nobody", "x")
        shown.wait_for("offline")
        assert len(shown.seen) > before
        shown.type(keys)
        assert shown.status() == 0
    assert "\x1b[?1049l" in shown.seen, "the terminal is as it was"


def test_in_a_tiny_terminal(running_fleet: Fleet) -> None:
    with terminal(running_fleet.environ, "top", size=(2, 12)) as shown:
        shown.wait_for("2 workers")
        shown.type(b"q")
        assert shown.status() == 0


def test_nobody_answers(running_fleet: Fleet) -> None:
    environ = {**running_fleet.environ, "PUSH_SENDER_PORT": "1"}
    done = run(environ, "top", "--once")
    assert (done.status, done.stderr) == (3, "pushctl: no router answers: is the fleet running?\n")
