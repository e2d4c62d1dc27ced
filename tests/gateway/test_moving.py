"""When clients move: behind every router's fence; and who is waited for."""

import pytest

from gateway.hand_over_messages import Moved
from shared import bus, bus_rings
from shared.bus import NEWS1, READY1, STALE
from shared.outcomes import Outcome
from shared.rings import Epoch
from tests.gateway.parts import busy, token_of, turns, until
from tests.gateway.test_landing import here, moving_token, settled, tell

A, B, C = "h/0", "h/1", "h/2"


@pytest.fixture
def two(worker):
    """Two workers and two routers, which both have told that the first worker is alone in the ring."""
    made = [worker(A, routers=2), worker(B, routers=2)]
    for parts in made:
        parts.alive(1)
        for router in range(2):
            parts.ring(1, [made[0]], router=router)
    turns()
    return made


# --- fences


def test_a_client_moves_when_every_router_has_told_the_ring(two):
    one, other = two
    token = moving_token()
    end, _ = one.bound(token)
    for router in range(2):
        other.ring(2, two, router=router)
    one.ring(2, two)
    turns()
    assert one.push((token, b"1"), router=1) == [Outcome.SENT]  # routed by the ring before
    one.advance()
    turns()
    assert here(one, token)
    assert one.landing.moving.told != (1, 2)
    one.ring(2, two, router=1)
    until(lambda: here(other, token))
    settled(*two)
    assert other.push((token, b"2")) == [Outcome.SENT]
    assert [end.packet().body for _ in range(2)] == [b"1", b"2"]


def test_a_router_that_falls_silent_is_not_waited_for(two):
    one, other = two
    token = moving_token()
    one.bound(token)
    for router in range(2):
        other.ring(2, two, router=router)
    one.ring(2, two)
    one.advance(2, silent=[1])
    turns()
    assert here(one, token)
    one.advance(silent=[1])
    until(lambda: here(other, token))
    assert one.push((token, b"late"), router=1) == [STALE]


def test_a_router_that_lives_and_never_tells_it_is_not_waited_for_for_ever(worker):
    one, other = (worker(name, routers=2, move_timeout_s=4) for name in (A, B))
    for parts in (one, other):
        parts.alive(1)
    tell(1, [one])
    one.ring(1, [one], router=1)
    token = moving_token()
    one.bound(token)
    one.ring(2, [one, other])
    other.ring(2, [one, other])
    one.advance(3)
    turns()
    assert here(one, token)
    one.advance()
    until(lambda: here(other, token))


def test_a_leaving_worker_is_out_when_every_router_has_told_so(two):
    one, other = two
    for parts in two:
        for router in range(2):
            parts.ring(2, two, router=router)
    settled(*two)
    token = token_of(A, [A, B])
    one.bound(token)
    one.landing.leaving = True
    one.ring(3, [other], [one])
    one.advance()
    turns()
    assert not one.landing.out
    assert here(one, token)
    for router in range(2):
        other.ring(3, [other], [one], router=router)
    one.ring(3, [other], [one], router=1)
    assert one.landing.out
    until(lambda: here(other, token))


# --- rings of several routers


def news(parts, router):
    """Counters of the epochs that NEWS1 told a router."""
    return [body["epoch"][1] for body in parts.heard(NEWS1, router=router)]


def test_the_greatest_ring_is_followed_and_told_to_those_that_have_not_told_it(two):
    one, _ = two
    assert (news(one, 0), news(one, 1)) == ([], [1])
    one.ring(3, two, router=1)
    assert one.ownership.epoch == Epoch(1, 3)
    assert (news(one, 0), news(one, 1)) == ([3], [1])
    (told,) = [body for body in one.heard(NEWS1) if body["epoch"] == [1, 3]]
    assert bus_rings.ring_from_fields(told) == one.ownership.news
    one.ring(3, two)
    assert news(one, 0) == [3]


def test_a_router_that_tells_an_older_ring_is_told_the_newer(two):
    one, _ = two
    one.ring(3, two)
    one.ring(2, two, router=1)
    assert one.ownership.epoch == Epoch(1, 3)
    assert news(one, 1)[-2:] == [3, 3]


def test_a_router_that_was_silent_is_told_who_this_is(two):
    one, _ = two
    before = len(one.heard(READY1, router=1))
    one.advance(3, silent=[1])
    one.ring(2, two, router=1)
    (ready,) = one.heard(READY1, router=1)[before:]
    assert ready["routers"] == [0, 1]
    one.advance()
    assert len(one.heard(READY1, router=1)) == before + 1
    one.advance(3, silent=[1])
    one.hear(bus.encode_control(bus.WHO1, {}), 1)
    assert len(one.heard(READY1, router=1)) == before + 2


# --- whose MOVED is waited for


