"""`pushctl drain`, `start` and `restart`: under supervisord as `make run` has it, and without."""

import fcntl
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.sender import Outcome, Sender
from shared import places
from shared.startup.pid_files import hold
from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS, connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.foreground import ROOT, Foreground
from tests.fleet.processes import Started, wait_until

PUSHCTL = [sys.executable, "-m", "services.pushctl.main"]


@pytest.fixture
def foreground(request: pytest.FixtureRequest) -> Iterator[Foreground]:
    """A ready fleet of three workers under supervisord."""
    fleet = Foreground(**{"workers": 3, **getattr(request, "param", {})})
    fleet.start()
    try:
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.launcher.send(signal.SIGTERM)
        fleet.launcher.wait()
        fleet.close()


def pushctl(fleet: Foreground | Fleet, *arguments: str) -> Started:
    """Started; its output is in its log."""
    log = fleet.directory / "pushctl"
    log.unlink(missing_ok=True)
    return Started("pushctl", [*PUSHCTL, *arguments], fleet.environ, log, ROOT)


def run(fleet: Foreground | Fleet, *arguments: str) -> tuple[int, str]:
    """(exit status, output)."""
    started = pushctl(fleet, *arguments)
    status = started.wait(60)
    assert "Traceback" not in started.log, started.log
    return status, started.log


@contextmanager
def crowd(fleet: Foreground) -> Iterator[list[Conversation]]:
    """Bound clients of every kind."""
    with ExitStack() as stack:
        clients = []
        for number in range(24):
            kind = list(KINDS)[number % len(KINDS)]
            conversation = stack.enter_context(connect(kind, (fleet.settings.host, fleet.settings.client_port)))
            conversation.subscribe(f"roll-{number}")
            clients.append(conversation)
        yield clients


def expect_all_online(fleet: Foreground, clients: list[Conversation]) -> None:
    """Every client is connected still, and gets a push."""
    for number, client in enumerate(clients):
        assert client.ping(30) == 30
        assert run(fleet, "push", f"roll-{number}", "hello") == (0, "SENT\n")
        assert client.read().body == b"hello"


def guardians(fleet: Foreground) -> dict[str, int]:
    """Pids by name; 0 in the moment before a new one has written its own."""
    return {path.stem: int(path.read_text() or 0) for path in (fleet.data_dir / "run").glob("gateway-*.pid")}


def running(fleet: Foreground) -> int:
    return fleet.supervisorctl("status").count("RUNNING")


def test_restart_disconnects_nobody(foreground: Foreground) -> None:
    before = guardians(foreground)
    with crowd(foreground) as clients:
        status, said = run(foreground, "restart", "--routers")
        assert (status, said.splitlines()[-1]) == (0, "restarted: here/0, here/1, here/2, router-0")
        expect_all_online(foreground, clients[:6])
        assert [client.ping(32) for client in clients] == [32] * len(clients)
    after = guardians(foreground)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    status, said = run(foreground, "restart", "gateway-1", "--json")
    assert status == 0
    report: dict[str, Any] = json.loads(said)
    assert [one["name"] for one in report["restarted"]] == ["here/1"]
    assert (report["not_restarted"], report["fault"]) == ([], None)
    assert {name for name, pid in guardians(foreground).items() if pid != after[name]} == {"gateway-1"}
    assert run(foreground, "restart", "7")[0] == 2


@pytest.mark.parametrize("foreground", [{"workers": 2, "services": "subscribe"}], indirect=True)
def test_restart_of_services(foreground: Foreground) -> None:
    def known() -> set[str]:
        """Instances of the subscribe service."""
        served = json.loads(run(foreground, "stat", "--json")[1])["services"]
        return {name for name in served if name.startswith("subscribe/")}

    before = known()
    with crowd(foreground) as clients:
        status, said = run(foreground, "restart", "--services", "here/1")
        assert (status, said.splitlines()[-1]) == (0, "restarted: status, subscribe, here/1"), said
        assert [client.ping(32) for client in clients] == [32] * len(clients)
    assert len(before) == len(known()) == 1
    assert before != known()
    with connect("v2", (foreground.settings.host, foreground.settings.client_port)) as client:
        assert len(client.subscribe()["token"]) == 32


@pytest.mark.parametrize("foreground", [{"workers": 2, "routers": 2}], indirect=True)
def test_restart_of_everything_under_load(foreground: Foreground) -> None:
    endpoints = [places.sender_endpoint(foreground.settings, router) for router in range(2)]
    with crowd(foreground) as clients, Sender(endpoints, queue_pushes=200) as sender:
        restart = pushctl(foreground, "restart", "--routers")

        def pushes() -> Iterator[tuple[str, str]]:
            for turn in itertools.count():
                if not restart.running:
                    return
                turns.append(turn)
                yield from [(f"roll-{number}", str(turn)) for number in range(len(clients))]
                time.sleep(0.01)  # a modest load

        turns: list[int] = []
        outcomes = set(sender.push_many(pushes()))
        assert restart.wait() == 0, restart.log
        assert restart.log.splitlines()[-1] == "restarted: here/0, here/1, router-0, router-1"
        assert outcomes <= {Outcome.SENT, Outcome.BUFFERED}
        assert len(turns) > 100
        for client in clients:
            assert [int(client.read().body) for _ in turns] == turns
            assert client.ping(30) == 30


