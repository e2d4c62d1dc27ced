"""The router as a process: starting, refusing to start, stopping."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import describe
from tests.fleet.processes import wait_until
from tests.router.router_process import ROOT, RouterProcess, StandInWorker


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        yield Path(directory)


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "router.main", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=False)


def test_help_lists_every_setting() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"PUSH_{name.upper()} " in done.stdout for name, _, _ in describe())


def test_check_config_lists_the_settings() -> None:
    done = run("--check-config", PUSH_SENDER_PORT="7001")
    assert done.returncode == 0
    assert "sender_port = 7001" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"PUSH_SENDER_PROT": "1"}, "push-router: PUSH_SENDER_PROT: unknown setting"),
        ({"PUSH_SENDER_PORT": "x"}, "push-router: PUSH_SENDER_PORT: 'x' is not a whole number"),
        ({"PUSH_CONFIG": "/nonexistent"}, "push-router: PUSH_CONFIG: /nonexistent: no such file or directory"),
        ({"PUSH_DATA_DIR": "/dev/null/var"}, "push-router: data_dir: /dev/null/var/run: not a directory"),
    ],
)
def test_bad_settings_are_one_line_and_status_2(environ: dict[str, str], line: str) -> None:
    done = run(**environ)
    assert (done.returncode, done.stderr, done.stdout) == (2, line + "\n", "")


def test_a_path_that_is_too_long(short_path: Path) -> None:
    done = run(PUSH_DATA_DIR=str(short_path / ("x" * 100)))
    assert done.returncode == 2
    assert done.stderr.startswith("push-router: data_dir: socket path ")
    assert done.stderr.count("\n") == 1


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, log = RouterProcess(sender_port=port).refusal()
    assert (status, log) == (2, f"push-router: sender_port: address 127.0.0.1:{port} is in use\n")


def test_port_in_use_by_another_router() -> None:
    with RouterProcess() as first:
        status, log = RouterProcess(sender_port=first.sender_port).refusal()
    assert (status, log) == (2, f"push-router: sender_port: address 127.0.0.1:{first.sender_port} is in use\n")


def test_a_second_router_in_the_same_directory() -> None:
    with RouterProcess() as first:
        status, log = RouterProcess(data_dir=first.data_dir).refusal()
        assert (status, log) == (2, f"push-router: data_dir: router 0 already runs in {first.data_dir}\n")
        assert (first.data_dir / "run/router-0.pid").read_text() == f"{first.process.pid}\n"
        with StandInWorker(first) as worker, first.sender() as sender:
            sender.send(b"PUSH1", b"r1", b"", b"a", b"p")
            worker.serve()
            assert sender.receive() == [b"DONE1", b"r1", bytes(1), b""]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_status_0_and_may_be_started_again(number: signal.Signals) -> None:
    with RouterProcess() as router:
        router.process.send(number)
        assert router.process.wait(5) == 0
        assert "router stopped" in router.log
        with RouterProcess(data_dir=router.data_dir, sender_port=router.sender_port) as again:
            assert again.process.running


def test_a_killed_router_locks_nobody_out() -> None:
    with RouterProcess() as router:
        router.process.send(signal.SIGKILL)
        router.process.wait()
        with (
            RouterProcess(data_dir=router.data_dir, sender_port=router.sender_port) as again,
            StandInWorker(again) as worker,
            again.sender() as sender,
        ):
            sender.send(b"PUSH1", b"r1", b"", b"a", b"p")
            worker.serve()
            assert sender.receive()[0] == b"DONE1"


def test_stopping_answers_what_it_can() -> None:
    with (
        RouterProcess(bus_window_batches=1) as router,
        StandInWorker(router) as worker,
        router.sender() as sender,
    ):
        sender.send(b"PUSH1", b"r1", b'{"timeout_ms":60000}', b"a", b"p")
        worker.batch()
        sender.send(b"PUSH1", b"r2", b'{"timeout_ms":60000}', b"a", b"p")
        sender.send(b"STAT1", b"r3")
        assert sender.receive()[1] == b"r3"
        router.process.send(signal.SIGTERM)
        assert sender.receive() == [b"DONE1", b"r2", bytes([7]), b""]
        assert sender.receive() == [b"DONE1", b"r1", bytes([10]), b""]
        assert router.process.wait(5) == 0


def test_stopping_waits_a_moment_for_workers() -> None:
    with RouterProcess() as router, StandInWorker(router) as worker, router.sender() as sender:
        sender.send(b"PUSH1", b"r1", b"", b"a", b"p")
        batch = worker.batch()
        router.process.send(signal.SIGTERM)
        wait_until(lambda: "stopping; workers have 1 requests" in router.log, "stopping")
        worker.send([b"OUTCOMES1", batch.number.to_bytes(8, "big"), bytes(1)])
        assert sender.receive() == [b"DONE1", b"r1", bytes(1), b""]
        assert router.process.wait(5) == 0


def test_the_run_directory_is_private(short_path: Path) -> None:
    (short_path / "run").mkdir(mode=0o755)
    with RouterProcess(data_dir=short_path):
        run_dir = short_path / "run"
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((run_dir / "bus-0.sock").stat().st_mode) == 0o700
        assert stat.S_IMODE((run_dir / "router-0.pid").stat().st_mode) == 0o600


def test_ipv6_and_localhost() -> None:
    for host in ("::1", "localhost"):
        with RouterProcess(sender_host=host) as router:
            assert router.process.running, router.log


def test_no_environment_is_needed(short_path: Path) -> None:
    done = run("--check-config", HOME=str(short_path), PATH=os.environ["PATH"])
    assert done.returncode == 0
