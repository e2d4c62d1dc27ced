"""Calls to services as a worker makes them: each is answered once, whatever becomes of router and service."""

from dataclasses import dataclass, field

import pytest
import ujson

from gateway.calls import Calls
from shared.calls import ASK1, TOLD1, TOPICS1, Topic, decode_call, encode_answer
from shared.errors import BusError
from shared.signals import PublishError
from tests.gateway.parts import Clients, turns, until

TWICE, ONCE = Topic(9, 16), Topic(9, 17)  # may be done twice; may not
LOST, TIMED_OUT = PublishError.NOBODY_KNOWS, PublishError.TIMED_OUT
FULL, NONE = PublishError.QUEUE_FULL, PublishError.NOT_IMPLEMENTED


@dataclass
class Routers:
    """Links to routers: those that are heard, and what each was sent."""

    heard: list[int]
    open: bool = True
    sent: list[tuple[int, list[bytes]]] = field(default_factory=list)

    def send(self, router, frames):
        if self.open:
            self.sent.append((router, frames))
        return self.open


class Worker:
    """Calls on a real hub, and the answers that came."""

    def __init__(self, clients, routers=1, most=100, timeout_ms=5000):
        self.clients, self.answers = clients, []
        self.routers = Routers(list(range(routers)))
        self.calls = Calls(clients.loop, self.routers, worker="h/0", timeout_ms=timeout_ms, most=most, first=70)
        for router in range(routers):
            self.tell(router, [[*TWICE, True], [*ONCE, False]])

    def tell(self, router, topics):
        self.calls.told_topics(router, [TOPICS1, ujson.dumps({"topics": topics}).encode()])

    def ask(self, topic, body=b"?", **more):
        before = len(self.answers)
        self.calls.ask(topic, "alice", {"token": "alice"}, body, lambda *answer: self.answers.append(answer), **more)
        assert len(self.answers) == before  # never at once

    def asked(self):
        """(router, call) of all that was sent."""
        return [(router, decode_call(frames)) for router, frames in self.routers.sent]

    def counted(self, *names):
        return [self.clients.counters[f"calls_{name}"] for name in names]


@pytest.fixture
def clients():
    made = Clients()
    yield made
    made.close()


def test_a_call_there_and_back(clients):
    worker = Worker(clients)
    worker.ask(ONCE, b"\x00ask")
    ((router, call),) = worker.asked()
    assert (router, call.number, call.topic, call.body) == (0, 71, ONCE, b"\x00ask")
    assert call.head == {
        "signal": 9, "sub_signal": 17, "key": "alice", "timeout_ms": 5000, "worker": "h/0", "token": "alice"
    }  # fmt: skip
    assert worker.calls.count == 1
    worker.calls.told(0, encode_answer(TOLD1, 71, 7, b"told"))
    assert (worker.answers, worker.calls.count) == ([(7, b"told")], 0)


def test_an_answer_that_comes_twice_or_to_no_call_is_dropped(clients):
    worker = Worker(clients)
    worker.ask(ONCE)
    for number in (71, 71, 5):
        worker.calls.told(0, encode_answer(TOLD1, number, 0, b""))
    assert len(worker.answers) == 1
    assert worker.counted("late") == [2]


def test_without_a_service_or_a_router_it_is_said_at_the_next_turn(clients):
    worker = Worker(clients)
    worker.ask(Topic(9, 99))
    worker.routers.heard = []
    worker.ask(ONCE)
    turns()
    assert worker.answers == [(NONE, b"")] * 2
    assert worker.routers.sent == []


def test_too_many_or_no_way_to_the_router(clients):
    worker = Worker(clients, most=1)
    worker.ask(ONCE)
    worker.ask(ONCE)
    worker.calls.told(0, encode_answer(TOLD1, 71, 0, b""))
    worker.routers.open = False
    worker.ask(ONCE)
    turns()
    assert worker.answers == [(0, b""), (FULL, b""), (FULL, b"")]
    assert worker.counted("refused", "made") == [2, 1]


def test_a_silent_router_times_out_and_what_it_says_later_is_late(clients):
    worker = Worker(clients, timeout_ms=1)
    worker.ask(ONCE)
    until(lambda: worker.answers)
    assert worker.answers == [(TIMED_OUT, b"")]
    worker.calls.told(0, encode_answer(TOLD1, 71, 0, b"at last"))
    assert (len(worker.answers), worker.counted("timed_out", "late")) == (1, [1, 1])


@pytest.mark.parametrize("notices", ["told", "silent"])
def test_calls_of_a_lost_router_are_made_again_where_that_may_be(clients, notices):
    worker = Worker(clients, routers=2)
    worker.ask(TWICE, b"twice")
    worker.ask(ONCE, b"once")
    worker.routers.heard = [1]
    if notices == "told":
        worker.calls.lost(0)
    else:
        clients.advance()
    assert worker.answers == [(LOST, b"")]
    assert [(router, call.number, call.body) for router, call in worker.asked()] == [
        (0, 71, b"twice"),
        (0, 72, b"once"),
        (1, 71, b"twice"),
    ]
    worker.calls.told(1, encode_answer(TOLD1, 71, 0, b"done"))
    assert worker.answers[1:] == [(0, b"done")]
    assert worker.counted("lost", "repeated") == [1, 1]


def test_a_call_is_made_again_once_only(clients):
    worker = Worker(clients, routers=3)
    worker.ask(TWICE)
    for router in (0, 1):
        worker.routers.heard.remove(router)
        worker.calls.lost(router)
    assert worker.answers == [(LOST, b"")]
    assert [router for router, _ in worker.asked()] == [0, 1]


def test_a_router_whose_link_is_full_cannot_take_a_lost_call(clients):
    worker = Worker(clients, routers=2)
    worker.ask(TWICE)
    worker.routers.heard, worker.routers.open = [1], False
    worker.calls.lost(0)
    assert worker.answers == [(LOST, b"")]


def test_what_an_answer_leads_to_harms_no_other_call(clients):
    clients.expect_internal_errors = True
    worker = Worker(clients)
    worker.calls.ask(ONCE, "a", {}, b"", lambda code, body: 1 // 0)
    worker.ask(ONCE)
    worker.calls.lost(0)
    assert worker.answers == [(LOST, b"")]
    assert clients.counters["internal_errors"] == 1


def test_topics_change(clients):
    worker = Worker(clients, routers=2)
    worker.tell(0, [[*ONCE, False]])
    assert worker.calls.serves(TWICE)
    worker.ask(TWICE)
    assert [router for router, _ in worker.asked()] == [1]
    worker.tell(1, [])
    assert not worker.calls.serves(TWICE)
    with pytest.raises(BusError):
        worker.tell(1, [["x"]])
    assert worker.asked()[0][1].topic == TWICE
    assert worker.routers.sent[0][1][0] == ASK1
