"""benchmarks/guardians.py with few connections."""

import subprocess
import sys
from pathlib import Path

SMALL = """
from benchmarks import guardians
guardians.CONNECTIONS, guardians.REPEATS = 130, 1
raise SystemExit(guardians.main())
"""


def test_every_way_is_measured() -> None:
    root = Path(__file__).resolve().parents[2]
    said = subprocess.run(
        [sys.executable, "-c", SMALL], cwd=root, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert [line.startswith(("accept", "with", "(a)", "(b)")) for line in said.splitlines()[4:]] == [True] * 5
