"""Deadlines: none early, none late, none twice."""

from hypothesis import given
from hypothesis import strategies as st

from router.deadlines import PER_SECOND, Deadlines


class Thing:
    tick = 0


@given(
    st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=50),
    st.lists(st.floats(0, 2), min_size=1, max_size=40),
)
def test_due_once_in_time_unless_removed(deadlines: list[tuple[float, bool]], steps: list[float]) -> None:
    table: Deadlines[Thing] = Deadlines()
    filed = {Thing(): each for each in deadlines}
    for thing, (deadline, _) in filed.items():
        table.add(thing, deadline)
    for thing, (_, removed) in filed.items():
        if removed:
            table.remove(thing)
    now, due = 0.0, set()
    for step in steps:
        now += step
        assert table.next() is None or table.next() >= 0
        for thing in table.due(now):
            assert filed[thing][0] <= now
            assert thing not in due
            due.add(thing)
        for thing, (deadline, removed) in filed.items():
            if not removed and deadline + 1 / PER_SECOND <= now:
                assert thing in due
            assert not (removed and thing in due)


def test_removing_what_was_due_is_harmless() -> None:
    table: Deadlines[Thing] = Deadlines()
    thing = Thing()
    table.add(thing, 1.0)
    assert table.next() == 1.0
    assert table.due(1.0) == [thing]
    table.remove(thing)
    assert table.next() is None
