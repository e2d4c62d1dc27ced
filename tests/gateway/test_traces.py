"""What became of pushes of late, as a worker tells it."""

import time

import pytest

from gateway.connections import Granted
from gateway.held_pushes import HeldPush
from gateway.traces import Traces
from shared import bus
from shared.outcomes import Outcome
from shared.push_ids import push_id
from shared.traces import Wanted, wanted_fields
from tests.gateway.parts import until
from tests.gateway.test_deliveries import bind

PREFIX = bytes(range(16))


@pytest.fixture
def one(worker):
    parts = worker()
    parts.ring(1, [parts])
    return parts


def messages(parts, token=None, **more):
    parts.hear(bus.encode_numbered(bus.CALL1, 5, {"call": "explain", **wanted_fields(Wanted(token, **more))}))
    _, body = bus.decode_numbered(parts.said[-1])
    return body["answers"][0]["messages"]


def push(parts, *pushes, **more):
    """A batch that comes over the bus."""
    parts.batch(pushes, prefix=PREFIX, **more)


def whats(message):
    return [tuple(hop[1:]) for hop in message["hops"]]


def test_one_that_was_sent_and_one_that_was_not(one):
    bind(one, b"alice")
    before = time.monotonic()
    push(one, (b"alice", b"hello"), (b"nobody", b"x"))
    (alice,) = messages(one, b"alice")
    assert (alice["id"], alice["token"], alice["bytes"]) == (push_id(PREFIX, 0), "alice", 5)
    assert whats(alice) == [("received", ""), ("done", "SENT")]
    assert before <= alice["hops"][0][0] <= alice["hops"][1][0] <= time.monotonic()
    (nobody,) = messages(one, None, keys=((PREFIX, 1),))
    assert whats(nobody)[-1] == ("done", "OFFLINE")
    assert messages(one, b"bob") == []


def test_nobody_has_an_answer_before_it_was_given(one, monkeypatch):
    """Routers note when it comes, by the same clock."""
    sent, send = [], one.handlers._routers.send

    def note(router, frames):
        sent.append((frames[0], time.monotonic()))
        return send(router, frames)

    monkeypatch.setattr(one.handlers._routers, "send", note)
    bind(one, b"alice")
    push(one, (b"alice", b"hello"))
    (done,) = messages(one, b"alice")[0]["hops"][1:]
    number, _ = bus.decode_outcomes(next(frames for frames in one.said if frames[0] == bus.OUTCOMES1))
    late = HeldPush(0, number, 0, bus.Segment(1, 0, PREFIX, 0, 0), 0, b"hello")
    one.handlers._say_late([(late, Outcome.SENT)])
    settled = messages(one, b"alice")[0]["hops"][-1]
    one.fan_out(9, b"hello", prefix=bytes(16))
    until(lambda: one.heard(bus.COUNTS1, bus.decode_numbered))
    counted = messages(one, None, keys=((bytes(16), 0),))[0]["hops"][-1]
    assert [hop[1] for hop in (done, settled, counted)] == ["done", "settled", "counted"]
    at = dict(sent)
    assert done[0] <= at[bus.OUTCOMES1]
    assert settled[0] <= at[bus.LATE1]
    assert counted[0] <= at[bus.COUNTS1]


def test_what_its_client_acknowledges(one):
    end, _ = bind(one, b"alice", granted=Granted.ACK)
    push(one, (b"alice", b"1"), (b"alice", b"2"))
    first, second = end.packet(), end.packet()
    one.conversations.acknowledged(one.loop.table.by_token[b"alice"], second.message_id)
    one.conversations.acknowledged(one.loop.table.by_token[b"alice"], 999)
    told = messages(one, b"alice")
    assert whats(told[0]) == [("received", ""), ("shown", first.message_id), ("done", "SENT")]
    assert whats(told[1])[1:] == [("shown", second.message_id), ("done", "SENT"), ("acknowledged", "")]
    (named,) = messages(one, b"alice", message_id=second.message_id)
    assert named["id"] == push_id(PREFIX, 1)
    assert messages(one, b"bob", message_id=second.message_id) == []
    assert messages(one, b"alice", message_id=999) == []


def test_the_order_in_which_a_stored_push_is_told():
    """Held in one batch, shown and settled later, replayed after that."""
    traces = Traces(100, 10_000, {})
    segments = [bus.Segment(1, 0, PREFIX, 4, 0)]
    frames = bus.encode_batch((1, 1), 7, segments, [bus.ENTRY.pack(5, 1, 3)], [b"alicep"])
    traces.batch(0, 7, frames, 1.0, 1.5, bytes([bus.HELD]))
    traces.shown(b"alice", 9, PREFIX, 3)
    traces.settled(0, 7, [(0, 2), (5, 2)], 2.0)
    traces.settled(1, 7, [(0, 3)], 2.0)
    traces.shown(b"alice", 1, PREFIX, 3)
    traces.replayed(b"alice", PREFIX, 3, 1, 3.0)
    traces.acknowledged(b"alice", 1, 4.0)
    (message,) = traces.find(Wanted(b"alice"))
    assert message["hops"] == [
        [1.0, "received", ""],
        [1.5, "done", "HELD"],
        [2.0, "shown", 9],
        [2.0, "settled", "STORED"],
        [3.0, "replayed", 1],
        [4.0, "acknowledged", ""],
    ]


def test_a_replay_of_what_another_worker_stored():
    traces = Traces(100, 10_000, {})
    traces.shown(b"alice", 1, PREFIX, 3)
    traces.replayed(b"alice", PREFIX, 3, 1, 3.0)
    traces.replayed(b"bob", PREFIX, 4, 1, 3.0)
    (message,) = traces.find(Wanted(b"alice"))
    assert (message["id"], message["hops"]) == (push_id(PREFIX, 3), [[3.0, "replayed", 1]])


def test_a_replay_has_the_request_id_that_was_stored():
    traces = Traces(100, 10_000, {})
    traces.replayed(b"alice", PREFIX, 3, 1, 3.0, "order-7")
    traces.replayed(b"alice", PREFIX, 4, 1, 4.0)
    (message,) = traces.find(Wanted(request_id="order-7"))
    assert (message["id"], message["request_id"]) == (push_id(PREFIX, 3), "order-7")


def test_the_oldest_are_forgotten_and_counted(worker):
    one = worker(recent_messages_max=2)
    one.ring(1, [one])
    for token in (b"a", b"b", b"c"):
        push(one, (token, b"x"))
    assert [len(messages(one, token)) for token in (b"a", b"b", b"c")] == [0, 1, 1]
    assert one.counters["recent_dropped"] == 1


def test_a_push_to_all_by_its_id(one):
    bind(one, b"alice")
    one.fan_out(9, b"hello", prefix=PREFIX)
    until(lambda: one.heard(bus.COUNTS1, bus.decode_numbered))
    (found,) = messages(one, None, keys=((PREFIX, 0),))
    assert (found["id"], found["token"], found["to"], found["bytes"]) == (push_id(PREFIX, 0), None, "all", 5)
    assert whats(found)[0] == ("received", "")
    assert whats(found)[1][0] == "counted"
    assert "sent 1" in whats(found)[1][1]
    assert messages(one, b"alice") == []
