"""gateway/launch.py as a process: what it refuses, and what the worker finds."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import describe
from tests.fleet.ports import free_ports
from tests.fleet.processes import Started, children_of, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "import sys; from gateway.launch import main; sys.exit(main())"]
STAND_IN = ["--worker-module", "tests.gateway.stand_in_worker"]


class Bench:
    """A data directory, a port, and what was started with them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_ports(1)[0]
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("PUSH_")}
        self.environ |= {"PUSH_DATA_DIR": str(directory / "var"), "PUSH_CLIENT_PORT": str(self.port)}
        self.environ |= {"PUSH_HOST_NAME": "here", "STAND_IN": str(directory), "PYTHONPATH": str(ROOT)}
        self.started: list[Started] = []
        (directory / "order").write_text("wait")

    def start(self, index: int = 0) -> Started:
        """A worker that runs."""
        count = len(self.diary("starts"))
        command = [*COMMAND, *STAND_IN, "--index", str(index)]
        log = self.directory / f"{index}.log"
        self.started.append(Started(f"gateway-{index}", command, self.environ, log, self.directory))
        wait_until(lambda: len(self.diary("starts")) > count, f"start of worker {index}")
        return self.started[-1]

    def run(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """(exit status, stdout, stderr) of a launch that ends by itself."""
        command = [*COMMAND, *STAND_IN, *arguments]
        done = subprocess.run(
            command,
            env=self.environ | environ,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def diary(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")))
    yield bench
    for process in bench.started:
        process.send(signal.SIGTERM)
    statuses = [process.wait() for process in bench.started]
    left = [process.kill() for process in bench.started]
    shutil.rmtree(bench.directory)
    assert not any(statuses)
    assert not any(left), "processes left behind"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PUSH_WORKER": "3"}, "PUSH_WORKER: unknown setting"),
        ({"PUSH_WORKERS": "three"}, "PUSH_WORKERS: 'three' is not a whole number"),
        ({"PUSH_HOST": "example.org"}, "host: 'example.org' is not an IP address"),
        ({"PUSH_HOST": ""}, "host: '' is not an IP address"),
        ({"PUSH_HOST": "192.0.2.1"}, "host: 192.0.2.1:{port}: cannot assign requested address"),
        ({"PUSH_DATA_DIR": "/proc/none"}, "data_dir: /proc/none: no such file or directory"),
        ({"PUSH_CONFIG": "/proc/none"}, "PUSH_CONFIG: /proc/none: no such file or directory"),
        ({"PUSH_NGINX_SOCKET_GROUP": "no-group"}, "nginx_socket_group: no group 'no-group' on this machine"),
    ],
)
def test_bad_settings_cost_one_line(bench: Bench, environ: dict[str, str], said: str) -> None:
    said = said.replace("{port}", str(bench.port))
    assert bench.run(**environ) == (2, "", f"push-gateway: {said}\n")


def test_port_of_another_fleet(bench: Bench) -> None:
    bench.start()
    other = str(bench.directory / "other")
    said = f"push-gateway: client_port: 127.0.0.1:{bench.port} is in use by the fleet of {bench.directory}/var\n"
    assert bench.run(PUSH_DATA_DIR=other) == (2, "", said)


def test_port_of_another_program(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", bench.port), reuse_port=True):
        status, _, said = bench.run()
    assert (status, said) == (2, f"push-gateway: client_port: 127.0.0.1:{bench.port} is in use by another process\n")


def test_second_worker_of_the_same_name(bench: Bench) -> None:
    bench.start()
    said = f"push-gateway: data_dir: worker here/0 already runs in {bench.directory}/var\n"
    assert bench.run() == (2, "", said)


def test_index_that_is_none(bench: Bench) -> None:
    status, _, said = bench.run("--index", "-1")
    assert status == 2
    assert "'-1' is not a whole number from 0" in said


def test_workers_of_one_fleet_share_the_port(bench: Bench) -> None:
    for index in (0, 1):
        bench.start(index)
    nginx = f"{bench.directory}/var/nginx"
    port = ("127.0.0.1", bench.port)
    assert bench.diary("listeners") == [str([port, f"{nginx}/0.sock", 0]), str([port, f"{nginx}/1.sock", 1])]


def test_launcher_becomes_the_guardian(bench: Bench) -> None:
    started = bench.start()
    command = Path(f"/proc/{started.pid}/cmdline").read_bytes().split(b"\0")
    assert Path(command[3].decode()).name == "guardian.py"
    assert [str(pid) for pid in children_of(started.pid)] == bench.diary("starts")
    assert Path(bench.directory, "var/run/gateway-0.pid").read_text() == f"{started.pid}\n"


def test_worker_may_open_as_many_descriptors_as_the_hard_limit(bench: Bench) -> None:
    started = bench.start()
    soft, hard = resource.prlimit(children_of(started.pid)[0], resource.RLIMIT_NOFILE)
    assert soft == hard


def test_listener_survives_the_worker(bench: Bench) -> None:
    bench.start()
    os.kill(int(bench.diary("starts")[0]), signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", bench.port)):
        wait_until(lambda: len(bench.diary("starts")) == 2, "second start")
    assert bench.diary("listeners")[0] == bench.diary("listeners")[1]


def test_port_is_free_when_the_fleet_has_ended(bench: Bench) -> None:
    first = bench.start()
    first.send(signal.SIGTERM)
    first.wait()
    bench.environ["PUSH_DATA_DIR"] = str(bench.directory / "other")
    bench.start()


def test_check_config_lists_settings_and_starts_nothing(bench: Bench) -> None:
    status, listed, said = bench.run("--check-config", PUSH_WORKERS="7")
    assert (status, said) == (0, "")
    assert "workers = 7" in listed.splitlines()
    assert not (bench.directory / "var").exists()


def test_help_lists_every_setting(bench: Bench) -> None:
    status, listed, _ = bench.run("--help")
    assert status == 0
    for name, default, text in describe():
        assert f"PUSH_{name.upper()} [{default}]\n      {text}" in listed
