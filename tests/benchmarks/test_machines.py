"""What is measured and what loads it stay on different cores."""

import os

import pytest

from benchmarks.machines import LOADING_CORE, MEASURED_CORE, describe, on_core

CORES = os.sched_getaffinity(0)


@pytest.mark.skipif(not {LOADING_CORE, MEASURED_CORE} <= CORES, reason="needs two cores")
def test_the_measured_core_within_the_loading_one() -> None:
    with on_core(LOADING_CORE):
        with on_core(MEASURED_CORE):
            assert os.sched_getaffinity(0) == {MEASURED_CORE}
        assert os.sched_getaffinity(0) == {LOADING_CORE}
    assert os.sched_getaffinity(0) == CORES


def test_a_core_that_is_not_there() -> None:
    with on_core(4096):
        assert os.sched_getaffinity(0) == CORES


def test_description() -> None:
    assert all(describe().values())
