"""Pushes with ttl, wait: acked or collapse, as the router takes them on."""

import ujson

from shared import bus
from shared.outcomes import Outcome
from tests.router.driven_core import DrivenCore, Sent, push2, tokens_of

UNAVAILABLE, UNKNOWN, STORED, ACKED = Outcome.UNAVAILABLE, Outcome.UNKNOWN, Outcome.STORED, Outcome.ACKED


def fleet_of(*workers: str, stores: object = True, **settings: object) -> DrivenCore:
    """Workers that know terms."""
    fleet = DrivenCore(workers=len(workers), **settings)
    for name in workers:
        fleet.join(name, stores=stores)
    return fleet


def one(fleet: DrivenCore) -> Sent:
    (sent,) = fleet.sent()
    return sent


def test_terms_travel_with_their_segment() -> None:
    fleet = fleet_of("h/0")
    fleet.hello(b"news")
    for frames in (
        push2(b"r1", [(b"a", b"1"), (b"b", b"2")], ttl=60, collapse="k", timeout_ms=700),
        push2(b"r2", [(b"a", b"3")]),
        push2(b"r3", [(b"a", b"4")], wait="acked", id="x"),
    ):
        fleet.core.from_sender(b"s1", frames, fleet.now)
    fleet.turn()
    batch = one(fleet).batch
    assert [segment.flags for segment in batch.segments] == [bus.OPTIONS, 0, bus.OPTIONS | bus.REPEATABLE]
    assert batch.terms == [
        bus.Terms(60, False, "k", 700, "news"),
        bus.Terms(0, True, None, 5000, "news"),
    ]


def test_a_worker_is_told_how_long_a_push_has_waited() -> None:
    fleet = fleet_of("h/0")
    fleet.cut.add(b"h/0")
    fleet.push(b"r1", b"a", ttl=5)
    fleet.advance(1.5)
    fleet.cut.clear()
    fleet.join("h/0", "b", stores=True)
    (terms,) = one(fleet).batch.terms
    assert (terms.sender, terms.age_ms) == ("", 1500)


def test_a_worker_that_does_not_know_terms_gets_none() -> None:
    fleet = fleet_of("h/0", stores="yes")
    fleet.push(b"r1", b"a", b"b", ttl=5)
    fleet.push(b"r2", b"a", wait="acked")
    fleet.push(b"r3", b"a")
    assert len(one(fleet).pushes) == 1
    assert [frames[2] for frames in fleet.answers()] == [bytes([UNAVAILABLE] * 2), bytes([UNAVAILABLE])]


def test_of_two_workers_only_the_one_that_knows_terms_gets_them() -> None:
    fleet = DrivenCore(workers=2)
    fleet.join("h/0", stores=True)
    fleet.join("h/1")
    (mine,), (other,) = (tokens_of(name, ["h/0", "h/1"], 1) for name in ("h/0", "h/1"))
    fleet.push(b"r1", other, mine, ttl=5)
    sent = one(fleet)
    assert sent.worker == "h/0"
    fleet.outcomes(sent, bytes([STORED]))
    assert fleet.answer()[2] == bytes([UNAVAILABLE, STORED])


def test_terms_are_part_of_what_an_id_stands_for() -> None:
    fleet = fleet_of("h/0")
    fleet.hello(b"news")
    fleet.push(b"r1", b"a", id="x", ttl=5)
    fleet.push(b"r2", b"a", id="x", ttl=6)
    assert fleet.fault() == "id_reused"


def test_an_acknowledgement_comes_late() -> None:
    fleet = fleet_of("h/0")
    fleet.push(b"r1", b"a", b"b", wait="acked")
    sent = one(fleet)
    fleet.outcomes(sent, bytes([bus.KEPT, bus.KEPT]))
    fleet.late(sent, (1, ACKED))
    assert not fleet.answers()
    fleet.late(sent, (0, 0))
    assert fleet.answer()[2] == bytes([0, ACKED])
    assert not fleet.core.parts.membership.workers[b"h/0"].kept


