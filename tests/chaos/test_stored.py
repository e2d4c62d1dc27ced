"""The proof that nothing stored is lost: one run of it, and that it would notice."""

import pytest

from chaos.stored import Item, Run, prove
from tests.clients.senders import STORED


@pytest.mark.timeout(400)  # on a busy machine a run takes a minute
@pytest.mark.parametrize("storage", ["sqlite", "redis"])
def test_nothing_stored_is_lost(storage: str) -> None:
    assert prove(1, 3, storage) == 0


def run_of(received: list[bytes], twice: int = 0) -> Run:
    """Three pushes, each stored at its first try, one request each."""
    items = [Item(b"%d" % number, number, number, STORED, 1) for number in range(3)]
    return Run(1, items, received, twice=twice)


@pytest.mark.parametrize(
    ("received", "twice", "fault"),
    [
        ([b"0", b"1", b"2"], 0, ""),
        ([b"0", b"2"], 0, "missing"),
        ([b"0", b"1", b"1", b"2"], 0, "came twice"),
        ([b"0", b"2", b"1"], 0, "out of order"),
        ([b"0", b"1", b"2"], 1, "again after"),
    ],
)
def test_what_is_broken_is_found(received: list[bytes], twice: int, fault: str) -> None:
    faults = run_of(received, twice).faults()
    assert fault in faults[0] if fault else not faults


def test_what_was_not_stored_is_found() -> None:
    run = run_of([b"0", b"1"])
    run.items[2].outcome = 10
    assert "1 pushes were never stored" in run.faults()


def test_what_was_repeated_may_come_behind_what_came_after_its_first_try() -> None:
    run = run_of([b"1", b"0", b"2"])
    run.items[0].tries, run.items[0].final = 2, 1
    assert not run.faults()