def test_drained_worker_stays_away_until_it_is_started(foreground: Foreground) -> None:
    with crowd(foreground) as clients:
        status, said = run(foreground, "drain", "here/1")
        assert status == 0
        assert said.startswith("here/1 has left after ")
        assert "STOPPED" in foreground.supervisorctl("status", "gateway:gateway-1")
        assert run(foreground, "drain", "1") == (0, "here/1 does not run\n")
        assert run(foreground, "restart")[1].splitlines()[-1] == "restarted: here/0, here/2"
        assert "STOPPED" in foreground.supervisorctl("status", "gateway:gateway-1")
        assert run(foreground, "start", "gateway-1") == (0, "here/1 is in the ring\n")
        assert run(foreground, "start", "1", "--json")[0] == 0
        # Told directly: supervisord must not start it again either.
        os.kill(guardians(foreground)["gateway-1"], signal.SIGTERM)
        wait_until(lambda: "EXITED" in foreground.supervisorctl("status", "gateway:gateway-1"), "drained")
        assert run(foreground, "restart", "1")[0] == 0  # named, so it is wanted
        expect_all_online(foreground, clients[:4])


def test_ctrl_c_in_the_middle_leaves_nobody_down(foreground: Foreground) -> None:
    before = guardians(foreground)
    with crowd(foreground) as clients:
        restart = pushctl(foreground, "restart")
        wait_until(lambda: guardians(foreground).get("gateway-0") != before["gateway-0"], "the first one's turn")
        restart.send(signal.SIGINT)
        restart.send(signal.SIGINT)
        assert restart.wait() == 1
        assert "is brought back first" in restart.log
        assert "pushctl: interrupted; not restarted: " in restart.log.splitlines()[-1]
        assert running(foreground) == 5
        assert run(foreground, "wait-ready", "--timeout", "5")[0] == 0
        assert [client.ping(34) for client in clients] == [34] * len(clients)
    assert guardians(foreground)["gateway-2"] == before["gateway-2"]
    assert run(foreground, "restart")[0] == 0


def test_terminal_that_is_closed_leaves_nobody_down(foreground: Foreground) -> None:
    before = guardians(foreground)
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*PUSHCTL, "restart"],
        env=foreground.environ,
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509  (no thread runs here)
    )
    os.close(slave)
    wait_until(lambda: guardians(foreground).get("gateway-0") != before["gateway-0"], "the first one's turn")
    os.close(master)
    assert process.wait(60) == 1
    assert running(foreground) == 5
    assert guardians(foreground)["gateway-2"] == before["gateway-2"]


def test_two_rolls_at_once(foreground: Foreground) -> None:
    restart = pushctl(foreground, "restart")
    wait_until((foreground.data_dir / "run/restart.lock").exists, "the roll has begun")
    status, said = foreground.call(*PUSHCTL, "restart")
    assert (status, said) == (1, "pushctl: another `pushctl restart` is at work\n")
    assert restart.wait() == 0


def test_worker_that_does_not_come_back_stops_the_roll(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{"kid": "1", "alg": "HS256", "key": "k" * 32}]))
    fleet = Foreground(workers=3, auth_keys_file=keys)
    fleet.start()
    try:
        fleet.wait_ready()
        keys.write_text("no keys")
        status, said = run(fleet, "restart")
        assert status == 1
        last = said.splitlines()[-1]
        why = r"push-gateway: auth_keys_file: .*; not restarted: here/0, here/1, here/2"
        assert re.fullmatch(rf"pushctl: here/0 does not start \((FATAL|EXITED)\); its log ends: {why}", last)
        assert running(fleet) == 4
    finally:
        fleet.launcher.send(signal.SIGTERM)
        fleet.launcher.wait()
        fleet.close()


def test_without_supervisord(fleet: Fleet) -> None:
    status, said = run(fleet, "restart")
    assert status == 3
    assert said.startswith("pushctl: no supervisord answers in ")
    assert run(fleet, "start", "0")[0] == 3
    status, said = run(fleet, "drain", "here/1", "--json")
    assert status == 0
    assert json.loads(said)["worker"] == "here/1"
    assert fleet.processes["gateway-1"].wait() == 0
    fleet.wait_ready()
    assert fleet.live_workers() == ["here/0"]


def test_worker_without_a_guardian_is_waited_for() -> None:
    """It leaves by itself; the pid in its file may be anybody's by now, and is not signalled."""
    fleet = Fleet()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        path = places.pid_path(fleet.settings, 1)
        path.parent.mkdir(parents=True)
        held = hold(path, "taken")
        path.write_text(f"{bystander.pid}\n")
        status, said = run(fleet, "drain", "1", "--timeout", "0.5")
        assert (status, said) == (1, "pushctl: here/1 has not left after 0.5 s\n")
        os.close(held)
        assert run(fleet, "drain", "1")[0] == 3
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")
        fleet.stop()


def test_no_fleet() -> None:
    fleet = Fleet()
    try:
        for command in (["restart"], ["drain", "0"], ["start", "0"]):
            assert run(fleet, *command)[0] == 3
    finally:
        fleet.stop()
