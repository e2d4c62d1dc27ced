"""Several routers: who decides, who follows, and how little changes."""

from hypothesis import given
from hypothesis import strategies as st

from router.epochs import Epochs
from shared import bus, bus_rings
from shared.bus_rings import RingNews
from shared.rings import Epoch
from tests.router.driven_core import STARTED_MS, DrivenCore

BOTH = {"h/0": "/run/h/0.sock", "h/1": "/run/h/1.sock"}
GREATER = Epoch(STARTED_MS + 5, 7)


def ring(epoch: Epoch = GREATER, **live: str) -> dict[str, object]:
    return bus_rings.ring_fields(RingNews(epoch, live or dict(BOTH), {}))


def news(fleet: DrivenCore, worker: str, body: dict[str, object]) -> None:
    fleet.say(worker, bus.encode_control(bus.NEWS1, body))


def beat(fleet: DrivenCore, worker: str, *routers: int) -> None:
    known = list(fleet.core.parts.membership.epoch)
    fleet.say(worker, bus.encode_control(bus.BEAT1, {"epoch": known, "routers": routers}))


def epoch(fleet: DrivenCore) -> Epoch:
    return fleet.core.parts.membership.epoch


def follower(*workers: str) -> DrivenCore:
    """A router of position 1 that has heard nothing of the one that decides but that it is there."""
    fleet = DrivenCore(position=1, routers=2, workers=2)
    for name in workers:
        fleet.join(name, routers=[0, 1])
    return fleet


def test_a_follower_waits_for_the_ring_of_the_one_that_decides_and_repeats_it() -> None:
    fleet = follower("h/0", "h/1")
    fleet.push(b"r", b"a", timeout_ms=60_000)
    fleet.advance(1)
    assert fleet.rings("h/0") == []
    news(fleet, "h/0", ring())
    assert fleet.rings("h/0") == fleet.rings("h/1") == [RingNews(GREATER, BOTH, {})]
    (sent,) = fleet.sent()
    assert sent.batch.epoch == GREATER


def test_a_follower_begins_no_epoch_of_its_own() -> None:
    fleet = follower("h/0", "h/1")
    news(fleet, "h/0", ring())
    fleet.join("h/2", routers=[1, 0])
    fleet.say("h/1", bus.encode_control(bus.BYE1, {"leaving": True}))
    fleet.cut.add(b"h/0")
    for _ in range(60):
        fleet.advance(0.5)
        for name in ("h/1", "h/2"):
            beat(fleet, name, 0, 1)
    assert epoch(fleet) == GREATER
    assert fleet.rings("h/2")[-1].live == BOTH
    after = Epoch(GREATER.started_ms, 9)
    news(fleet, "h/2", ring(after, **{"h/2": "x"}))
    assert [found.epoch for found in fleet.rings("h/1")] == [GREATER, after]
    news(fleet, "h/1", ring())  # it lags behind, and is told
    assert fleet.rings("h/1")[-1].epoch == after


def test_when_nobody_hears_the_one_that_decides_the_next_one_does() -> None:
    fleet = follower("h/0", "h/1")
    news(fleet, "h/0", ring())
    beat(fleet, "h/0", 1)
    fleet.join("h/2", routers=[0, 1])
    assert epoch(fleet) == GREATER
    beat(fleet, "h/2", 1)
    beat(fleet, "h/1", 1)
    assert fleet.rings("h/0")[-1].live.keys() == {"h/0", "h/1", "h/2"}
    assert epoch(fleet) > GREATER


def test_a_follower_that_decides_now_changes_nothing_if_the_workers_are_the_same() -> None:
    fleet = follower("h/0", "h/1")
    news(fleet, "h/0", ring())
    for name in BOTH:
        beat(fleet, name, 1)
    fleet.ask(b"STAT1", b"r")
    assert b'"role":"decides"' in fleet.answer()[2]
    assert epoch(fleet) == GREATER


def test_a_router_that_comes_up_last_changes_nothing() -> None:
    """Also if its clock was set back, or forth."""
    for seconds in (5, -5):
        present = Epoch(STARTED_MS + 1000 * seconds, 7)
        fleet = DrivenCore(workers=2, ring_settle_ms=1000)
        for name in BOTH:
            fleet.join(name, ring=ring(present), routers=[0])
        assert fleet.rings("h/0") == [RingNews(present, BOTH, {})]
        fleet.advance(0.1)
        assert epoch(fleet) == present


def test_a_router_that_comes_up_while_a_worker_restarts_waits_for_it() -> None:
    fleet = DrivenCore(workers=2, ring_settle_ms=1000, worker_timeout_ms=3000)
    fleet.join("h/0", ring=ring())
    fleet.advance(1.1)
    assert fleet.rings("h/0") == [RingNews(GREATER, BOTH, {})]
    fleet.push(b"r", *[b"t%d" % number for number in range(20)])
    assert {sent.worker for sent in fleet.sent()} == {"h/0"}
    fleet.join("h/1", ring=ring())
    assert {sent.worker for sent in fleet.sent()} == {"h/1"}
    assert epoch(fleet) == GREATER


