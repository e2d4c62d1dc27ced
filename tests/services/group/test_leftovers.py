"""What dismissed groups leave behind is removed without anybody waiting."""

import logging
import threading
from collections.abc import Iterator

import pytest

from services.group.leftovers import Leftovers
from shared.errors import StorageUnavailable
from tests.fleet.processes import wait_until


def steps(number: int, done: list[str], name: str) -> Iterator[None]:
    for _ in range(number):
        done.append(name)
        yield


def test_steps_are_taken_by_another_thread_in_order() -> None:
    done: list[str] = []
    with Leftovers() as leftovers:
        leftovers.add(steps(3, done, "a"))
        leftovers.add(steps(2, done, "b"))
        wait_until(lambda: len(done) == 5, "all steps")
    assert done == ["a", "a", "a", "b", "b"]


def test_the_end_does_not_wait_for_all() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def endless() -> Iterator[None]:
        while True:
            begun.set()
            assert go_on.wait(20)
            done.append(1)
            yield

    with Leftovers() as leftovers:
        leftovers.add(endless())
        assert begun.wait(20)
        threading.Timer(0.05, go_on.set).start()
    assert done


def test_over_the_bound_whoever_comes_does_it() -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> Iterator[None]:
        begun.set()
        assert go_on.wait(20)
        yield

    with Leftovers(most=1) as leftovers:
        leftovers.add(slow())
        assert begun.wait(20)
        leftovers.add(steps(1, done, "waits"))
        leftovers.add(steps(2, done, "now"))
        assert done == ["now", "now"]
        go_on.set()
        wait_until(lambda: "waits" in done, "what waited")


def test_a_failure_costs_those_steps_only(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def fails(error: Exception) -> Iterator[None]:
        yield
        raise error

    with caplog.at_level(logging.WARNING), Leftovers() as leftovers:
        leftovers.add(fails(StorageUnavailable("away")))
        leftovers.add(fails(ZeroDivisionError()))
        leftovers.add(steps(1, done, "a"))
        wait_until(lambda: done, "the next steps")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
