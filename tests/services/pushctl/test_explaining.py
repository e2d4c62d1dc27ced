"""`pushctl explain` on a real fleet of two routers."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from services.sender import Sender
from shared.errors import RequestError
from shared.requests import HELLO1, encode_fail
from shared.tokens import slot_of
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import DEADLINE_S, wait_until
from tests.services.pushctl.runs import run
from tests.services.sender.router_socket import Frames, RouterSocket, obliging


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(workers=2, routers=2, services="subscribe,presence,message-cache") as started:
        yield started


def test_a_client_that_is_connected(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("alice", uid="u7", ack=True)
        done = run(fleet.environ, "explain", "alice", "--json")
        assert done.status == 0, done
        found = done.json
        where = run(fleet.environ, "find", "alice", "--json").json[0]
        assert found["online"] is True
        assert found["problems"] == []
        assert found["worker"] == found["owner"] == where["worker"]
        assert found["slot"] == slot_of(b"alice")
        assert {key: found["connection"][key] for key in ("protocol", "uid", "since", "address")} == {
            key: where[key] for key in ("protocol", "uid", "since", "address")
        }
        assert [router["router"] for router in found["routers"]] == [0, 1]
        assert set(found["workers"]) == {"here/0", "here/1"}
        assert found["cached"] == []
        lines = run(fleet.environ, "explain", "alice").stdout.splitlines()
        assert lines[0].startswith(f"alice is connected to {found['worker']} since 20")
        assert "user u7" in lines[0]


def test_one_that_is_away_and_has_a_message_waiting(fleet: Fleet) -> None:
    assert run(fleet.environ, "push", "bob", "hello\n", "--ttl", "60").stdout == "STORED\n"
    done = run(fleet.environ, "explain", "bob")
    assert done.status == 1
    assert done.stdout.startswith(f"bob is not connected (slot {slot_of(b'bob')}, owner here/")
    assert "  presence: offline\n  stored: 1 messages\n" in done.stdout
    assert "hello\\n" in done.stdout
    assert "wrong" not in done.stdout


def test_a_router_that_is_silent(fleet: Fleet) -> None:
    fleet.processes["router-1"].send(signal.SIGSTOP)
    try:
        done = run(fleet.environ, "explain", "carol", "--timeout", "1", "--json")
    finally:
        fleet.processes["router-1"].send(signal.SIGCONT)
    assert done.status == 1
    assert "error" in done.json["routers"][1]
    assert any("does not answer" in problem for problem in done.json["problems"])


def test_what_is_wrong_with_the_call(fleet: Fleet) -> None:
    assert run(fleet.environ, "explain", "a\nb").status == 2
    assert run(fleet.environ, "explain").status == 2
    too_long = run(fleet.environ, "explain", "--message", "x" * 601)
    assert (too_long.status, "more than 600 characters" in too_long.stderr) == (2, True)
    nobody = run({**fleet.environ, "PUSH_SENDER_PORT": "1", "PUSH_ROUTERS": "1"}, "explain", "x", "--timeout", "0.5")
    assert (nobody.status, len(nobody.stderr.splitlines())) == (3, 1)


def whats(message: dict[str, Any]) -> list[str]:
    return [hop["what"] for hop in message["hops"]]


def test_each_hop_of_a_message(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("dave", ack=True, ids=True)
        assert run(fleet.environ, "push", "dave", "hello").stdout == "SENT\n"
        push = client.read_push()
        client.acknowledge(push.message_id)

        def acknowledged() -> bool:
            found = run(fleet.environ, "explain", "dave", "--json").json
            return whats(found["messages"][0])[-1] == "acknowledged"

        wait_until(acknowledged, "the acknowledgement is known", DEADLINE_S)
        found = run(fleet.environ, "explain", "dave", "--json").json
        (message,) = found["messages"]
        written = ["received by router", "given to", "received", "written as", "done", "answered", "acknowledged"]
        assert whats(message) == written
        assert [hop["at"] for hop in message["hops"]] == sorted(hop["at"] for hop in message["hops"])
        assert message["outcome"] == "SENT"
        by_number = run(fleet.environ, "explain", "dave", "--message", str(push.message_id), "--json").json
        by_id = run(fleet.environ, "explain", "--message", message["id"], "--json").json
        for asked in (by_number, by_id):
            assert [each["id"] for each in asked["messages"]] == [message["id"]]
            assert whats(asked["messages"][0]) == written
        assert (by_id["token"], by_id["online"], by_id["problems"]) == ("dave", True, [])
        lines = run(fleet.environ, "explain", "dave").stdout
        assert f"    {message['id']} to dave: 5 bytes, at 20" in lines


def test_a_message_of_several_tokens_by_the_id_of_its_request(fleet: Fleet) -> None:
    with Sender(fleet.endpoint, name="shop") as sender:
        for ticket in sender.push_request([("erin", "1"), ("frank", "2")], id="order-1"):
            ticket.result()
    found = run(fleet.environ, "explain", "--message", "order-1", "--json")
    assert found.status == 0
    assert [each["token"] for each in found.json["messages"]] == ["erin", "frank"]
    one = run(fleet.environ, "explain", "--message", "order-1-1", "--json")
    assert (one.status, one.json["token"], one.json["online"]) == (0, "frank", False)
    assert one.json["messages"][0]["outcome"] == "OFFLINE"
    text = run(fleet.environ, "explain", "--message", "order-1").stdout
    assert "-0 to erin: 1 bytes" in text
    assert "-1 to frank: 1 bytes" in text


def test_a_message_that_nobody_knows(fleet: Fleet) -> None:
    done = run(fleet.environ, "explain", "--message", "nonesuch")
    assert done == (1, "nothing is known of a message nonesuch\n", "")


def test_what_is_said_of_evil_names_stays_in_its_line(fleet: Fleet) -> None:
    evil = "a\u2028b\u202ec"
    assert "a\\u2028b\\u202ec is not connected" in run(fleet.environ, "explain", evil).stdout
    assert "message a\\u2028b\\u202ec\n" in run(fleet.environ, "explain", "--message", evil).stdout
    as_json = run(fleet.environ, "explain", evil, "--json")
    assert as_json.json["token"] == evil
    assert not set(evil[1::2]) & set(as_json.stdout)


def test_a_push_to_all(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client, Sender(fleet.endpoint, name="news") as sender:
        client.subscribe("grace")
        (ticket,) = sender.push_request([("*", "hello")], id="today", to="all")
        ticket.result()
        done = run(fleet.environ, "explain", "--message", "today")
    assert done.status == 0
    assert "-0 to all: 5 bytes" in done.stdout
    assert "router 0: given to here/0, here/1" in done.stdout
    assert "router 0: answered SENT" in done.stdout


def knows_no_such_question(frames: Frames) -> list[Frames]:
    fault = RequestError("unknown_command", "unknown command 'EXPLAIN1'")
    return obliging(frames) if frames[0] == HELLO1 else [encode_fail(frames[1], fault)]


def test_a_router_of_an_older_version() -> None:
    with RouterSocket(knows_no_such_question) as router:
        done = run(os.environ, "explain", "a", "--router", router.endpoint)
    assert (done.status, done.stdout) == (3, "")
    assert done.stderr.startswith("pushctl: the router is of a version that does not know this question")
