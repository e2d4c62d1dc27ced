"""Fixtures: a fleet of the test's own, and one that all tests of a session share."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fleet.fleet_process import Fleet


class StartFleet:
    """Starts fleets with settings by keyword and keeps them for the end of the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.fleets: list[Fleet] = []

    def __call__(self, **settings: Any) -> Fleet:
        self.fleets.append(self._stack.enter_context(Fleet(**settings)))
        return self.fleets[-1]


@pytest.fixture
def start_fleet() -> Iterator[StartFleet]:
    """`start_fleet(workers=8, hello_timeout_s=1)`: a ready fleet of this test's own, stopped and checked after it."""
    with ExitStack() as stack:
        yield StartFleet(stack)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A ready fleet of two workers of this test's own; for tests that kill, stop or overload something."""
    with Fleet() as started:
        yield started


@pytest.fixture(scope="session")
def shared_fleet() -> Iterator[Fleet]:
    """A ready fleet of two workers for all tests that leave it as it was; give tokens names of your own."""
    with Fleet() as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The logs of the fleets of a failed test."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            fleets = value.fleets if isinstance(value, StartFleet) else [value]
            report.sections += [(f"logs of {name}", one.logs()) for one in fleets if isinstance(one, Fleet)]
    return report