def test_held_then_kept_then_acknowledged() -> None:
    fleet = fleet_of("h/0")
    fleet.push(b"r1", b"a", wait="acked", ttl=5)
    sent = one(fleet)
    fleet.outcomes(sent, bytes([bus.HELD]))
    worker = fleet.core.parts.membership.workers[b"h/0"]
    assert worker.held
    fleet.late(sent, (0, bus.KEPT))
    assert worker.kept
    assert not worker.held
    fleet.late(sent, (0, ACKED))
    assert fleet.answer()[2] == bytes([ACKED])
    assert not worker.kept


def test_what_is_in_its_place_parks_nothing() -> None:
    fleet = fleet_of("h/0")
    token = tokens_of("h/1", ["h/0", "h/1"], 1)[0]
    fleet.push(b"r1", token, wait="acked")
    kept = one(fleet)
    fleet.outcomes(kept, bytes([bus.KEPT]))
    fleet.join("h/1", stores=True)
    fleet.push(b"r2", token)
    assert one(fleet).worker == "h/1"
    fleet.late(kept, (0, bus.STALE))  # nonsense
    assert fleet.core.counters["bus_errors"] == 1
    fleet.late(kept, (0, ACKED))
    assert fleet.answer()[2] == bytes([ACKED])


def test_a_held_one_that_comes_back_takes_its_terms_along() -> None:
    fleet = fleet_of("h/0")
    token = tokens_of("h/1", ["h/0", "h/1"], 1)[0]
    fleet.push(b"r1", token, ttl=60, collapse="k")
    held = one(fleet)
    fleet.outcomes(held, bytes([bus.HELD]))
    fleet.join("h/1", stores=True)
    fleet.late(held, (0, bus.STALE))
    again = one(fleet)
    assert (again.worker, again.batch.terms[0].collapse) == ("h/1", "k")


def test_the_router_waits_a_moment_longer_than_the_worker_for_an_acknowledgement() -> None:
    fleet = fleet_of("h/0")
    fleet.push(b"r1", b"a", wait="acked", timeout_ms=500)
    sent = one(fleet)
    fleet.outcomes(sent, bytes([bus.KEPT]))
    fleet.advance(0.9)
    assert not fleet.answers()
    fleet.advance(0.7)
    assert fleet.answer()[2] == bytes([UNKNOWN])


def test_a_lost_worker_leaves_what_was_kept_unknown() -> None:
    fleet = fleet_of("h/0")
    fleet.push(b"r1", b"a", b"b", wait="acked")
    fleet.outcomes(one(fleet), bytes([bus.KEPT, bus.HELD]))
    fleet.join("h/0", "b", stores=True)
    assert fleet.answer()[2] == bytes([UNKNOWN, UNKNOWN])


def test_the_sender_is_told_what_was_dropped() -> None:
    fleet = fleet_of("h/0")
    fleet.hello(b"news")
    fleet.push(b"r1", b"a", b"b", ttl=60, id="x")
    sent = one(fleet)
    fleet.outcomes(sent, bytes([bus.HELD, bus.HELD]))
    fleet.say("h/0", bus.encode_numbered(bus.DETAIL1, sent.batch.number, {"dropped": {"1": 3}}))
    fleet.late(sent, (0, STORED), (1, STORED))
    answer = fleet.answer()
    assert (answer[2], ujson.loads(answer[3])) == (bytes([STORED, STORED]), {"dropped": {"1": 3}})
    fleet.push(b"r2", b"a", b"b", ttl=60, id="x")
    assert ujson.loads(fleet.answer()[3]) == {"dropped": {"1": 3}}


def test_a_detail_that_makes_no_sense_is_counted() -> None:
    fleet = fleet_of("h/0")
    fleet.push(b"r1", b"a", ttl=60)
    sent = one(fleet)
    fleet.outcomes(sent, bytes([bus.HELD]))
    for body in ({}, {"dropped": {"x": 1}}, {"dropped": {"7": 1}}):
        fleet.say("h/0", bus.encode_numbered(bus.DETAIL1, sent.batch.number, body))
    assert fleet.core.counters["bus_errors"] == 3
    fleet.say("h/0", bus.encode_numbered(bus.DETAIL1, 99, {"dropped": {"0": 1}}))
    assert fleet.core.counters["bus_strays"] == 1
