"""`make run`: up, announced, tried out, and down again with nothing left."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from shared import places
from tests.fleet.clones import clone
from tests.fleet.foreground import Foreground
from tests.fleet.processes import Started, wait_until

NewForeground = Callable[..., Foreground]


@pytest.fixture
def foreground() -> Iterator[NewForeground]:
    made: list[Foreground] = []

    def new(**settings: Any) -> Foreground:
        made.append(Foreground(**settings))
        return made[-1]

    yield new
    faults = []
    for one in made:
        try:
            one.close()
        except AssertionError as fault:
            faults.append(str(fault))
    assert not faults, "\n".join(faults)


def test_make_run_in_a_clone(foreground: NewForeground, tmp_path: Path) -> None:
    fleet = foreground()
    root = clone(tmp_path)
    pushctl = root / ".venv/bin/pushctl"
    fleet.start(["make", "run"], root)
    assert fleet.call(pushctl, "wait-ready", "--timeout", "30")[0] == 0
    fleet.wait_ready()
    listener = Started("listen", [str(pushctl), "listen", "alice"], fleet.environ, tmp_path / "listen", tmp_path)
    wait_until(lambda: fleet.call(pushctl, "push", "alice", "hello") == (0, "SENT\n"), "SENT")
    wait_until(lambda: "hello" in listener.log, "hello")
    listener.send(signal.SIGINT)
    listener.wait()
    _expect_quick_end(fleet, fleet.press_ctrl_c)


def _expect_quick_end(fleet: Foreground, end: Callable[[], object]) -> None:
    began = time.monotonic()
    end()
    wait_until(lambda: not fleet.launcher.running, "end of the launcher", 6)
    assert time.monotonic() - began < 5.5
    assert fleet.pids() == []
    assert "killed" not in fleet.launcher.log


def test_two_fleets_side_by_side(foreground: NewForeground) -> None:
    one, other = foreground(workers=1), foreground(workers=2)
    for fleet in (one, other):
        fleet.start()
    for fleet in (one, other):
        fleet.wait_ready()
    _expect_quick_end(one, lambda: one.launcher.send(signal.SIGTERM))
    assert other.supervisorctl("status").count("RUNNING") == 4
    _expect_quick_end(other, other.press_ctrl_c)


def test_several_routers(foreground: NewForeground) -> None:
    fleet = foreground(workers=1, routers=2)
    fleet.start()
    fleet.wait_ready()
    ports = [fleet.settings.sender_port, fleet.settings.sender_port + 1]
    assert f"senders  tcp://127.0.0.1:{ports[0]}, tcp://127.0.0.1:{ports[1]} (" in fleet.launcher.log
    assert fleet.supervisorctl("status").count("router:router-") == 2
    assert fleet.pushctl("push", "nobody", "x") == (1, "OFFLINE\n")
    fleet.supervisorctl("stop", "router:router-0")
    assert fleet.pushctl("push", "nobody", "x") == (1, "OFFLINE\n")
    assert json.load(urlopen(f"http://127.0.0.1:{fleet.settings.api_port}/stats"))["router"]["live"] == 1
    status, said = fleet.pushctl("wait-ready", "--timeout", "0.1")
    assert status == 3
    assert "router-0: no router answered" in said
    assert "router-1" not in said
    fleet.supervisorctl("start", "router:router-0")
    assert fleet.pushctl("wait-ready", "--timeout", "20")[0] == 0
    _expect_quick_end(fleet, lambda: fleet.pushctl("stop"))


def test_no_router_on_this_host(foreground: NewForeground) -> None:
    """Its workers go to the router of another fleet."""
    other = foreground(workers=1, host_name="there")
    other.start()
    other.wait_ready()
    fleet = foreground(workers=1, routers=0, router_list=places.bus_endpoint(other.settings))
    fleet.start()
    fleet.wait_ready()
    assert "router:" not in fleet.supervisorctl("status")
    assert "no router runs on this host" in fleet.pushctl("stat")[1]
    way = ("--router", places.sender_endpoint(other.settings))
    workers = json.loads(fleet.pushctl("stat", "--json", *way)[1])["workers"]
    assert sorted(workers) == ["here/0", "there/0"]
    assert fleet.pushctl("restart", *way)[1].splitlines()[-1] == "restarted: here/0"
    _expect_quick_end(fleet, fleet.press_ctrl_c)
    _expect_quick_end(other, other.press_ctrl_c)


def test_second_ctrl_c_kills(foreground: NewForeground) -> None:
    fleet = foreground(workers=1)
    fleet.start()
    fleet.wait_ready()
    guardian = int((fleet.data_dir / "run/gateway-0.pid").read_text())
    os.kill(guardian, signal.SIGSTOP)  # so that it does not stop by itself
    fleet.press_ctrl_c()
    wait_until(lambda: "stopping" in fleet.launcher.log, "the first Ctrl-C")
    fleet.press_ctrl_c()
    wait_until(lambda: not fleet.launcher.running, "end of the launcher", 2)
    assert fleet.pids() == []


def test_what_does_not_stop_is_killed(foreground: NewForeground) -> None:
    fleet = foreground(workers=1)
    fleet.start()
    fleet.wait_ready()
    guardian = int((fleet.data_dir / "run/gateway-0.pid").read_text())
    os.kill(guardian, signal.SIGSTOP)
    fleet.press_ctrl_c()
    wait_until(lambda: not fleet.launcher.running, "end of the launcher", 6)
    assert "that did not stop" in fleet.launcher.log
    assert fleet.pids() == []


def test_fleet_ends_with_its_launcher(foreground: NewForeground) -> None:
    fleet = foreground(workers=1)
    fleet.start()
    fleet.wait_ready()
    fleet.launcher.send(signal.SIGKILL)
    wait_until(lambda: fleet.pids() == [], "end of the fleet")


@pytest.mark.parametrize("key", ["client_port", "sender_port"])
def test_port_in_use(foreground: NewForeground, key: str) -> None:
    fleet = foreground()
    port = getattr(fleet.settings, key)
    with socket.create_server(("127.0.0.1", port)):
        assert fleet.start().wait() != 0
    said = [line for line in fleet.launcher.log.splitlines() if line.startswith("push-")]
    assert len(said) == 1
    assert re.fullmatch(rf"push-\w+: {key}: .*127\.0\.0\.1:{port} is in use.*", said[0])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PUSH_WORKERS", "none", "PUSH_WORKERS: 'none' is not a whole number"),
        ("PUSH_COLOUR", "red", "PUSH_COLOUR: unknown setting"),
        ("PUSH_DATA_DIR", "/proc/none", "data_dir: /proc/none: no such file or directory"),
    ],
)
def test_bad_settings_cost_one_line(foreground: NewForeground, name: str, value: str, said: str) -> None:
    fleet = foreground()
    fleet.environ[name] = value
    assert fleet.start().wait() == 2
    assert fleet.launcher.log == f"push-services: {said}\n"


def test_neighbours(foreground: NewForeground) -> None:
    """What others may not do while a fleet runs, and what becomes of a worker that leaves it."""
    fleet = foreground()
    fleet.start()
    fleet.wait_ready()
    other = foreground(workers=1, client_port=fleet.settings.client_port)
    assert other.start().wait() == 1
    address = f"127.0.0.1:{fleet.settings.client_port}"
    said = f"push-gateway: client_port: {address} is in use by the fleet of {fleet.data_dir}"
    assert said in other.launcher.log.splitlines()
    other = foreground(workers=1, api_port=fleet.settings.api_port)
    assert other.start().wait() == 1
    assert f"push-services: api_port: 127.0.0.1:{fleet.settings.api_port} is in use" in other.launcher.log
    other = foreground(data_dir=fleet.data_dir)
    assert other.start().wait() == 2
    assert other.launcher.log == f"push-services: data_dir: a fleet already runs in {fleet.data_dir}\n"
    _drain_and_bring_back(fleet)
    _expect_quick_end(fleet, fleet.press_ctrl_c)


def _drain_and_bring_back(fleet: Foreground) -> None:
    worker = "gateway:gateway-1"
    wait_until(lambda: "RUNNING" in fleet.supervisorctl("status", worker), "running")
    os.kill(int((fleet.data_dir / "run/gateway-1.pid").read_text()), signal.SIGTERM)
    wait_until(lambda: "EXITED" in fleet.supervisorctl("status", worker), "drained")
    assert "RUNNING" in fleet.supervisorctl("status", "gateway:gateway-0")
    assert "started" in fleet.supervisorctl("start", worker)
    wait_until(lambda: "RUNNING" in fleet.supervisorctl("status", worker), "return")
