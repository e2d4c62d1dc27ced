"""Figures as a table, for the terminal and for benchmarks/results."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

_HEAD = ("figure", "budget", "measured", "spread", "floor, same run", "", "note")
_VERDICTS = {True: "met", False: "MISSED", None: ""}


def lay_out(figures: Sequence[Figure]) -> str:
    """A table in Markdown that is aligned for reading as it stands."""
    rows = [_HEAD, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    budget = f"{figure.budget} {figure.unit}" if figure.limit is not None else figure.budget
    spread = f"{_number(min(figure.samples))} - {_number(max(figure.samples))}"
    floor = "" if figure.floor_measured is None else f"{_number(figure.floor_measured)} {figure.unit}"
    measured = f"{_number(figure.measured)} {figure.unit}"
    return figure.name, budget, measured, spread, floor, _VERDICTS[figure.met], figure.note


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def lay_out_run(run: dict[str, str]) -> str:
    """Machine, date and command, one line each."""
    return "\n".join(f"{name}: {value}" for name, value in run.items())


def save(directory: Path, name: str, run: dict[str, str], figures: Sequence[Figure]) -> list[Path]:
    """Writes NAME.json (every sample) and NAME.md (the table)."""
    directory.mkdir(parents=True, exist_ok=True)
    as_json, as_text = directory / f"{name}.json", directory / f"{name}.md"
    content: dict[str, Any] = {"run": run, "figures": [asdict(figure) for figure in figures]}
    as_json.write_text(json.dumps(content, indent=1) + "\n")
    about = "\n".join(f"* {line}" for line in lay_out_run(run).splitlines())
    as_text.write_text(f"# Benchmarks, {name}\n\n{about}\n\n{lay_out(figures)}\n")
    return [as_json, as_text]
