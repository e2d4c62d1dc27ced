"""What is written down twice, in Python and in C, is the same; the edits of the newer version fit."""

import re
from pathlib import Path

from chaos import ledgers, roles, trees

CHAOS = Path(ledgers.__file__).parent


def test_reasons() -> None:
    text = (CHAOS / "ledger.h").read_text().partition("REASONS[] = {")[2].partition("};")[0]
    assert tuple(re.findall(r'"([^"]*)"', text)) == ledgers.REASONS


def test_kinds() -> None:
    text = (CHAOS / "members.h").read_text().partition("kinds[20] = {")[2].partition("};")[0]
    names = {"TEXT": "text", "BINARY": "ws_binary", "V0": "v0", "V1": "v1", "V2": "v2"}
    assert [names[name] for name in re.findall(r"\w+", text)] == [roles.kind_of(5 * n) for n in range(20)]


def test_a_newer_version(tmp_path: Path) -> None:
    newer = trees.with_added_field(trees.ROOT, tmp_path / "newer")
    assert trees.ADDED_FIELD in (newer / "gateway" / "connections.py").read_text()
    assert trees.NEWER in (newer / "shared" / "__init__.py").read_text()


def test_the_previous_commit(tmp_path: Path) -> None:
    tree = trees.previous_commit(tmp_path)
    assert all((tree / package / "__init__.py").exists() for package in trees.PACKAGES)
