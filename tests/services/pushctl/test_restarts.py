"""The order of a roll, with steps of the test; tests/fleet/test_rolling_restarts.py has real ones."""

import os
import signal

import pytest

from services.pushctl.faults import FAILED, Fault
from services.pushctl.restarts import Roll, Step


class Steps:
    """Named steps; those in `bad` fail, the one in `interrupted` gets Ctrl-C in its middle."""

    def __init__(self, *names: str, bad: str = "", interrupted: str = "") -> None:
        self.taken: list[str] = []
        self._bad, self._interrupted = bad, interrupted
        self.steps: list[tuple[str, Step]] = [(name, self._step(name)) for name in names]

    def _step(self, name: str) -> Step:
        def step() -> tuple[float, float]:
            if name == self._interrupted:
                os.kill(os.getpid(), signal.SIGINT)
            self.taken.append(name)
            if name == self._bad:
                raise Fault(f"{name} is not in the ring after 30 s; its log ends: no", FAILED)
            return 1.25, 0.5

        return step


def run(steps: Steps) -> Roll:
    roll = Roll(steps.steps, quiet=True)
    roll.run()
    return roll


def test_all_in_turn() -> None:
    steps = Steps("a/0", "a/1")
    figures = {"left_s": 1.25, "back_s": 0.5}
    assert run(steps).report() == {
        "restarted": [{"name": "a/0", **figures}, {"name": "a/1", **figures}],
        "not_restarted": [],
        "fault": None,
    }
    assert steps.taken == ["a/0", "a/1"]


def test_one_that_does_not_come_back_stops_the_roll() -> None:
    steps = Steps("a/0", "a/1", "a/2", bad="a/1")
    roll = run(steps)
    assert steps.taken == ["a/0", "a/1"]
    assert list(roll.done) == ["a/0"]
    assert roll.left == ["a/1", "a/2"]
    assert roll.fault == "a/1 is not in the ring after 30 s; its log ends: no"


def test_ctrl_c_finishes_the_present_step(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps("a/0", "a/1", "a/2", interrupted="a/1")
    roll = run(steps)
    assert steps.taken == ["a/0", "a/1"]
    assert (list(roll.done), roll.left, roll.fault) == (["a/0", "a/1"], ["a/2"], "interrupted")
    assert "a/1 is brought back first" in capsys.readouterr().err


def test_ctrl_c_in_the_last_step_is_no_fault() -> None:
    roll = run(Steps("a/0", "a/1", interrupted="a/1"))
    assert (roll.left, roll.fault) == ([], "")
