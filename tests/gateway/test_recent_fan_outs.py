"""gateway/recent_fan_outs.py, and who gets what is kept there: clients that move, or have joined a group lately."""

import time

import pytest

from gateway.connections import Connection
from gateway.groups import Groups
from gateway.membership_asks import JOINED
from gateway.recent_fan_outs import RecentFanOuts, Running
from shared.bus import REPEATABLE, FanOut, Segment, Target
from shared.rings import Epoch
from tests.gateway.test_deliveries import bind, read
from tests.gateway.test_memberships import CARRIED, TEAM, Service, push, regroup

USER = Target("uid", "alice")


def running(number, target=None, router=0, flags=0, payload=b"x"):
    segment = Segment(1, flags, bytes([number]) * 16, 4, 0)
    return Running(router, FanOut(Epoch(1, 1), number, segment, payload, target), 0, 0.0, [], ())


def numbers(found):
    return [one.fan_out.number for one in found]


@pytest.fixture
def recent():
    made = RecentFanOuts()
    for number, target in enumerate([TEAM, None, USER, Target("group", "others"), None, TEAM], 1):
        made.add(running(number, target))
    return made


def test_who_may_have_missed_what(recent):
    groups, nobody, member = Groups(), Connection(3, ""), Connection(4, "")
    member.uid = "alice"
    groups.bound(member, ["team"])
    assert numbers(recent.missed_by(nobody, groups)) == [2, 5]
    assert numbers(recent.missed_by(member, groups)) == [1, 2, 3, 5, 6]
    member.fan_out_seen = (3,)
    assert numbers(recent.missed_by(member, groups)) == [5, 6]
    groups.unknown.add(nobody)
    assert numbers(recent.missed_by(nobody, groups)) == [1, 2, 4, 5, 6]


def test_they_are_found_by_number_and_by_what_is_repeated():
    recent = RecentFanOuts()
    one, other = running(1, flags=REPEATABLE), running(1, router=1)
    recent.add(one)
    recent.add(other)
    assert (recent.numbered(0, 1), recent.numbered(1, 1), recent.numbered(0, 2)) == (one, other, None)
    assert recent.copied_by(running(1, flags=REPEATABLE).fan_out) is one
    assert recent.copied_by(running(1).fan_out) is None


def test_nothing_is_left_of_one_that_is_forgotten(recent):
    forgotten = []
    recent.forget(100, None, forgotten.append)
    assert numbers(forgotten) == [1, 2, 3, 4, 5, 6]
    assert not len(recent)
    assert not recent.missed_by(Connection(3, ""), Groups())
    assert recent.numbered(0, 1) is None
    assert not recent._by_target


def test_a_join_is_remembered_for_a_moment():
    groups, client = Groups(), Connection(3, "")
    groups.bound(client)
    groups.join(client, "team", 10.0)
    groups.join(client, "team", 12.0)  # told twice
    assert (groups.joined_at(client, "team"), groups.joined_at(client, "others")) == (10.0, 0)
    groups.leave(client, "team")
    groups.join(client, "team", 15.0)
    assert groups.joins_of(client) == {"team": 15.0}
    groups.forget_joins(15.0)
    assert groups.joined_at(client, "team") == 15.0
    groups.forget_joins(16.0)
    assert groups.joined_at(client, "team") == 0


def test_who_joins_elsewhere_behind_a_push_and_then_moves_does_not_get_it(worker):
    """Its worker had no member, and so never had the push."""
    one, other = worker(), worker("h/1")
    one.ring(1, [one, other])
    Service(one).serve()
    service = Service(other)
    service.serve()
    push(other, 1, b"old")
    _, connection = bind(one, b"a")
    regroup(one, tokens=["a"])
    one.landing.pack(connection)
    assert connection.extra[CARRIED] == ["team"]
    push(other, 2, b"new")
    end, arrived = other.connect()
    arrived.protocol, arrived.extra = 2, connection.extra
    other.loop.table.bind(arrived, b"a")
    other.fan_outs.catch_up(arrived)
    assert read(end, 2) == b"new"
    assert end.quiet()


@pytest.mark.parametrize("said", ["x", {"team": "x"}, {1: 2.0}, {"team": None}])
def test_joins_in_a_record_that_are_none(worker, said):
    one = worker()
    one.ring(1, [one])
    _, arrived = one.connect()
    arrived.extra = {JOINED: said}
    one.loop.table.bind(arrived, b"a")
    assert arrived.extra is None
    assert not one.fan_outs.groups.joins_of(arrived)


def test_a_join_moves_on_with_its_client(worker):
    one = worker()
    one.ring(1, [one])
    joined = {"team": time.monotonic()}
    _, arrived = one.connect()
    arrived.extra = {CARRIED: ["team"], JOINED: joined}
    one.loop.table.bind(arrived, b"a")
    one.landing.pack(arrived)
    assert arrived.extra[JOINED] == joined
