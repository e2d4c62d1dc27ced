"""docs/architecture.md names every module, bus message, dependency and bound that there is."""

import re
import tomllib
from pathlib import Path

import pytest

from shared import bus
from shared.settings import describe
from tests.docs.documents import ROOT, read, section

#: Settings that bound something that waits.
_BOUND = "_max$|max_frame|max_targets|_buffer_|_limit_|_window_|_per_s$|_memory_|_batches$"
TEXT = read("architecture.md")
PACKAGES = ("shared", "gateway", "router", "services")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if path.stem != "__init__"]
MESSAGES = [value.decode() for value in vars(bus).values() if isinstance(value, bytes)]
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_has_its_place(path: Path) -> None:
    package, *folders, _ = path.relative_to(ROOT).parts
    layers = section(TEXT, "## Layers")
    rows = layers.partition(f"**{package}/**")[2].partition("\n**")[0].splitlines()
    if folders:
        rows = [row for row in rows if f"`{folders[0]}/`" in row]
    assert any(f"`{path.stem}`" in row for row in rows), "name it in docs/architecture.md, section Layers"


@pytest.mark.parametrize("message", MESSAGES)
def test_bus_message_is_listed(message: str) -> None:
    assert f"\n| {message} |" in section(TEXT, "## The bus")


def test_dependencies_are_declared() -> None:
    rows = re.findall(r"^\| ([\w, -]+) \| .*\|$", section(TEXT, "## Dependencies"), re.MULTILINE)
    named = {name for row in rows[1:] for name in row.split(", ")}
    assert {"pyzmq", "gevent"} < named <= {re.split(r"[<>=]", dependency)[0] for dependency in DEPENDENCIES}


@pytest.mark.parametrize("setting", [name for name, _, _ in describe() if re.search(_BOUND, name)])
def test_bound_is_listed(setting: str) -> None:
    assert f"`{setting}`" in section(TEXT, "## Bounds")


def test_links_lead_somewhere() -> None:
    for document in [
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted(ROOT.glob("*.md")),
        ROOT / "examples" / "README.md",
    ]:
        text = document.read_text()
        for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {path}"
            if anchor:
                assert anchor in _anchors(target.read_text()), f"{document.name}: {path}#{anchor}"


def _anchors(text: str) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
