from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from gateway.timer_wheel import TimerWheel


def record(fd):
    return SimpleNamespace(fd=fd, deadline=0, scheduled=0)


def due(wheel, tick, table):
    return [one.fd for one in wheel.advance(tick, table)]


def test_a_record_is_reported_at_its_deadline_once():
    wheel, one = TimerWheel(100), record(3)
    table = [None] * 3 + [one]
    wheel.schedule(one, 105)
    assert due(wheel, 104, table) == []
    assert due(wheel, 105, table) == [3]
    assert due(wheel, 700, table) == []


def test_activity_moves_a_deadline_without_work():
    wheel, one = TimerWheel(0), record(0)
    wheel.schedule(one, 10)
    for tick in range(1, 30):
        assert due(wheel, tick, [one]) == []
        wheel.schedule(one, tick + 10)
    assert due(wheel, 39, [one]) == [0]


def test_a_deadline_may_come_nearer():
    wheel, one = TimerWheel(0), record(0)
    wheel.schedule(one, 600)
    wheel.schedule(one, 3)
    assert due(wheel, 3, [one]) == [0]
    assert due(wheel, 600, [one]) == []


def test_a_deadline_in_the_past_is_the_next_tick():
    wheel, one = TimerWheel(50), record(0)
    wheel.schedule(one, 20)
    assert due(wheel, 51, [one]) == [0]


def test_a_descriptor_that_was_closed_is_not_reported():
    wheel, one = TimerWheel(0), record(0)
    wheel.schedule(one, 2)
    assert due(wheel, 5, [None]) == []
    assert due(wheel, 6, []) == []


def test_the_next_owner_of_a_descriptor_has_its_own_deadline():
    wheel, old, new = TimerWheel(0), record(0), record(0)
    wheel.schedule(old, 5)
    wheel.schedule(new, 8)
    assert due(wheel, 7, [new]) == []
    assert due(wheel, 8, [new]) == [0]


def test_one_that_is_reported_can_be_scheduled_at_once():
    wheel, one = TimerWheel(0), record(0)
    wheel.schedule(one, 2)
    seen = []
    for reported in wheel.advance(9, [one]):
        seen.append((wheel.tick, reported.fd))
        wheel.schedule(reported, wheel.tick + 3)
    assert seen == [(2, 0), (5, 0), (8, 0)]


class Naive:
    """Looks at every deadline at every tick."""

    def __init__(self):
        self.tick, self.deadlines = 0, {}

    def advance(self, tick):
        reported = []
        while self.tick < tick:
            self.tick += 1
            late = sorted(fd for fd, deadline in self.deadlines.items() if deadline <= self.tick)
            for fd in late:
                del self.deadlines[fd]
            reported += [(self.tick, fd) for fd in late]
        return reported


steps = st.lists(
    st.tuples(st.just("schedule"), st.integers(0, 4), st.integers(-3, 40))
    | st.tuples(st.just("replace"), st.integers(0, 4), st.integers(1, 40))
    | st.tuples(st.just("close"), st.integers(0, 4), st.just(0))
    | st.tuples(st.just("advance"), st.integers(0, 25), st.just(0)),
    max_size=60,
)


@given(steps)
def test_the_wheel_agrees_with_a_naive_one(steps):
    wheel, naive = TimerWheel(0), Naive()
    table = [record(fd) for fd in range(5)]
    for step, number, seconds in steps:
        if step == "schedule" and table[number] is not None:
            wheel.schedule(table[number], wheel.tick + seconds)
            naive.deadlines[number] = naive.tick + seconds
        elif step == "replace":  # closed, and the descriptor is given out again
            table[number] = record(number)
            wheel.schedule(table[number], wheel.tick + seconds)
            naive.deadlines[number] = naive.tick + seconds
        elif step == "close":
            table[number] = None
            naive.deadlines.pop(number, None)
        elif step == "advance":
            reported = [(wheel.tick, one.fd) for one in wheel.advance(wheel.tick + number, table)]
            assert sorted(reported) == sorted(naive.advance(naive.tick + number))


def test_entries_do_not_pile_up_under_steady_activity():
    wheel, one = TimerWheel(0), record(0)
    for tick in range(1, 2000):
        list(wheel.advance(tick, [one]))
        for _ in range(10):
            wheel.schedule(one, tick + 600)
    assert sum(map(len, wheel._buckets.values())) == 1
