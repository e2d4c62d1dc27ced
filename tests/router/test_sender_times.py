"""How long push requests were on their way, and clocks that are off."""

from typing import Any

import pytest

from router.requesters import EVERY_SCOPE
from shared.errors import RequestError
from shared.outcomes import Outcome
from shared.requests import FAIL1, STAT1, parse_options
from tests.router.driven_core import DrivenCore, push2


@pytest.fixture
def fleet() -> DrivenCore:
    return DrivenCore("h/0")


def times(fleet: DrivenCore) -> dict[str, Any]:
    figures: dict[str, Any] = fleet.core.parts.sender_times.times.fields()
    return figures


def test_the_way_of_each_request_is_counted_once(fleet: DrivenCore) -> None:
    fleet.ask(*push2(b"r1", [(b"a", b"x"), (b"b", b"x")], sent_at=fleet.unix_us - 3000))
    fleet.ask(*push2(b"r2", [(b"a", b"x")], to="group", sent_at=fleet.unix_us - 3000))
    assert sum(times(fleet)["counts"]) == 2
    assert times(fleet)["total_s"] == pytest.approx(0.006)
    fleet.ask(*push2(b"r3", [(b"a", b"x")]))  # one that does not say
    assert sum(times(fleet)["counts"]) == 2
    assert fleet.core.counters["sender_clock_off"] == 0


@pytest.mark.parametrize("off_us", [-1, 60_000_001])
def test_a_clock_that_is_off_is_only_counted(fleet: DrivenCore, off_us: int) -> None:
    fleet.ask(*push2(b"r1", [(b"a", b"x")], sent_at=fleet.unix_us - off_us))
    assert sum(times(fleet)["counts"]) == 0
    assert fleet.core.counters["sender_clock_off"] == 1
    (sent,) = fleet.sent()
    assert [token for token, _, _ in sent.pushes] == [b"a"]  # and does the push no harm


def test_a_repeat_under_its_id_may_have_been_sent_later(fleet: DrivenCore) -> None:
    fleet.hello(b"backend")
    for _ in range(2):
        fleet.ask(*push2(b"r1", [(b"a", b"x")], id="7", sent_at=fleet.unix_us))
        fleet.advance(0.1)
    (sent,) = fleet.sent()
    fleet.outcomes(sent, bytes([Outcome.SENT]))
    assert [frames[0] for frames in fleet.answers()] != [FAIL1]
    assert sum(times(fleet)["counts"]) == 2


@pytest.mark.parametrize("said", ['"now"', "-1", "1.5", "true", "1e300", str(1 << 54)])
def test_what_is_no_time(said: str) -> None:
    with pytest.raises(RequestError, match="sent_at is not a whole number"):
        parse_options(b'{"sent_at":%b}' % said.encode())


def test_it_is_in_the_statistics(fleet: DrivenCore) -> None:
    fleet.ask(STAT1, b"r1", scopes=EVERY_SCOPE)
    (answer,) = fleet.answers()
    assert b'"sender":{"counts":[0,' in answer[2].replace(b" ", b"")
