import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.catalogue import variables
from shared.settings import load
from tests.fleet.fleet_process import ROOT, Fleet
from tests.fleet.ports import free_ports
from tests.fleet.processes import Started, wait_until
from tests.services.pushctl.runs import listening, run


def test_a_ready_fleet_is_ready(running_fleet: Fleet):
    assert run(running_fleet.environ, "wait-ready", "--timeout", "20") == (
        0,
        "ready: router, 2 workers, status service\n",
        "",
    )
    assert run(running_fleet.environ, "wait-ready", "--json").json["ready"] is True


def test_what_is_missing_is_told(running_fleet: Fleet):
    more = {**running_fleet.environ, "PUSH_WORKERS": "3", "PUSH_API_PORT": str(free_ports(1)[0])}
    done = run(more, "wait-ready", "--timeout", "0.2")
    assert done.status == 3
    assert "workers: 2 of 3 are in the ring of router-0" in done.stderr
    assert "status service: no answer" in done.stderr
    assert run(more, "wait-ready", "--timeout", "0.2", "--json").json["ready"] is False


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """Settings of a fleet that does not run yet."""
    directory = tempfile.mkdtemp(prefix="pg", dir="/tmp")
    ports = zip(("CLIENT", "SENDER", "API"), free_ports(3), strict=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PUSH_")}
    own = {"PUSH_DATA_DIR": directory, "PUSH_SERVICES": "subscribe"}
    yield {**clean, **own, **{f"PUSH_{name}_PORT": str(port) for name, port in ports}}
    shutil.rmtree(directory)


@pytest.fixture
def launched(environ: dict[str, str]) -> Iterator[Started]:
    """A fleet as `make run` starts it."""
    command = [sys.executable, "-m", "services.main", "fleet"]
    started = Started("fleet", command, environ, Path(environ["PUSH_DATA_DIR"]) / "launcher.log", ROOT)
    try:
        yield started
    finally:
        if started.running:
            started.send(signal.SIGTERM)
            started.wait()
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fleet_that_is_still_starting_stops_too(launched: Started, number: signal.Signals):
    wait_until(lambda: "starting 2 workers" in launched.log, "it starts")
    launched.send(number)
    assert launched.wait() == 0
    assert "ready:" not in launched.log
    assert "stopping\n" in launched.log


def test_stop_ends_everything_and_tells_the_clients(environ: dict[str, str], launched: Started):
    assert run(environ, "wait-ready", "--timeout", "60").status == 0, launched.log
    with listening(environ, "alice") as listener:
        done = run(environ, "stop")
        assert done.status == 0, done.stderr
        assert done.stdout == "stopped: fleet, gateway-0, gateway-1, router-0, subscribe, supervisord\n"
        listened = listener.finish()
    assert listened.status == 1
    assert "the gateway disconnected this client: shutdown" in listened.stderr
    launched.wait()
    assert run(environ, "stop") == (3, "", f"pushctl: no fleet runs in {environ['PUSH_DATA_DIR']}\n")


def test_stop_without_a_launcher(environ: dict[str, str]):
    """supervisord as a service of the machine, as docs/operations.md has it."""
    directory = Path(environ["PUSH_DATA_DIR"])
    for name in ("run", "log"):
        (directory / name).mkdir(mode=0o700)
    settings = load(environ)
    own = {
        "PUSH_ROUTERS": str(settings.routers),
        "PUSH_WORKERS": str(settings.workers),
        "PUSH_DRAIN_TIMEOUT_S": str(settings.drain_timeout_s),
        **variables(settings),
        "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
    }
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(ROOT / "supervisord.conf")]
    supervisord = Started("supervisord", command, {**environ, **own}, directory / "supervisord.log", ROOT)
    try:
        assert run(environ, "wait-ready", "--timeout", "60").status == 0, supervisord.log
        done = run(environ, "stop", "--json")
        assert done.status == 0, done.stderr
        assert done.json == {"stopped": ["gateway-0", "gateway-1", "router-0", "subscribe", "supervisord"]}
        wait_until(lambda: not supervisord.running, "supervisord gone")
    finally:
        if supervisord.running:
            supervisord.send(signal.SIGTERM)
            supervisord.wait()
        supervisord.kill()


def test_stop_without_supervision(environ: dict[str, str]):
    own = {key: value for key, value in environ.items() if key.startswith("PUSH_")}
    fleet = Fleet(**{key.removeprefix("PUSH_").lower(): value for key, value in own.items()})
    with fleet:
        done = run(environ, "stop")
        assert done.stdout == "stopped: gateway-0, gateway-1, router-0, subscribe\n", done.stderr
        assert {process.wait() for process in fleet.processes.values()} == {0}


def test_stale_pid_files_are_nobody(environ: dict[str, str]):
    """The pid in a file that nobody holds locked may be anybody's by now."""
    bystander = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        run_dir = Path(environ["PUSH_DATA_DIR"]) / "run"
        run_dir.mkdir()
        for name in ("fleet", "gateway-0", "router-0", "supervisord"):
            (run_dir / f"{name}.pid").write_text(f"{bystander.pid}\n")
        done = run(environ, "stop")
        assert done.status == 3
        assert "no fleet runs in" in done.stderr
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()
