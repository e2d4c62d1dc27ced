"""shared/durations.py: buckets, and what other processes may say of theirs."""

import pytest

from shared.durations import BOUNDS_S, Durations, checked_durations


def test_each_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    durations = Durations()
    durations.add(BOUNDS_S[0])
    durations.add(BOUNDS_S[0] * 1.01, 3)
    durations.add(BOUNDS_S[-1] + 1, 2)
    assert durations.counts[:2] == [1, 3]
    assert durations.counts[-1] == 2
    assert sum(durations.counts) == 6
    assert durations.fields()["total_s"] == pytest.approx(BOUNDS_S[0] * 4.03 + 2 * (BOUNDS_S[-1] + 1))


def test_what_was_said_comes_through() -> None:
    durations = Durations()
    durations.add(0.2, 7)
    assert checked_durations(durations.fields()) == durations.fields()


@pytest.mark.parametrize(
    "said",
    [None, [], {}, {"counts": [1]}, {"counts": ["x"] * 16, "total_s": 1}, {"counts": [-1] * 16, "total_s": 1}],
)
def test_nonsense_counts_nothing(said: object) -> None:
    assert checked_durations(said) == Durations().fields()


@pytest.mark.parametrize("total", ["x", -1.0, float("nan"), float("inf"), None])
def test_a_sum_that_is_none_is_zero(total: object) -> None:
    assert checked_durations({"counts": [1] * 16, "total_s": total}) == {"counts": [1] * 16, "total_s": 0.0}
