import pytest

from gateway.topics import Topics
from shared.calls import Topic
from shared.errors import BusError

FP, GC = Topic(9, 16), Topic(9, 21)


def test_the_first_router_that_has_a_service_is_asked():
    topics = Topics()
    assert topics.router_for(FP, [0, 1]) is None
    topics.told(1, [[9, 16, False]])
    assert topics.router_for(FP, [0, 1]) == 1
    topics.told(0, [[9, 16, False], [9, 21, True]])
    assert topics.router_for(FP, [0, 1]) == 0
    assert topics.router_for(FP, [1]) == 1
    assert topics.router_for(GC, [1]) is None


def test_what_a_router_tells_replaces_what_it_told():
    topics = Topics()
    topics.told(0, [[9, 16, False]])
    topics.told(0, [[9, 21, False, "of a newer version"]])
    assert (topics.router_for(FP, [0]), topics.router_for(GC, [0])) == (None, 0)
    topics.forget(0)
    topics.forget(0)
    assert topics.router_for(GC, [0]) is None


def test_who_may_be_asked_twice():
    topics = Topics()
    topics.told(0, [[9, 16, False]])
    topics.told(1, [[9, 16, True], [9, 21, False]])
    assert topics.is_idempotent(FP)
    assert not topics.is_idempotent(GC)
    assert not topics.is_idempotent(Topic(9, 99))


@pytest.mark.parametrize("listed", [None, 5, "x", [5], [[]], [[9]], [[9, 16]], [["a", 1, True]], [[None, 1, True]]])
def test_topics_that_are_none_change_nothing(listed):
    topics = Topics()
    topics.told(0, [[9, 16, False]])
    with pytest.raises(BusError):
        topics.told(0, listed)
    assert topics.router_for(FP, [0]) == 0
