"""The table says what was measured, against what, and whether it was enough."""

import json
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.tables import lay_out, save

FIGURES = [
    Figure("kept", "us", [12.0, 10.0, 14.0], 25, "at most 25", [8.0, 9.0, 8.5], "a note"),
    Figure("broken", "bytes", [1001.0], 1000, "at most 1,000"),
    Figure("stated", "/s", [40_000.0]),
]


def test_a_row_for_each_figure() -> None:
    kept, broken, stated = lay_out(FIGURES).splitlines()[2:]
    assert [cell.strip() for cell in kept.split("|")[1:-1]] == [
        "kept",
        "at most 25 us",
        "12.0 us",
        "10.0 - 14.0",
        "8.50 us",
        "met",
        "a note",
    ]
    assert "1,001 bytes" in broken
    assert "MISSED" in broken
    assert "MISSED" not in stated
    assert "met" not in stated


def test_saved_samples(tmp_path: Path) -> None:
    as_json, as_text = save(tmp_path / "results", "2026-11-23", {"command": "make bench"}, FIGURES)
    content = json.loads(as_json.read_text())
    assert content["run"] == {"command": "make bench"}
    assert content["figures"][0]["samples"] == [12.0, 10.0, 14.0]
    assert "* command: make bench" in as_text.read_text()
