"""A seed replays exactly: in other processes, with another PYTHONHASHSEED, with and without trace."""

import os
import subprocess
import sys
from pathlib import Path

from simulator.runs import run

ROOT = Path(__file__).resolve().parents[2]
_CODE = "from simulator.runs import run\nfor seed in range(1, 6): print(seed, run(seed).steps, run(seed).digest)"


def test_other_processes_see_the_same() -> None:
    texts = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", _CODE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == 5


def test_trace_changes_nothing() -> None:
    plain, traced = run(3), run(3, trace=True)
    assert plain.digest == traced.digest
    assert plain.counts == traced.counts
    assert len(traced.events) > len(plain.events)


def test_seeds_differ() -> None:
    assert run(1).digest != run(2).digest