def test_a_worker_of_which_no_process_lives_has_nothing_to_give(worker):
    one, other = worker(A), worker(B)
    gone = set()
    other.landing.moving.is_gone = gone.__contains__
    token = moving_token()
    other.ring(2, [other], [one])
    assert other.push((token, b"x")) == [bus.HELD]
    other.advance(2)
    assert other.late() == []
    gone.add(A)
    other.advance()
    assert other.late() == []  # what it has said last may wait to be read
    other.advance()
    assert other.late() == [(1, 0, Outcome.OFFLINE)]
    assert other.counters["moves_timed_out"] == 0


def test_one_that_is_back_at_the_second_look_is_waited_for(worker):
    one, other = worker(A), worker(B)
    looks = iter([True, False, True, False])
    other.landing.moving.is_gone = lambda name: next(looks)
    other.ring(2, [other], [one])
    assert other.push((moving_token(), b"x")) == [bus.HELD]
    other.advance(4)
    assert other.late() == []


def test_only_workers_of_this_host_are_asked_after(worker):
    one, far = worker(A), worker("g/0")
    asked = []
    one.landing.moving.is_gone = lambda name: bool(asked.append(name))
    one.ring(2, [one, far])
    one.advance(4)
    assert asked == []


def test_a_worker_that_calls_is_told_moved_once_more(worker):
    """It may have started after it was said."""
    one, other = worker(A), worker(B)
    one.ring(2, [one, other])
    until(lambda: one.landing.moving.told == (1, 2))
    said = []

    class Link:
        send = staticmethod(said.append)

    one.landing.moving.greeted(Link)
    assert said == [Moved(A, Epoch(1, 2))]
    one.ring(3, [one, other])
    one.landing.moving.greeted(Link)
    assert len(said) == 1


def test_moved_reaches_one_that_has_just_started(worker):
    """The first MOVED went to a predecessor that is no more."""
    one, other = worker(A), worker(B)
    other.listener.close()
    one.ring(2, [one, other])
    until(lambda: one.landing.moving.told == (1, 2))
    other.listener.__init__(other.listener._path, other.landing.receive, other.landing.lost)
    other.ring(2, [one, other])
    settled(other)
    assert other.push((token_of(B, [A, B]), b"x")) == [Outcome.OFFLINE]


# --- STALE


def test_a_push_for_a_token_of_another_is_stale(two):
    one, _ = two
    token = moving_token()
    assert one.push((token, b"x")) == [Outcome.OFFLINE]
    one.ring(2, two)
    assert one.push((token, b"x"), (b"", b"y"), (token, b"z")) == [STALE, Outcome.REFUSED, STALE]
    assert one.counters["pushes_stale"] == 2


def test_a_push_for_a_client_that_was_given_away_is_stale(worker):
    one, other = worker(A), worker(B)
    tell(1, [one])
    token = moving_token()
    one.bound(token)
    with busy(other):
        one.ring(2, [one, other])
        until(lambda: one.landing.hand_overs._under_way)
        assert one.push((token, b"x")) == [STALE]
        other.ring(2, [one, other])
    settled(one, other)


def test_a_router_of_an_older_version_is_told_unavailable(worker):
    one, other = worker(A, routers=2), worker(B)
    one.ring(1, [other], router=1)
    token = token_of(B, [A, B])
    one.ring(2, [one], [other], router=1)
    assert one.push((token, b"x"), router=1) == [bus.HELD]
    one.ring(3, [one, other], router=1)
    assert one.late(1) == [(1, 0, Outcome.UNAVAILABLE)]
    assert one.push((token, b"x"), router=1) == [Outcome.UNAVAILABLE]
    one.alive(1)
    assert one.push((token, b"x"), router=1) == [STALE]


# --- answers go back where the question came from


def test_batches_of_several_routers_may_have_the_same_numbers(two):
    one, other = two
    for router in range(2):
        other.ring(2, two, router=router)
    token = moving_token()
    for router in range(2):
        other.batches = 6
        assert other.push((token, b"%d" % router), router=router) == [bus.HELD]
    for router in range(2):
        one.ring(2, two, router=router)
    settled(*two)
    assert other.late(0) == other.late(1) == [(7, 0, Outcome.OFFLINE)]


def test_calls_are_answered_to_the_router_that_asked(two):
    one, _ = two
    one.bound(b"alice")
    one.hear(bus.encode_numbered(bus.CALL1, 5, {"call": "find", "tokens": ["alice"]}), 1)
    assert [number for number, _ in one.heard(bus.REPLY1, bus.decode_numbered, 1)] == [5]
    assert one.heard(bus.REPLY1, bus.decode_numbered, 0) == []


def test_beats_go_to_all_and_tell_who_is_heard(two):
    one, _ = two
    one.advance(3, silent=[1])
    one.handlers.say_beat()
    for router in range(2):
        assert one.heard(bus.BEAT1, router=router)[-1]["routers"] == [0]
    one.handlers.say_leaving()
    one.handlers.say_gone()
    for router in range(2):
        assert one.heard(bus.BYE1, router=router) == [{"leaving": True}, {"gone": True}]
