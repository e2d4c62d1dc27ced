"""A fleet that the tests of clients and of pushctl share."""

from collections.abc import Iterator

import pytest

from tests.fleet.fleet_process import Fleet


@pytest.fixture(scope="session")
def running_fleet() -> Iterator[Fleet]:
    """Ready, with the status service. Give tokens names of your own."""
    with Fleet(status=True) as started:
        yield started
