import json
from pathlib import Path

import pytest

from shared.rings import NO_EPOCH, Epoch, owners_of_slots
from shared.tokens import SLOTS

OWNERS = json.loads((Path(__file__).parents[1] / "vectors" / "owners.json").read_text())
LIVE_SETS = sorted({tuple(case["live"]) for case in OWNERS})


@pytest.mark.parametrize("live", LIVE_SETS, ids=len)
def test_owners_are_those_of_the_vectors(live):
    owners = owners_of_slots(live)
    cases = [case for case in OWNERS if tuple(case["live"]) == live]
    assert [owners[case["slot"]] for case in cases] == [case["owner"] for case in cases]


def test_nobody_live_owns_nothing():
    assert owners_of_slots([]) == []


def test_the_order_of_names_does_not_matter():
    names = [f"h/{index}" for index in range(5)]
    assert owners_of_slots(names) == owners_of_slots(names[::-1])


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_every_worker_owns_its_share(workers):
    owners = owners_of_slots([f"h/{index}" for index in range(workers)])
    assert len(owners) == SLOTS
    shares = [owners.count(f"h/{index}") for index in range(workers)]
    assert min(shares) > SLOTS / workers * 0.6
    assert max(shares) < SLOTS / workers * 1.5


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
def test_a_new_worker_takes_about_its_share_and_nobody_else_gains(workers):
    names = [f"h/{index}" for index in range(workers)]
    before, after = owners_of_slots(names), owners_of_slots([*names, "new/0"])
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"new/0"}
    share = SLOTS / (workers + 1)
    assert share * 0.5 < len(moved) < share * 1.6


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_only_the_slots_of_a_lost_worker_move(workers):
    names = [f"h/{index}" for index in range(workers)]
    before, after = owners_of_slots(names), owners_of_slots(names[:-1])
    assert all(old == new for old, new in zip(before, after, strict=True) if old != names[-1])


def test_epochs_are_compared_as_pairs():
    assert NO_EPOCH < Epoch(5, 9) < Epoch(6, 1) < Epoch(6, 2)
