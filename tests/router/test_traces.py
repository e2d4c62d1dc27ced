"""What became of pushes of late, as a router tells it."""

from typing import Any

import ujson

from shared import bus, bus_claims
from shared.outcomes import Outcome
from shared.push_ids import id_prefix
from shared.requests import EXPLAIN1
from tests.router.driven_core import DrivenCore, push2, tokens_of

TWO = ("h/0", "h/1")


def messages(fleet: DrivenCore, **question: object) -> list[dict[str, Any]]:
    fleet.answers()
    fleet.ask(EXPLAIN1, b"q", ujson.dumps(question).encode())
    (answer,) = fleet.answers()
    found: list[dict[str, Any]] = ujson.loads(answer[2])["messages"]
    return found


def hops(message: dict[str, Any]) -> list[tuple[float, str, str]]:
    return [tuple(hop) for hop in message["hops"]]


def test_each_hop_of_a_push() -> None:
    fleet = DrivenCore(workers=1)
    fleet.join("h/0", origins=True)
    fleet.hello(b"shop")
    fleet.push(b"r1", b"alice", b"bob", id="order-1", request_id="web-7")
    fleet.now += 0.5
    (sent,) = fleet.sent()
    fleet.outcomes(sent, bytes([Outcome.SENT, Outcome.OFFLINE]))
    (alice,) = messages(fleet, token="alice")
    assert alice["id"] == f"{id_prefix(b'shop', b'order-1').hex()}-0"
    assert (alice["token"], alice["bytes"], alice["request_id"]) == ("alice", 1, "web-7")
    assert hops(alice) == [(100.0, "received", ""), (100.0, "given", "h/0"), (100.5, "answered", "SENT")]
    for message in ("order-1-1", f"{id_prefix(b'shop', b'order-1').hex()}-1"):
        (bob,) = messages(fleet, message=message)
        assert bob["token"] == "bob"
        assert hops(bob)[-1] == (100.5, "answered", "OFFLINE")
    for message in ("order-1", "web-7", id_prefix(b"shop", b"order-1").hex()):
        assert [each["token"] for each in messages(fleet, message=message)] == ["alice", "bob"]
    assert [each["token"] for each in messages(fleet, token="bob", message="order-1")] == ["bob"]
    for message in ("order", "order-1-2", "order-2-0"):
        assert messages(fleet, message=message) == []


def test_one_that_is_settled_later() -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", b"alice")
    (sent,) = fleet.sent()
    fleet.say("h/0", bus.encode_outcomes(sent.batch.number, bytes([bus.HELD])))
    fleet.now += 1
    fleet.say("h/0", bus.encode_late(sent.batch.number, [(0, Outcome.STORED)]))
    (alice,) = messages(fleet, token="alice")
    assert hops(alice)[2:] == [(100.0, "answered", "HELD"), (101.0, "settled", "STORED")]


def test_one_that_went_by_two_workers() -> None:
    fleet = DrivenCore(*TWO)
    (token,) = tokens_of("h/0", TWO, 1)
    fleet.push(b"r1", token)
    (first,) = fleet.sent()
    claim = bus_claims.Claim(token, 5, "h/1")
    fleet.say("h/1", bus_claims.encode_claims(bus.CLAIM1, [claim], 1))
    fleet.outcomes(first, bytes([bus.STALE]))
    (second,) = fleet.sent()
    fleet.outcomes(second)
    (found,) = messages(fleet, token=token.decode())
    assert [hop[1:] for hop in hops(found)] == [
        ("received", ""),
        ("given", "h/0"),
        ("answered", "STALE"),
        ("given", "h/1"),
        ("answered", "SENT"),
    ]


def test_the_oldest_are_forgotten_and_counted() -> None:
    fleet = DrivenCore("h/0", recent_messages_max=2)
    for token in (b"a", b"b", b"c"):
        fleet.push(b"r" + token, token)
        fleet.outcomes(fleet.sent()[0])
    assert [len(messages(fleet, token=token)) for token in ("a", "b", "c")] == [0, 1, 1]
    assert fleet.core.counters["recent_dropped"] == 1


def test_none_are_kept_if_none_are_to_be() -> None:
    fleet = DrivenCore("h/0", recent_messages_max=0)
    fleet.push(b"r1", b"a")
    fleet.outcomes(fleet.sent()[0])
    assert messages(fleet, token="a") == []
    assert fleet.core.counters["recent_dropped"] == 0


def test_a_push_to_all_by_its_ids() -> None:
    fleet = DrivenCore(*TWO)
    fleet.hello(b"shop")
    fleet.ask(*push2(b"r1", [(b"*", b"hello")], to="all", id="news-1"))
    fleet.now += 0.25
    for name, frames in list(fleet.to_workers):
        if frames[0] == bus.ALL1:
            fleet.say(name, bus.encode_numbered(bus.COUNTS1, bus.number_of(frames), {"sent": 3}))
    (found,) = messages(fleet, message="news-1")
    assert (found["id"], found["token"], found["to"], found["bytes"]) == (
        f"{id_prefix(b'shop', b'news-1').hex()}-0",
        None,
        "all",
        5,
    )
    assert hops(found) == [
        (100.0, "received", ""),
        (100.0, "given", "h/0, h/1"),
        (100.25, "counted", "by h/0: sent 3"),
        (100.25, "counted", "by h/1: sent 3"),
        (100.25, "answered", "SENT"),
    ]
    assert messages(fleet, token="*") == []


def test_one_that_waits_for_its_worker() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.hello(b"shop")
    fleet.push(b"r1", b"bob")
    fleet.push(b"r2", b"alice", b"carol", id="order-1", request_id="web-1")
    fleet.now += 0.5
    for question in ({"token": "alice"}, {"message": "order-1-0"}, {"message": "web-1", "token": "alice"}):
        (alice,) = messages(fleet, **question)
        assert (alice["id"], alice["bytes"]) == (f"{id_prefix(b'shop', b'order-1').hex()}-0", 1)
        assert alice["request_id"] == "web-1"
        assert hops(alice) == [(100.0, "received", ""), (100.5, "waits", "h/0")]
    fleet.outcomes(fleet.sent()[0])
    assert [hop[1] for hop in hops(messages(fleet, token="alice")[0])] == ["received", "given"]
