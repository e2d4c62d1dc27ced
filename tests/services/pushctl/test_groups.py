"""`pushctl group`, and what goes to groups and users, on a real fleet."""

from collections.abc import Iterator

import pytest

from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.services.pushctl.runs import run


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="subscribe,group,message-cache") as started:
        yield started


def test_a_group_from_its_making_to_its_end(fleet: Fleet):
    environ = fleet.environ
    assert run(environ, "group", "create", "team", "alice", "bob", "--uid", "carol") == (0, "joined=3\n", "")
    again = run(environ, "group", "create", "team")
    assert (again.status, again.stderr) == (1, "pushctl: there is a group of this name\n")
    assert run(environ, "group", "join", "team", "dave", "bob", "--json").json == {"joined": 1}
    assert run(environ, "group", "leave", "team", "bob") == (0, "left=1\n", "")
    listed = run(environ, "group", "list", "team")
    assert listed.stdout == "token\talice\ntoken\tdave\nuid\tcarol\n"
    with connect("v2", fleet.address) as alice, connect("v1", fleet.address) as carol:
        alice.subscribe("alice")
        carol.subscribe("carols phone", uid="carol")
        found = run(environ, "find", "--group", "team", "--json").json
        assert {each["token"]: each["online"] for each in found} == {"alice": True, "carols phone": True, "dave": False}
        assert [each["token"] for each in run(environ, "find", "--user", "carol", "--json").json] == ["carols phone"]
        pushed = run(environ, "push", "--group", "team", "hello", "--ttl", "60")
        assert pushed.status == 0
        assert "matched=3" in pushed.stdout
        assert alice.read_push().body == carol.read_push().body == b"hello"
        assert run(environ, "push", "--user", "carol", "you").stdout == "SENT workers=1 matched=1 sent=1\n"
        assert carol.read_push().body == b"you"
    assert run(environ, "group", "dismiss", "team") == (0, "members=3\n", "")
    assert run(environ, "group", "list", "team").status == 1
    assert run(environ, "find", "--group", "team").status == 1


def test_no_service(fleet: Fleet):
    with Fleet() as without:
        refused = run(without.environ, "group", "list", "x", "--timeout", "0.5")
    assert refused.status == 3
    assert "group service" in refused.stderr


def test_what_is_wrong_is_one_line(fleet: Fleet):
    pushed = run(fleet.environ, "push", "--group", "nosuch", "hello")
    assert (pushed.status, pushed.stdout) == (1, "OFFLINE no such group\n")
    for arguments in (("group", "create", "\udcff"), ("find", "--group", "\udcff"), ("presence", "--user", "\udcff")):
        refused = run(fleet.environ, *arguments)
        assert (refused.status, refused.stderr) == (2, "pushctl: an argument is not UTF-8\n"), arguments
    for command in ("presence", "watch"):
        refused = run(fleet.environ, command, "--timeout", "nan", "--user", "u")
        assert refused.status == 2
        assert "nan is not a number of seconds" in refused.stderr
