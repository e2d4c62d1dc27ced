import json
import os

import pytest

from gateway.connections import Protocol
from gateway.held_pushes import HeldPush
from shared import __version__, bus, bus_rings
from shared.outcomes import Outcome
from shared.rings import Epoch
from shared.signals import Signal
from tests.gateway.parts import token_of, until
from tests.gateway.test_deliveries import ALL, bind

A, B = "h/0", "h/1"


@pytest.fixture
def one(worker):
    parts = worker()
    parts.ring(1, [parts])
    return parts


def last(parts, kind):
    """JSON of the last message of a kind."""
    return bus.decode_control(next(frames for frames in reversed(parts.said) if frames[0] == kind))


def test_ready_says_who_this_is(worker):
    one = worker()
    one.handlers.say_ready_to_all()
    first = last(one, bus.READY1)
    assert first == {
        "worker": A,
        "incarnation": "1f" * 8,
        "pid": os.getpid(),
        "started": 77,
        "hand_over": one.path,
        "leaving": False,
        "version": __version__,
        "stores": True,
        "targets": True,
        "origins": True,
        "explains": True,
        "resumed": False,
        "fan_out": 0,
        "routers": [0],
        "claims": 0,
    }
    one.ring(1, [one])
    one.fan_out(9, b"x")
    one.handlers.say_ready(0)
    ring = {"epoch": [1, 1], "live": {A: one.path}, "leaving": {}}
    assert last(one, bus.READY1) == first | {"ring": ring, "fan_out": 9}


def test_a_successor_tells_the_ring_of_its_predecessor_until_it_follows_one(worker):
    """A router that starts at the same time learns from it who else there is."""
    one, successor = worker(), worker()
    one.ring(7, [one], [successor])
    successor.loop.ledger.own = one.loop.ledger.own
    successor.handlers.say_ready(0)
    expected = {"epoch": [1, 7], "live": {A: one.path}, "leaving": {A: successor.path}}
    assert last(successor, bus.READY1)["ring"] == expected
    assert not successor.ownership.known
    successor.ring(8, [successor])
    successor.handlers.say_ready(0)
    assert last(successor, bus.READY1)["ring"]["epoch"] == [1, 8]


def test_a_ring_that_would_not_fit_is_not_noted(worker):
    one = worker()
    for count in (300, 3000):
        live = {f"host-{number}/0": f"/run/push-gateway/hand-over/{number}.sock" for number in range(count)}
        one.hear(bus_rings.encode_ring(bus_rings.RingNews(Epoch(1, count), live, {})))
        noted = one.loop.ledger.own["ring"]
        assert bool(noted) == (count == 300)
        assert one.loop.ledger._read_own()["ring"] == noted
    one.landing.leaving = True
    one.hear(bus.encode_control(bus.WHO1, {}))
    assert last(one, bus.READY1)["leaving"] is True


def test_a_beat_tells_the_figures(one):
    for number, protocol in enumerate(ALL):
        bind(one, b"t%d" % number, protocol)
    bind(one, b"more", Protocol.WS_TEXT)
    one.connect()
    one.push((b"more", b"x"))
    one.handlers.say_beat()
    body = last(one, bus.BEAT1)
    assert body["connections"] == {"v0": 1, "v1": 1, "v2": 1, "ws_text": 2, "ws_binary": 1, "unbound": 1}
    assert body["epoch"] == [1, 1]
    assert body["routers"] == [0]
    assert body["counters"] == one.counters
    assert body["counters"]["pushes_sent"] == 1


def test_good_bye(one):
    one.handlers.say_leaving()
    assert last(one, bus.BYE1) == {"leaving": True}
    one.handlers.say_gone()
    assert last(one, bus.BYE1) == {"gone": True}


