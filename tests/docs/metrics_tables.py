"""The table of metrics in docs/metrics.md. `python -m tests.docs.metrics_tables` (`make docs`) writes it anew."""

from pathlib import Path

from prometheus_client.core import Metric

from services.metrics.families import families

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- metrics: made by `make docs` -->\n", "<!-- end of metrics -->\n"


def table() -> str:
    """Markdown: one row for each family."""
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    rows += [
        f"| `{_name(one)}` | {one.type} | {', '.join(_labels(one))} | {one.documentation} |" for one in families({})
    ]
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """The document's text, its table replaced by that of the metrics as they are."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + end + after


def _name(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def _labels(family: Metric) -> tuple[str, ...]:
    return tuple(family._labelnames)  # type: ignore[attr-defined]


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
