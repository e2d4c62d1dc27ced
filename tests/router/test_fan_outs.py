"""Pushes to all."""

import pytest
import ujson

from router.fan_outs import outcome_of
from shared import bus
from shared.outcomes import Outcome
from tests.router.driven_core import STARTED_MS, DrivenCore, push2


def to_all(fleet: DrivenCore, request_id: bytes = b"r1", **options: object) -> None:
    fleet.ask(*push2(request_id, [(b"ignored", b"news")], to="all", **options))


def counts(fleet: DrivenCore, worker: str, frames: list[bytes], **body: object) -> None:
    fleet.say(worker, bus.encode_numbered(bus.COUNTS1, bus.number_of(frames), body))


def answered(fleet: DrivenCore) -> tuple[Outcome, dict[str, int]]:
    command, _, outcomes, detail = fleet.answer()
    assert command == b"DONE1"
    return Outcome(*outcomes), ujson.loads(detail)


def test_every_worker_gets_it_and_the_counts_are_added_up() -> None:
    fleet = DrivenCore("h/0", "h/1", "h/2")
    fleet.say("h/2", bus.encode_control(bus.BYE1, {"leaving": True}))
    to_all(fleet)
    messages = {name: frames for name, frames in fleet.to_workers if frames[0] == bus.ALL1}
    assert messages.keys() == {"h/0", "h/1", "h/2"}
    fan_out = bus.decode_fan_out(messages["h/0"])
    assert fan_out.payload == b"news"
    assert fan_out.number == (STARTED_MS << 20) + 1
    assert fan_out.segment.pushes == 1
    counts(fleet, "h/0", messages["h/0"], matched=3, sent=2, buffered=1)
    counts(fleet, "h/1", messages["h/1"], matched=2, sent=1, refused=1)
    assert fleet.answers() == []
    counts(fleet, "h/2", messages["h/2"])
    outcome, detail = answered(fleet)
    assert outcome is Outcome.SENT
    assert detail == {
        "workers": 3, "matched": 5, "sent": 3, "buffered": 1, "overloaded": 0, "refused": 1, "too_large": 0,
        "acked": 0, "stored": 0, "offline": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ({"matched": 1, "sent": 1, "acked": 1}, Outcome.ACKED),
        ({"sent": 1, "stored": 1, "overloaded": 9}, Outcome.SENT),
        ({"stored": 1, "buffered": 1}, Outcome.STORED),
        ({"buffered": 1, "overloaded": 1}, Outcome.BUFFERED),
        ({"overloaded": 1, "too_large": 1, "refused": 1}, Outcome.OVERLOADED),
        ({"too_large": 1, "refused": 1}, Outcome.TOO_LARGE),
        ({"refused": 1}, Outcome.REFUSED),
        ({}, Outcome.OFFLINE),
    ],
)
def test_the_one_outcome(said: dict[str, int], outcome: Outcome) -> None:
    assert outcome_of(said, 0) is outcome


def test_unknown_workers_may_have_delivered() -> None:
    assert outcome_of({"overloaded": 1}, 1) is Outcome.UNKNOWN
    assert outcome_of({"sent": 1}, 1) is Outcome.SENT


def test_a_lost_worker_is_said_to_be_unknown() -> None:
    fleet = DrivenCore("h/0", "h/1")
    to_all(fleet)
    counts(fleet, "h/1", fleet.messages(bus.ALL1, "h/1")[0], matched=1, sent=1)
    fleet.join("h/0", incarnation="b")
    outcome, detail = answered(fleet)
    assert (outcome, detail["unknown_workers"]) == (Outcome.SENT, 1)


@pytest.mark.parametrize(("resumed", "unknown"), [(True, None), (False, 1)])
def test_the_next_incarnation_gets_again_what_is_unanswered(resumed: bool, unknown: int | None) -> None:
    """It goes on with it; if it has nothing of the one before, what that one did stays unknown."""
    fleet = DrivenCore("h/0", "h/1")
    to_all(fleet)
    to_all(fleet, b"r2")
    (first, second), others = fleet.messages(bus.ALL1, "h/0"), fleet.messages(bus.ALL1, "h/1")
    counts(fleet, "h/0", first, matched=1, sent=1)
    for frames in others:
        counts(fleet, "h/1", frames)
    assert answered(fleet)[1]["sent"] == 1
    fleet.to_workers.clear()
    fleet.join("h/0", incarnation="b", resumed=resumed)
    assert fleet.messages(bus.ALL1, "h/0") == [second]
    counts(fleet, "h/0", second, matched=3, sent=3)
    _, detail = answered(fleet)
    assert (detail["sent"], detail.get("unknown_workers")) == (3, unknown)


def test_an_incarnation_that_had_nothing_of_the_one_before_makes_it_unknown_for_all_behind() -> None:
    fleet = DrivenCore("h/0")
    to_all(fleet)
    fleet.join("h/0", incarnation="b", resumed=False)
    fleet.join("h/0", incarnation="c", resumed=True)
    counts(fleet, "h/0", fleet.messages(bus.ALL1, "h/0")[-1], matched=3, sent=3)
    assert answered(fleet)[1]["unknown_workers"] == 1


def test_a_link_that_is_gone_for_a_moment() -> None:
    """The same incarnation knows whether it has had it."""
    fleet = DrivenCore("h/0")
    to_all(fleet)
    fleet.cut.add(b"h/0")
    to_all(fleet, b"r2")
    fleet.to_workers.clear()
    fleet.cut.clear()
    fleet.join("h/0", resumed=False)
    again = fleet.messages(bus.ALL1, "h/0")
    assert [bus.number_of(frames) for frames in again] == [(STARTED_MS << 20) + number for number in (1, 2)]
    counts(fleet, "h/0", again[0], matched=1, sent=1)
    assert "unknown_workers" not in answered(fleet)[1]


