"""`pushctl simulate` becomes the simulator; what that does is tested in tests/simulator."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from services.pushctl import simulations
from services.pushctl.main import main


class Replaced(Exception):
    """In place of the process."""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def execv(path: str, arguments: list[str]) -> None:
        found.extend([path, arguments, os.environ["PYTHONPATH"]])
        raise Replaced

    monkeypatch.setattr(simulations.os, "execv", execv)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    return found


def test_arguments_go_through(executed: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "simulator").mkdir()
    monkeypatch.setattr(simulations, "_ROOT", tmp_path)
    done = CliRunner().invoke(main, ["simulate", "--seeds", "1..9", "--bug", "fence", "--trace", "--json"])
    assert isinstance(done.exception, Replaced)
    arguments = [sys.executable, "-m", "simulator", "--seeds", "1..9", "--bug", "fence", "--trace", "--json"]
    assert executed == [sys.executable, arguments, f"{tmp_path}{os.pathsep}elsewhere"]


def test_without_a_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(simulations, "_ROOT", tmp_path)
    monkeypatch.setattr(simulations, "_MODULE", "no_such_simulator")
    done = CliRunner().invoke(main, ["simulate"])
    assert done.exit_code == 1
    assert done.stderr == f"pushctl: the simulator is neither installed nor in {tmp_path}\n"
