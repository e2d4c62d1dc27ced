import pytest

from gateway.router_links import RouterLinks
from tests.gateway.parts import Said


class Routers(RouterLinks):
    """Three routers, and a clock."""

    def __init__(self, heartbeat_ms=1000):
        self.now = 100
        self.said = [Said() for _ in range(3)]
        super().__init__(self.said, lambda: self.now, heartbeat_ms)


def test_at_first_nobody_is_heard():
    routers = Routers()
    assert (len(routers), routers.heard, routers.positions) == (3, [], [])


@pytest.mark.parametrize(("heartbeat_ms", "silence"), [(50, 1), (500, 1), (1000, 2), (1001, 3), (5000, 10)])
def test_who_is_silent_for_two_heartbeats_is_not_heard(heartbeat_ms, silence):
    routers = Routers(heartbeat_ms)
    routers.note(1)
    routers.now += silence
    assert routers.heard == [1]
    routers.now += 1
    assert routers.heard == []


def test_one_that_comes_back_is_told_apart_from_one_that_comes():
    routers = Routers()
    assert not routers.note(0)
    routers.now += 2
    assert not routers.note(0)
    routers.now += 3
    assert routers.note(0)
    assert not routers.note(0)
    assert not routers.note(1)


def test_positions_are_those_that_the_routers_give_themselves():
    routers = Routers()
    routers.note(0)
    routers.note(2)
    routers.alive(2, 7)
    assert routers.positions == [0, 7]
    routers.alive(2, None)
    assert routers.positions == [0, 2]


def test_a_router_that_never_said_alive_does_not_know_stale():
    routers = Routers()
    routers.note(0)
    assert not routers.knows_stale(0)
    routers.alive(0, 0)
    assert routers.knows_stale(0)


def test_sending():
    routers = Routers()
    assert routers.send(1, [b"x"])
    routers.send_all([b"y"])
    assert routers.said == [[[b"y"]], [[b"x"], [b"y"]], [[b"y"]]]
