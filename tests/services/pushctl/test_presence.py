"""`pushctl presence` and `pushctl watch`, on a real fleet without a subscribe service."""

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import ujson

from services.pushctl.faults import UNREACHABLE
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import DEADLINE_S, wait_until
from tests.services.pushctl.runs import COMMAND, run


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="group,presence", worker_heartbeat_ms=100) as started:
        yield started


@contextmanager
def watch(environ: Mapping[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A `pushctl watch` that has said that it watches."""
    command = [*COMMAND, "watch", *arguments]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            assert started.stderr.readline().startswith("watching ")
            yield started
        finally:
            started.kill()


def test_who_is_connected(fleet: Fleet) -> None:
    environ = fleet.environ
    with connect("v2", fleet.address) as phone, connect("ws_snake", fleet.address) as browser:
        phone.subscribe("phone", uid="carol")
        browser.subscribe("browser", uid="carol")
        wait_until(lambda: run(environ, "presence", "phone", "browser").status == 0, "both are known")
        lines = run(environ, "presence", "phone", "browser").stdout.splitlines()
        assert [line.split("\t")[0] for line in lines] == ["phone", "browser"]
        some = run(environ, "presence", "phone", "nobody", "--json")
        assert some.status == 1
        assert [(one["token"], one["online"]) for one in some.json] == [("phone", True), ("nobody", False)]
        assert some.json[0]["protocol"] == "v2"
        assert some.json[0]["worker"] in ("here/0", "here/1")
        carols = run(environ, "presence", "--user", "carol", "--json").json
        assert [one["token"] for one in carols] == ["browser", "phone"]
        listed = run(environ, "presence", "--list", "--json")
        assert sorted(one["token"] for one in listed.json) == ["browser", "phone"]
        assert run(environ, "group", "create", "team", "phone", "nobody").status == 0
        team = run(environ, "presence", "--group", "team", "--json")
        assert team.status == 1
        assert [(one["token"], one["online"]) for one in team.json] == [("nobody", False), ("phone", True)]
    assert run(environ, "presence", "--group", "no group").status == 1
    assert run(environ, "presence").status == 2
    assert run(environ, "presence", "phone", "--list").status == 2


def test_who_comes_and_goes(fleet: Fleet) -> None:
    with watch(fleet.environ, "--token", "dave", "--count", "2", "--json") as watching:
        for token in ("other", "dave"):
            with connect("v2", fleet.address) as client:
                client.subscribe(token, uid="d")
                wait_until(lambda token=token: run(fleet.environ, "presence", token).status == 0, "it is known")
        stdout, stderr = watching.communicate(timeout=DEADLINE_S)
    assert (watching.returncode, stderr) == (0, "")
    came, went = map(ujson.loads, stdout.splitlines())
    assert (came["kind"], went["kind"], went["reason"]) == ("connected", "disconnected", "peer_closed")
    assert {came["token"], went["token"]} == {"dave"}
    assert went["token_sequence"] > came["token_sequence"]


def test_watching_a_user_until_it_is_cut_off(fleet: Fleet) -> None:
    with watch(fleet.environ, "--user", "erin") as watching:
        for uid in ("other", "erin"):
            with connect("v2", fleet.address) as client:
                client.subscribe(f"{uid}'s", uid=uid)
                wait_until(lambda uid=uid: run(fleet.environ, "presence", f"{uid}'s").status == 0, "it is known")
        assert watching.stdout is not None
        lines = [watching.stdout.readline().rstrip().split("\t") for _ in range(2)]
        assert [(line[0], line[1], line[3:]) for line in lines] == [
            ("connected", "erin's", ["v2"]),
            ("disconnected", "erin's", ["v2", "peer_closed"]),
        ]
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=DEADLINE_S)
    assert watching.returncode == 0


def test_watching_for_a_time(fleet: Fleet) -> None:
    assert run(fleet.environ, "watch", "--timeout", "0.1", "--user", "nobody").stdout == ""


def test_no_service() -> None:
    with Fleet() as without:
        assert run(without.environ, "watch", "--timeout", "0.1").status == UNREACHABLE
        refused = run(without.environ, "presence", "x", "--timeout", "0.5")
    assert refused.status == UNREACHABLE
    assert "presence service" in refused.stderr
