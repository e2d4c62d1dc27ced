"""The table of settings in docs/operations.md. `python -m tests.docs.settings_tables` (`make docs`) writes it anew."""

from pathlib import Path

from shared.settings import PREFIX, describe

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
BEGIN, END = "<!-- settings: made by `make docs` -->\n", "<!-- end of settings -->\n"


def table() -> str:
    """Markdown: one row for each setting."""
    rows = ["| setting | variable | default | meaning |", "|---|---|---|---|"]
    for name, default, text in describe():
        rows.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {_cell(text)} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """The document's text, its table replaced by that of the settings as they are."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + end + after


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
