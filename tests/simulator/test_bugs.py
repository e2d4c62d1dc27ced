"""Each of the three bugs is caught within so many seeds, and looks like this."""

import pytest

from simulator.bugs import BUGS, put_in
from simulator.runs import run

#: bug -> seeds to look at, promises that it breaks.
_CAUGHT = {
    "fence-left-out": (range(1, 150), {"outcomes are known", "deploys are invisible"}),
    "late-holder-mark": (range(50, 200), {"one holder"}),
    "binding-reversed": (range(1, 10), {"connections stay"}),
}


def test_all_are_tried() -> None:
    assert _CAUGHT.keys() == BUGS.keys()


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_bug_is_caught(bug: str) -> None:
    seeds, promises = _CAUGHT[bug]
    with put_in(bug):
        for seed in seeds:
            if {violation.promise for violation in run(seed).violations} & promises:
                break
        else:
            pytest.fail(f"{bug} was not caught")
    assert not run(seed).violations  # it is the bug that breaks it


def test_bugs_are_taken_out_again() -> None:
    with put_in("binding-reversed"):
        assert run(1).violations
    assert not run(1).violations