def test_a_worker_that_had_it_and_stays_away_is_unknown() -> None:
    fleet = DrivenCore("h/0", worker_timeout_ms=2000)
    to_all(fleet, timeout_ms=60_000)
    fleet.advance(10)
    outcome, detail = answered(fleet)
    assert (outcome, detail["workers"], detail["unknown_workers"]) == (Outcome.UNKNOWN, 1, 1)


def test_a_worker_that_is_away_gets_it_when_it_is_back() -> None:
    fleet = DrivenCore("h/0", "h/1")
    fleet.cut.add(b"h/0")
    to_all(fleet)  # ZeroMQ does not take the one for h/0
    to_all(fleet, b"r2")
    for frames in fleet.messages(bus.ALL1, "h/1"):
        counts(fleet, "h/1", frames, matched=1, sent=1)
    assert fleet.answers() == []
    fleet.cut.clear()
    fleet.join("h/0", incarnation="b")
    kinds = [frames[0] for name, frames in fleet.to_workers if name == "h/0"]
    assert kinds[-4:] == [bus.RING1, bus.TAKEN1, bus.ALL1, bus.ALL1]
    for frames in fleet.messages(bus.ALL1, "h/0"):
        counts(fleet, "h/0", frames, matched=2, sent=2)
    for _, _, _, detail in fleet.answers():
        assert ujson.loads(detail)["sent"] == 3


def test_a_worker_that_stays_away_does_not_count() -> None:
    fleet = DrivenCore("h/0", "h/1", worker_timeout_ms=2000)
    fleet.cut.add(b"h/0")
    to_all(fleet, timeout_ms=60_000)
    counts(fleet, "h/1", fleet.messages(bus.ALL1, "h/1")[0], matched=0)
    for _ in range(6):
        fleet.advance(0.5)
        fleet.say("h/1", bus.encode_control(bus.BEAT1, {}))
    outcome, detail = answered(fleet)
    assert (outcome, detail["workers"], "unknown_workers" in detail) == (Outcome.OFFLINE, 1, False)
    fleet.cut.add(b"h/1")
    to_all(fleet)
    fleet.advance(3)
    assert answered(fleet)[0] is Outcome.UNAVAILABLE


def test_time_out_while_a_worker_is_away() -> None:
    fleet = DrivenCore("h/0", "h/1")
    fleet.cut.add(b"h/0")
    to_all(fleet, timeout_ms=200)
    fleet.advance(0.3)
    outcome, detail = answered(fleet)
    assert (outcome, detail["workers"], detail["unknown_workers"]) == (Outcome.UNKNOWN, 1, 1)
    fleet.cut.clear()
    fleet.join("h/0", incarnation="b")
    assert not fleet.messages(bus.ALL1, "h/0")


def test_time_out() -> None:
    fleet = DrivenCore("h/0", "h/1")
    to_all(fleet, timeout_ms=200)
    late = fleet.messages(bus.ALL1, "h/0")[0]
    fleet.advance(0.3)
    outcome, detail = answered(fleet)
    assert (outcome, detail["unknown_workers"]) == (Outcome.UNKNOWN, 2)
    counts(fleet, "h/0", late, sent=1)
    assert fleet.answers() == []
    assert fleet.core.counters["bus_strays"] == 1


def test_without_workers() -> None:
    fleet = DrivenCore()
    fleet.advance(1)
    to_all(fleet)
    assert answered(fleet)[0] is Outcome.UNAVAILABLE


def test_it_waits_for_the_first_ring() -> None:
    fleet = DrivenCore(ring_settle_ms=1000, workers=2)
    to_all(fleet, b"r1", timeout_ms=100)
    to_all(fleet, b"r2")
    fleet.join("h/0")
    fleet.advance(0.2)
    assert answered(fleet)[0] is Outcome.UNAVAILABLE
    fleet.advance(1)
    (frames,) = fleet.messages(bus.ALL1)
    counts(fleet, "h/0", frames, matched=1, sent=1)
    assert answered(fleet)[0] is Outcome.SENT


@pytest.mark.parametrize("body", [{"sent": -1}, {"sent": "1"}, {"matched": None}, {"sent": True}])
def test_counts_that_are_no_numbers(body: dict[str, object]) -> None:
    fleet = DrivenCore("h/0")
    to_all(fleet)
    counts(fleet, "h/0", fleet.messages(bus.ALL1)[0], **body)
    assert answered(fleet)[0] is Outcome.UNKNOWN
    assert fleet.core.counters["bus_errors"] == 1


def test_counts_twice() -> None:
    fleet = DrivenCore("h/0", "h/1")
    to_all(fleet)
    frames = fleet.messages(bus.ALL1, "h/0")[0]
    counts(fleet, "h/0", frames, sent=1)
    counts(fleet, "h/0", frames, sent=1)
    counts(fleet, "h/1", frames)
    assert answered(fleet)[1]["sent"] == 1


@pytest.mark.parametrize("said", [None, "7", True, -1, 1 << 63, 1 << 80])
def test_numbers_go_on_from_what_workers_have_seen(said: object) -> None:
    """A router that starts with its clock set back would else send what every client takes for a copy."""
    fleet = DrivenCore()
    seen = (STARTED_MS + 5000 << 20) + 3
    fleet.join("h/0", fan_out=seen)
    fleet.join("h/1", fan_out=said)
    to_all(fleet)
    messages = [frames for _, frames in fleet.to_workers if frames[0] == bus.ALL1]
    assert [bus.decode_fan_out(frames).number for frames in messages] == [seen + 1] * 2