def test_an_older_ring_is_passed_over(one):
    one.hear(bus_rings.encode_ring(bus_rings.RingNews(Epoch(1, 0), {}, {})))
    assert one.ownership.live == {A: one.path}
    assert one.counters["bus_errors"] == 0


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"NOISE"],
        [b"PUSHES2", b""],
        [bus.PUSHES1],
        [bus.PUSHES1, b"", b"", b"", b""],
        [bus.PUSHES1, bytes(20), b"x", b"", b""],
        [bus.ALL1],
        [bus.ALL1, bytes(20), bytes(3), b""],
        [bus.RING1],
        [bus.RING1, b"[]"],
        [bus.RING1, b'{"epoch":[1]}'],
        [bus.RING1, b'{"epoch":[1,2],"live":5,"leaving":{}}'],
        [bus.CALL1, b"x"],
        [bus.CALL1, bytes(8), b"[]"],
        [bus.CALL1, bytes(8), b"{}"],
        [bus.CALL1, bytes(8), b'{"call":"find","tokens":5}'],
        [bus.CALL1, bytes(8), b'{"call":"dance","tokens":[]}'],
        [b"x"] * 1000,
    ],
    ids=lambda frames: repr(frames[:3])[:40],
)
def test_what_cannot_be_read_is_counted_and_the_worker_goes_on(one, frames, caplog):
    one.hear(frames)
    assert one.counters["bus_errors"] == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    end, _ = one.bound(b"alice")
    assert one.push((b"alice", b"x")) == [Outcome.SENT]
    assert end.packet().body == b"x"


# --- find and kick


def test_find(one):
    _, connection = bind(one, b"alice", Protocol.WS_TEXT)
    connection.binding, connection.uid, connection.address = 1_700_000_000_000, "bob", "1.2.3.4:5"
    assert one.call("find", "alice", "nobody", "") == [
        {
            "online": True,
            "worker": A,
            "protocol": "ws_text",
            "address": "1.2.3.4:5",
            "since": 1_700_000_000_000,
            "uid": "bob",
            "unacknowledged": 0,
            "unacknowledged_bytes": 0,
        },
        {"online": False},
        {"online": False},
    ]
    assert one.call("find") == []


@pytest.mark.parametrize("token", [5, None, [], "\ud800", "x" * 1000])
def test_find_of_what_is_no_token(one, token):
    assert one.call("find", token) == [{"online": False}]
    assert one.call("kick", token) == [False]


def test_kick(one):
    end, _ = one.bound(b"alice")
    assert one.call("kick", "alice", "nobody", "alice") == [True, False, False]
    assert json.loads(end.packet().body) == {"reason": "kicked"}
    assert end.rest() == b""
    assert one.counters["close_kicked"] == 1
    assert one.push((b"alice", b"x")) == [Outcome.OFFLINE]


def test_a_call_waits_for_clients_on_their_way(worker):
    one, other = worker(A), worker(B)
    one.ring(1, [one])
    token = token_of(B, ([A], A), [A, B])
    one.bound(token)
    other.ring(2, [one, other])
    assert other.call("find", token.decode()) is None
    one.ring(2, [one, other])
    answers = until(lambda: [bus.decode_numbered(frames)[1] for frames in other.said if frames[0] == bus.REPLY1])
    assert [found["online"] for found in answers[0]["answers"]] == [True]


def test_a_call_does_not_wait_longer_than_a_move_may(worker):
    one, other = worker(A, move_timeout_s=2), worker(B)
    one.ring(2, [one, other])
    assert one.call("find", token_of(A, [A, B]).decode()) is None
    one.advance(2)
    (answered,) = [bus.decode_numbered(frames)[1] for frames in one.said if frames[0] == bus.REPLY1]
    assert answered == {"answers": [{"online": False}]}


def test_a_call_that_waited_is_answered_when_the_next_ring_takes_its_slot(worker):
    """Nothing of this worker's is unsettled any more: there is nothing left to wait for."""
    one, other, third = worker(A), worker(B), worker("h/2")
    one.ring(1, [one])
    one.ring(2, [one, other])
    token = token_of(B, [A, B])
    other.ring(2, [one, other])
    assert other.call("find", token.decode()) is None
    other.ring(3, [one, third])
    for parts in (one, third):
        parts.ring(3, [one, third], [other])
    until(lambda: [frames for frames in other.said if frames[0] == bus.REPLY1])


# --- late outcomes


def test_late_outcomes_are_told_by_batch(one):
    segment = bus.Segment(1, 0, bytes(16), 4, 0)
    told = [(7, 0, Outcome.SENT), (9, 3, Outcome.OFFLINE), (7, 2, Outcome.OFFLINE)]
    one.landing.late([(HeldPush(0, number, place, segment, 0, b""), outcome) for number, place, outcome in told])
    assert one.late() == [(7, 0, 0), (7, 2, 3), (9, 3, 3)]
    assert (one.counters["pushes_sent"], one.counters["pushes_offline"]) == (1, 2)


def test_a_fan_out_is_reported(one):
    end, _ = bind(one, b"alice")
    one.fan_out(5, b"x")
    assert one.counted(5)["sent"] == 1
    assert end.packet().signal == Signal.PUSH
