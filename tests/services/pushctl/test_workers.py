"""How workers are named on the command line."""

from pathlib import Path

import click
import pytest

from services.fleet.supervisors import Program
from services.pushctl.workers import number_of, worker_index
from shared.settings import Settings

SETTINGS = Settings(host_name="here")


@pytest.mark.parametrize(("name", "index"), [("here/1", 1), ("gateway-12", 12), ("0", 0)])
def test_names(name: str, index: int) -> None:
    assert worker_index(SETTINGS, name) == index


@pytest.mark.parametrize("name", ["", "x", "here/", "here/x", "gateway-", "router-0", "-1", "١"])
def test_no_names(name: str) -> None:
    with pytest.raises(click.UsageError, match="is no worker: expected here/1, gateway-1 or 1"):
        worker_index(SETTINGS, name)


def test_worker_of_another_host() -> None:
    with pytest.raises(click.UsageError, match="worker there/1 is not of this host, which is here"):
        worker_index(SETTINGS, "there/1")


@pytest.mark.parametrize(("name", "number"), [("gateway-3", 3), ("router-0", 0), ("status", 0)])
def test_numbers_of_programs(name: str, number: int) -> None:
    assert number_of(Program(name, "", 0, "", 0, 0, Path())) == number
