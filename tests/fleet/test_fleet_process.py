"""The Fleet fixture keeps its word: what it starts, it finds, restarts, ends, and complains about."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.ports import free_port_range, free_ports
from tests.fleet.processes import Started, children_of, wait_until


def test_workers_come_and_go(start_fleet: StartFleet) -> None:
    fleet = start_fleet(workers=2, worker_timeout_ms=1000, worker_heartbeat_ms=200)
    assert fleet.live_workers() == ["here/0", "here/1"]
    assert fleet.stop_worker(1) == 0
    fleet.wait_ready()
    assert fleet.live_workers() == ["here/0"]
    fleet.start_worker(1)
    fleet.start_worker(2)
    fleet.wait_ready()
    assert fleet.live_workers() == ["here/0", "here/1", "here/2"]


def test_killed_worker_is_another_process_afterwards(start_fleet: StartFleet) -> None:
    fleet = start_fleet(workers=1)
    dead = fleet.kill_worker(0)
    wait_until(lambda: fleet.worker_pid(0) not in (0, dead), "restart")
    fleet.wait_ready()
    assert "was killed by SIGKILL: starting it again" in fleet.log("gateway-0")


def test_traceback_in_a_log_fails_the_test() -> None:
    fleet = Fleet()
    (fleet.directory / "router.log").write_text("Traceback (most recent call last):\n")
    with pytest.raises(AssertionError, match=r"router\.log has a traceback"):
        fleet.stop()
    assert not fleet.directory.exists()


def test_process_that_does_not_start_is_quoted() -> None:
    fleet = Fleet(workers=1, auth_keys_file="/proc/none")
    fleet.start()
    with pytest.raises(RuntimeError, match=r"gateway-0 exited with status 2:\n(.*\n)?push-gateway: auth_keys_file"):
        fleet.wait_ready()
    fleet.stop()


def test_process_left_behind_is_found_and_killed(tmp_path: Path) -> None:
    code = "import os, signal; os.fork() or signal.pause()"  # the parent ends, its child does not
    started = Started("parent", [sys.executable, "-c", code], os.environ, tmp_path / "log", tmp_path)
    assert started.wait() == 0
    assert len(started.kill()) == 1
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    started = Started("stubborn", command, os.environ, tmp_path / "log", tmp_path)
    started.send(signal.SIGSTOP)
    assert started.kill() == [started.pid]
    assert started.left_behind() == []


def test_a_stranger_that_has_its_pid_by_now_is_not_touched(tmp_path: Path) -> None:
    started = Started("ended", [sys.executable, "-c", ""], os.environ, tmp_path / "log", tmp_path)
    assert started.wait() == 0
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(command, start_new_session=True) as stranger:
        started.popen.pid = stranger.pid
        assert started.kill() == []
        assert stranger.poll() is None
        stranger.kill()


def test_children_are_found() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in children_of(os.getpid())
        child.communicate(b"\n")
    assert child.pid not in children_of(os.getpid())


def test_ports_are_different() -> None:
    assert len(set(free_ports(50))) == 50


def test_ports_in_a_row_are_free() -> None:
    first = free_port_range(3)
    with ExitStack() as stack:
        for port in range(first, first + 3):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
