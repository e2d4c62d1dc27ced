"""What a scenario found, as text and JSON, and whether every promise was kept. Pure but for `save`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.ledgers import Finding
from chaos.roles import Role


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. `kept` is None where nothing was promised."""

    name: str
    measured: float | str
    promised: str = ""
    kept: bool | None = None


@dataclass(slots=True)
class Result:
    """Everything of one scenario."""

    scenario: str
    about: str
    findings: dict[Role, Finding] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)

    def state(self, name: str, measured: float | str) -> None:
        """A figure without promise."""
        self.figures.append(Figure(name, measured))

    def at_most(self, name: str, measured: float, limit: float) -> None:
        """A figure that a promise bounds."""
        promised = f"{_text(limit)}" if not limit else f"at most {_text(limit)}"
        self.figures.append(Figure(name, measured, promised, measured <= limit))

    def expect(self, name: str, measured: float | str, promised: str, kept: bool) -> None:
        """A figure with a promise of another kind."""
        self.figures.append(Figure(name, measured, promised, kept))

    def broken(self) -> list[Figure]:
        """The promises that were not kept."""
        return [figure for figure in self.figures if figure.kept is False]

    def whole(self) -> Finding:
        """The findings of all roles together."""
        total = Finding()
        for finding in self.findings.values():
            total.add(finding)
        return total

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Result":
        """What `as_json` made."""
        findings = {Role(role): Finding(**fields) for role, fields in said["clients"].items()}
        return cls(said["scenario"], said["about"], findings, [Figure(**fields) for fields in said["figures"]])

    def as_json(self) -> dict[str, Any]:
        """For `--json` and for saving."""
        return {
            "scenario": self.scenario,
            "about": self.about,
            "kept": not self.broken(),
            "figures": [asdict(figure) for figure in self.figures],
            "clients": {str(role): asdict(finding) for role, finding in self.findings.items()},
        }


_COLUMNS = {
    "clients": "clients",
    "pushes": "pushes",
    "received": "received",
    "disconnects": "disconnects",
    "lost": "lost",
    "duplicated": "duplicated",
    "out_of_order": "out of order",
    "failures": "other outcomes",
    "untrue": "untrue outcomes",
    "unanswered": "no outcome",
    "copies_dropped": "copies dropped",
    "slowest_ticket_ms": "slowest outcome, ms",
    "slowest_receipt_ms": "slowest receipt, ms",
}


def lay_out(result: Result) -> str:
    """Two tables in Markdown, aligned: clients by role, and figures beside promises."""
    parts = [f"## {result.scenario}", "", result.about, ""]
    if result.findings:
        rows = [(str(role), finding) for role, finding in result.findings.items()] + [("all", result.whole())]
        lines = [[name, *(_text(getattr(finding, key)) for key in _COLUMNS)] for name, finding in rows]
        parts += [_table([["", *_COLUMNS.values()], *lines]), ""]
    verdicts = {True: "kept", False: "BROKEN", None: ""}
    lines = [[figure.name, _text(figure.measured), figure.promised, verdicts[figure.kept]] for figure in result.figures]
    parts.append(_table([["figure", "measured", "promised", ""], *lines]))
    if result.broken():
        parts += ["", *(f"* {example}" for example in result.whole().examples)]
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value:.3f}"


def save(directory: Path, name: str, run: Mapping[str, str], results: Sequence[Result]) -> list[Path]:
    """Writes NAME.json and NAME.md."""
    directory.mkdir(parents=True, exist_ok=True)
    as_json, as_text = directory / f"{name}.json", directory / f"{name}.md"
    as_json.write_text(json.dumps({"run": run, "results": [result.as_json() for result in results]}, indent=1) + "\n")
    about = "\n".join(f"* {key}: {value}" for key, value in run.items())
    texts = "\n\n".join(lay_out(result) for result in results)
    as_text.write_text(f"# Chaos, {name}\n\n{about}\n\n{texts}\n")
    return [as_json, as_text]
