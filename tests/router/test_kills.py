"""Killing silent workers: that process and no other."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from router.kills import kill, started
from router.outbox import Kill
from tests.fleet.processes import wait_until
from tests.router.router_process import RouterProcess, StandInWorker

Process = subprocess.Popen[bytes]


@pytest.fixture
def sleeper() -> Iterator[Process]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_the_process_that_is_meant(sleeper: Process) -> None:
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert kill(Kill("h/0", sleeper.pid, started(sleeper.pid)))
    assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("later", [-1, 1])
def test_another_process_under_its_pid_is_spared(sleeper: Process, later: int) -> None:
    assert not kill(Kill("h/0", sleeper.pid, started(sleeper.pid) + later))
    assert sleeper.poll() is None


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user's process")
def test_another_users_process_is_spared() -> None:
    command = [sys.executable, "-c", "import os, time; os.setuid(65534); print(flush=True); time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not kill(Kill("h/0", process.pid, started(process.pid)))
        process.kill()


@pytest.mark.parametrize("pid", [1 << 22, 1 << 40, -1, 0])
def test_nobody(pid: int) -> None:
    assert not kill(Kill("h/0", pid, 1))


def test_a_silent_worker_is_killed_and_its_successor_served(sleeper: Process) -> None:
    with RouterProcess(worker_timeout_ms=300, worker_heartbeat_ms=100) as router, router.sender() as sender:
        with StandInWorker(router, pid=sleeper.pid, started=started(sleeper.pid)):
            assert sleeper.wait(10) == -signal.SIGKILL
        wait_until(lambda: "killed worker h/0" in router.log, "said so")
        with StandInWorker(router, incarnation="b") as again:
            sender.send(b"PUSH1", b"r", b"", b"a", b"p")
            again.serve()
            assert sender.receive() == [b"DONE1", b"r", bytes(1), b""]
