"""Bounds, and go-back-N after them."""

import pytest
import ujson

from router.connections import Connection
from router.overload import RETRY_AFTER_MS, Admission
from shared.errors import RequestError
from shared.requests import DONE1, FAIL1
from tests.router.driven_core import DrivenCore, push2


def overloaded(fleet: DrivenCore, sender: bytes = b"s1") -> list[bytes]:
    """Request ids that were answered FAIL1 overloaded; asserts that nothing else was answered."""
    ids = []
    for command, request_id, body in fleet.answers(sender):
        said = ujson.loads(body)
        assert (command, said["code"], said["retry_after_ms"]) == (FAIL1, "overloaded", RETRY_AFTER_MS)
        ids.append(request_id)
    return ids


def full_fleet() -> DrivenCore:
    """s1 has what it may have: its second request was turned away."""
    fleet = DrivenCore("h/0", pending_requests_max=2)
    fleet.push(b"r1", b"a")
    fleet.push(b"r2", b"a")
    assert overloaded(fleet) == [b"r2"]
    return fleet


def test_later_requests_are_turned_away_until_the_refused_one_comes_again() -> None:
    fleet = full_fleet()
    (first,) = fleet.sent()
    fleet.outcomes(first)
    assert fleet.answer()[:2] == [DONE1, b"r1"]
    fleet.push(b"r3", b"a")
    fleet.push(b"r4", b"a")
    assert overloaded(fleet) == [b"r3", b"r4"]
    fleet.push(b"r2", b"a")
    fleet.outcomes(fleet.sent()[0])
    fleet.push(b"r3", b"a")
    fleet.outcomes(fleet.sent()[0])
    assert [frames[:2] for frames in fleet.answers()] == [[DONE1, b"r2"], [DONE1, b"r3"]]


def test_the_refused_one_may_be_refused_again() -> None:
    fleet = full_fleet()
    fleet.push(b"r2", b"a")
    fleet.push(b"r3", b"a")
    assert overloaded(fleet) == [b"r2", b"r3"]
    fleet.outcomes(fleet.sent()[0])
    fleet.answers()
    fleet.push(b"r3", b"a")
    assert overloaded(fleet) == [b"r3"]


def test_hello_ends_the_hold() -> None:
    fleet = full_fleet()
    fleet.outcomes(fleet.sent()[0])
    fleet.answers()
    fleet.hello(b"name")
    fleet.push(b"r3", b"a")
    assert len(fleet.sent()) == 1


def test_the_hold_ends_by_itself() -> None:
    fleet = DrivenCore("h/0", pending_requests_max=2, overload_hold_s=10, worker_timeout_ms=600_000)
    fleet.push(b"r1", b"a")
    fleet.push(b"r2", b"a")
    fleet.outcomes(fleet.sent()[0])
    fleet.answers()
    fleet.advance(9.9)
    fleet.push(b"r3", b"a")
    assert overloaded(fleet) == [b"r3"]
    fleet.advance(0.2)
    fleet.push(b"r3", b"a")
    assert len(fleet.sent()) == 1


def test_other_connections_go_on() -> None:
    fleet = DrivenCore("h/0", pending_requests_max=10)
    for number in range(20):
        fleet.push(b"r%d" % number, b"a", sender=b"greedy")
    assert len(overloaded(fleet, b"greedy")) == 15
    fleet.push(b"r", b"a", sender=b"modest")
    assert fleet.answers(b"modest") == []


def test_questions_take_no_part_in_the_order() -> None:
    fleet = full_fleet()
    fleet.ask(b"STAT1", b"q1")
    assert fleet.answer()[:2] == [b"INFO1", b"q1"]
    fleet.ask(b"FIND1", b"q2", b"a")
    assert overloaded(fleet) == [b"q2"]
    fleet.outcomes(fleet.sent()[0])
    fleet.answers()
    fleet.ask(b"FIND1", b"q2", b"")
    assert fleet.answer()[:2] == [b"INFO1", b"q2"]
    fleet.push(b"r2", b"a")
    assert len(fleet.sent()) == 1


def test_bytes_are_bounded_and_given_back() -> None:
    fleet = DrivenCore("h/0", pending_bytes_max=1 << 16)
    payload = bytes(40_000)
    fleet.ask(*push2(b"r1", [(b"a", payload)]))
    fleet.ask(*push2(b"r2", [(b"a", payload)]))
    assert overloaded(fleet) == [b"r2"]
    fleet.outcomes(fleet.sent()[0])
    fleet.answers()
    fleet.ask(*push2(b"r2", [(b"a", payload)]))
    assert len(fleet.sent()) == 1


def test_what_can_never_fit_is_too_large_and_holds_nothing_up() -> None:
    fleet = DrivenCore("h/0", pending_bytes_max=1 << 16)
    fleet.ask(*push2(b"r1", [(b"a", bytes(1 << 16))]))
    assert fleet.fault() == "too_large"
    fleet.push(b"r2", b"a")
    assert len(fleet.sent()) == 1


def test_many_greedy_connections_leave_room() -> None:
    admission = Admission(1000, 1 << 30, 10)
    greedy = [Connection(b"%d" % number) for number in range(9)]
    for _ in range(1000):
        for connection in greedy:
            try:
                admission.check(connection, 1)
            except RequestError:
                continue
            admission.take(connection, 1)
    assert all(connection.requests == 100 for connection in greedy)
    newcomer = Connection(b"new")
    for _ in range(50):
        admission.check(newcomer, 1)
        admission.take(newcomer, 1)
    assert admission.requests == 950
    with pytest.raises(RequestError):
        admission.check(newcomer, 1)
