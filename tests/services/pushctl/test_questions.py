import os

from services.pushctl.questions import as_lines
from shared.requests import HELLO1, encode_info
from shared.tokens import slot_of
from tests.fleet.fleet_process import Fleet
from tests.services.pushctl.runs import listening, run
from tests.services.sender.router_socket import Frames, RouterSocket, obliging


def test_find(running_fleet: Fleet):
    environ = running_fleet.environ
    with listening(environ, "found", "--protocol", "v1", "--uid", "u7"):
        there, absent = run(environ, "find", "found", "absent", "--json").json
        assert there["token"] == "found"
        assert there["online"] is True
        assert there["worker"].startswith("here/")
        assert there["protocol"] == "v1"
        assert absent == {"token": "absent", "online": False}
        done = run(environ, "find", "found")
        assert done.status == 0
        assert done.stdout.split("\t")[:2] == ["found", "online"]
    done = run(environ, "find", "absent")
    assert done == (1, "absent\toffline\n", "")


def test_kick(running_fleet: Fleet):
    environ = running_fleet.environ
    with listening(environ, "kicked") as listener:
        assert run(environ, "kick", "kicked") == (0, "kicked\tkicked\n", "")
        done = listener.finish()
    assert done.status == 1
    assert done.stderr.splitlines()[-1] == "pushctl: the gateway disconnected this client: kicked"
    done = run(environ, "kick", "kicked", "--json")
    assert done.status == 1
    assert done.json == [{"token": "kicked", "kicked": False}]


def no_worker_answers(frames: Frames) -> list[Frames]:
    return obliging(frames) if frames[0] == HELLO1 else [encode_info(frames[1], [None for _ in frames[2:]])]


def test_worker_that_does_not_answer():
    with RouterSocket(no_worker_answers) as router:
        for command, nothing in (("find", {"online": None}), ("kick", {"kicked": None})):
            done = run(os.environ, command, "a", "--router", router.endpoint)
            assert done == (1, "a\tunknown: its worker did not answer\n", "")
            done = run(os.environ, command, "a", "--router", router.endpoint, "--json")
            assert done.status == 1
            assert done.json == [{"token": "a", **nothing}]


def test_stat(running_fleet: Fleet):
    figures = run(running_fleet.environ, "stat", "--json").json
    assert figures["router"]["live"] == 2
    assert set(figures["workers"]) == {"here/0", "here/1"}
    lines = run(running_fleet.environ, "stat").stdout.splitlines()
    assert "router:" in lines
    assert "  here/0:" in lines


def test_nested_figures_as_lines():
    figures = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": [{"f": "x"}], "g": {}}
    assert as_lines(figures) == ["a:", "  b: 1", "  c:", "    d: 1, 2", "e:", "  0:", "    f: x", "g:"]


def test_token_slot(running_fleet: Fleet):
    assert run({}, "token-slot", "alice", "bob", "--json").json == {"alice": slot_of(b"alice"), "bob": slot_of(b"bob")}
    assert run({}, "token-slot", "alice") == (0, f"alice\t{slot_of(b'alice')}\n", "")
    done = run({}, "token-slot", "bad\n")
    assert done.status == 2
    assert "token contains control characters" in done.stderr


def test_nobody_to_ask(running_fleet: Fleet):
    environ = {**running_fleet.environ, "PUSH_SENDER_PORT": "1"}
    for command in (["find", "a"], ["kick", "a"], ["stat"]):
        done = run(environ, *command, "--timeout", "0.2")
        assert done.status == 3
        assert "is the fleet running?" in done.stderr
        assert len(done.stderr.splitlines()) == 1
