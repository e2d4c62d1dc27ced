"""benchmarks/cached_messages.py with few messages."""

import subprocess
import sys
from pathlib import Path

SMALL = """
from benchmarks import cached_messages
cached_messages.QUICK = cached_messages.Plan(1, 500, 10, 1000, 10)
raise SystemExit(cached_messages.main(["--quick"]))
"""


def test_every_engine_is_measured() -> None:
    root = Path(__file__).resolve().parents[2]
    said = subprocess.run(
        [sys.executable, "-c", SMALL], cwd=root, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    for engine in ("SQLite, written", "SQLite, fsynced", "SQLite, memory", "Redis, appended"):
        for what in ("store", "replay", "take out"):
            assert all(f"| {engine}: {what} {batch} at once " in said for batch in (1, 10, 50))
    assert said.count("1,000 messages, cache starts") == 2
