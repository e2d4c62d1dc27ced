from hypothesis import given
from hypothesis import strategies as st

from gateway.fences import Fences
from shared.rings import Epoch

E1, E2, E3 = Epoch(1, 1), Epoch(1, 2), Epoch(2, 1)


def test_every_router_that_is_heard_must_have_told_the_ring():
    fences = Fences()
    fences.told(0, E2)
    assert not fences.passed(E2, [0, 1])
    fences.told(1, E1)
    assert fences.behind(E2, [0, 1, 2]) == [1, 2]
    assert not fences.passed(E2, [0, 1])
    fences.told(1, E2)
    assert fences.passed(E2, [0, 1])


def test_a_router_that_is_not_heard_is_not_waited_for():
    fences = Fences()
    fences.told(0, E1)
    assert not fences.passed(E1, [0, 1])
    assert fences.passed(E1, [0])
    assert Fences().passed(E1, [])


def test_a_greater_ring_is_a_fence_for_a_smaller_one():
    fences = Fences()
    fences.told(0, E3)
    assert fences.passed(E2, [0])


def test_what_has_passed_stays_so_whoever_is_heard_later():
    fences = Fences()
    fences.told(0, E1)
    assert fences.passed(E1, [0])
    assert fences.passed(E1, [0, 1])
    assert not fences.passed(E2, [0, 1])


def test_a_router_that_has_started_again_may_tell_an_older_ring():
    fences = Fences()
    fences.told(0, E2)
    fences.told(0, E1)
    assert fences.behind(E2, [0]) == [0]


def test_giving_up():
    fences = Fences()
    fences.give_up(E2)
    assert fences.passed(E2, [0])
    assert not fences.passed(E3, [0])


epochs = st.builds(Epoch, st.integers(1, 2), st.integers(1, 3))


@given(st.lists(st.tuples(st.integers(0, 2), epochs)), epochs, st.sets(st.integers(0, 2)))
def test_it_agrees_with_the_last_words_of_each(told, epoch, heard):
    fences, last = Fences(), {}
    for router, said in told:
        fences.told(router, said)
        last[router] = said
    assert fences.passed(epoch, heard) == all(router in last and last[router] >= epoch for router in heard)