def test_and_goes_on_without_it_if_it_does_not_come() -> None:
    fleet = DrivenCore(workers=2, ring_settle_ms=1000, worker_timeout_ms=3000)
    fleet.join("h/0", ring=ring())
    for _ in range(11):
        fleet.advance(0.5)
        beat(fleet, "h/0", 0)
    assert fleet.rings("h/0")[-1].live.keys() == {"h/0"}
    assert fleet.rings("h/0")[-1].leaving == {"h/1": "/run/h/1.sock"}


def test_it_waits_for_all_workers_of_the_ring_that_is_followed() -> None:
    fleet = DrivenCore(workers=1, ring_settle_ms=1000)
    fleet.join("h/0", ring=ring())
    assert fleet.rings("h/0") == []
    fleet.join("h/1", ring=ring())
    assert len(fleet.rings("h/0")) == 1


def test_a_ring_of_nobody_is_not_gone_on_from() -> None:
    """No worker came in time; the first that comes tells who else there is, whatever the epochs."""
    for seconds in (5, -5):
        fleet = DrivenCore(workers=1, ring_settle_ms=1000, worker_timeout_ms=3000)
        fleet.advance(2)
        fleet.join("h/0", ring=ring(Epoch(STARTED_MS + 1000 * seconds, 7)))
        assert fleet.rings("h/0")[-1].live == BOTH
        fleet.push(b"r", *[b"t%d" % number for number in range(20)])
        assert {sent.worker for sent in fleet.sent()} == {"h/0"}
        fleet.join("h/1")
        assert {sent.worker for sent in fleet.sent()} == {"h/1"}


def test_those_that_still_have_clients_by_the_ring_that_is_followed_are_told_to_all() -> None:
    fleet = DrivenCore(workers=1, ring_settle_ms=1000, move_timeout_s=10)
    left = {"h/8": "/run/h/8.sock", "h/9": "/run/h/9.sock"}
    fleet.join("h/0", ring=bus_rings.ring_fields(RingNews(GREATER, {"h/0": "elsewhere"}, left)))
    assert fleet.rings("h/0") == [RingNews(GREATER._replace(counter=8), {"h/0": "/run/h/0.sock"}, left, GREATER)]
    fleet.say("h/9", bus.encode_control(bus.BYE1, {"gone": True}))
    assert fleet.rings("h/0")[-1].leaving.keys() == {"h/8"}
    for _ in range(25):
        fleet.advance(0.5)
        beat(fleet, "h/0", 0)
    fleet.join("h/1")
    assert fleet.rings("h/0")[-1].leaving == {}


def test_a_new_router_that_takes_workers_of_other_hosts_waits_for_them_where_nobody_knows_a_ring() -> None:
    fleet = DrivenCore(workers=1, ring_settle_ms=1000, bus_port=7000)
    fleet.join("h/0")
    fleet.advance(0.9)
    assert fleet.rings("h/0") == []
    fleet.join("other/0", ring=ring(GREATER, **{"h/0": "/run/h/0.sock", "other/0": "/run/other/0.sock"}))
    assert len(fleet.rings("h/0")) == 1
    fleet = DrivenCore(workers=1, ring_settle_ms=1000, bus_port=7000)
    fleet.join("h/0")
    fleet.advance(1.1)
    assert len(fleet.rings("h/0")) == 1


def test_workers_of_other_hosts_are_not_those_that_a_new_router_waits_for() -> None:
    fleet = DrivenCore(workers=1, ring_settle_ms=1000)
    fleet.join("other/0")
    assert fleet.rings("other/0") == []
    fleet.join("h/0")
    assert fleet.rings("other/0")[0].live.keys() == {"h/0", "other/0"}


def test_the_one_that_decides_adopts_a_greater_epoch_of_the_same_workers() -> None:
    fleet = DrivenCore("h/0", "h/1")
    news(fleet, "h/1", ring())
    assert fleet.rings("h/0")[-1] == fleet.rings("h/1")[-1] == RingNews(GREATER, BOTH, {})


def test_and_goes_on_from_one_of_others() -> None:
    fleet = DrivenCore("h/0", "h/1")
    news(fleet, "h/1", ring(**{"h/0": "x", "h/9": "y"}))
    assert fleet.rings("h/0")[-1] == RingNews(Epoch(GREATER.started_ms, GREATER.counter + 1), BOTH, {}, GREATER)
    assert b"h/9" not in fleet.core.parts.membership.workers


def test_a_lesser_epoch_is_no_news() -> None:
    fleet = DrivenCore("h/0", "h/1")
    before, told = epoch(fleet), len(fleet.rings("h/1"))
    news(fleet, "h/1", ring(Epoch(1, 1)))
    assert epoch(fleet) == before
    assert len(fleet.rings("h/1")) == told + 1


epochs = st.builds(Epoch, st.integers(0, 3), st.integers(0, 9))
steps = st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.frozensets(st.sampled_from("abc")), st.booleans()))


@given(steps)
def test_no_two_routers_ever_begin_the_same_epoch(script: list[tuple[int, frozenset[str], bool]]) -> None:
    """Whoever believes to decide, with whatever workers: an epoch stands for one ring."""
    routers = [Epochs(10 * position, position, 3) for position in range(3)]
    rings: dict[Epoch, RingNews] = {}
    for position, names, heard in script:
        if heard and rings:
            routers[position].hear(rings[max(rings)])
        before = routers[position].ring
        told = routers[position].next(True, {name: name for name in names}, {}, set())
        if told is not None:
            assert told.epoch > before.epoch
            assert rings.setdefault(told.epoch, told) == told
