"""benchmarks/presence.py with few clients."""

import subprocess
import sys
from pathlib import Path

SMALL = """
from benchmarks import presence
presence.QUICK = presence.Plan(1, 300, 50)
raise SystemExit(presence.main(["--quick"]))
"""


def test_every_storage_and_a_fleet_are_measured() -> None:
    root = Path(__file__).resolve().parents[2]
    said = subprocess.run(
        [sys.executable, "-c", SMALL], cwd=root, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    for engine in ("SQLite", "Redis"):
        assert all(f"| {engine}: {what} " in said for what in ("entry", "service, a client comes", "service, a client"))
    assert "| fleet without presence: connect, SUB, leave " in said
    assert "| fleet with presence, SQLite: connect, SUB, leave " in said
