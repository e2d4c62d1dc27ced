"""FIND1 and KICK1."""

import pytest
import ujson

from shared import bus
from shared.requests import FIND1, INFO1, KICK1
from tests.router.driven_core import DrivenCore, tokens_of

TWO = ("h/0", "h/1")
ABSENT = {"online": False}


def calls(fleet: DrivenCore) -> dict[str, tuple[int, dict[str, object]]]:
    """The calls under way, by worker."""
    return {name: bus.decode_numbered(frames) for name, frames in fleet.to_workers if frames[0] == bus.CALL1}


def reply(fleet: DrivenCore, worker: str, answers: object) -> None:
    number, _ = calls(fleet)[worker]
    fleet.say(worker, bus.encode_numbered(bus.REPLY1, number, {"answers": answers}))


def answered(fleet: DrivenCore) -> object:
    command, request_id, body = fleet.answer()
    assert (command, request_id) == (INFO1, b"q1")
    return ujson.loads(body)


def test_find_asks_the_owners_and_answers_in_order() -> None:
    fleet = DrivenCore(*TWO)
    (mine,), (other,) = tokens_of("h/0", TWO, 1), tokens_of("h/1", TWO, 1)
    fleet.ask(FIND1, b"q1", other, mine, b"", other)
    assert {name: body for name, (_, body) in calls(fleet).items()} == {
        "h/0": {"call": "find", "tokens": [mine.decode()]},
        "h/1": {"call": "find", "tokens": [other.decode()] * 2},
    }
    reply(fleet, "h/1", [{"online": True, "worker": "h/1"}, ABSENT])
    reply(fleet, "h/0", [{"online": True, "worker": "h/0"}])
    here, there = {"online": True, "worker": "h/0"}, {"online": True, "worker": "h/1"}
    assert answered(fleet) == [there, here, ABSENT, ABSENT]


def test_kick() -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(KICK1, b"q1", "ä".encode(), b"\xff", b"b")
    assert calls(fleet)["h/0"][1] == {"call": "kick", "tokens": ["ä", "b"]}
    reply(fleet, "h/0", [True, False])
    assert answered(fleet) == [True, False, False]


def test_bad_tokens_alone_need_no_worker() -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(FIND1, b"q1", b"", b"x" * 256)
    assert answered(fleet) == [ABSENT, ABSENT]


def test_a_lost_worker_leaves_null() -> None:
    fleet = DrivenCore(*TWO)
    (mine,), (other,) = tokens_of("h/0", TWO, 1), tokens_of("h/1", TWO, 1)
    fleet.ask(FIND1, b"q1", mine, other)
    reply(fleet, "h/1", [ABSENT])
    fleet.join("h/0", incarnation="b")
    assert answered(fleet) == [None, ABSENT]


def test_time_out_leaves_null_and_a_late_reply_is_a_stray() -> None:
    fleet = DrivenCore("h/0", worker_timeout_ms=600_000)
    fleet.ask(KICK1, b"q1", b"a")
    fleet.advance(5.1)
    assert answered(fleet) == [None]
    reply(fleet, "h/0", [True])
    assert fleet.answers() == []
    assert fleet.core.counters["bus_strays"] == 1


def test_without_workers() -> None:
    fleet = DrivenCore()
    fleet.advance(1)
    fleet.ask(FIND1, b"q1", b"a")
    assert fleet.fault() == "unavailable"


def test_it_waits_for_the_first_ring() -> None:
    fleet = DrivenCore(ring_settle_ms=1000, workers=2)
    fleet.ask(FIND1, b"q1", b"a")
    fleet.join("h/0")
    fleet.advance(1.1)
    reply(fleet, "h/0", [ABSENT])
    assert answered(fleet) == [ABSENT]


@pytest.mark.parametrize("answers", [None, [], [True, True], {"a": 1}])
def test_a_reply_that_does_not_fit(answers: object) -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(KICK1, b"q1", b"a")
    reply(fleet, "h/0", answers)
    assert answered(fleet) == [None]
    assert fleet.core.counters["bus_errors"] == 1
