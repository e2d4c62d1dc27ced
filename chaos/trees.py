"""Source trees of two versions: the previous commit, and the same with a field added to the record."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "router", "services", "shared")
ADDED_FIELD, ADDED_VALUE = "chaos_field", 7
NEWER = "+field"

#: Exact edits: file, old text, new text. Each must fit just once.
_EDITS = (
    (
        "gateway/connections.py",
        '    __slots__ = (\n        "address",\n',
        f'    __slots__ = (\n        "address",\n        "{ADDED_FIELD}",\n',
    ),
    ("gateway/connections.py", '    "address": str,\n', f'    "address": str,\n    "{ADDED_FIELD}": int,\n'),
    (
        "gateway/connections.py",
        "        self.fd = fd\n",
        f"        self.fd = fd\n        self.{ADDED_FIELD} = {ADDED_VALUE}\n",
    ),
)


def previous_commit(to: Path) -> Path:
    """The packages as last committed; as they stand, where there is no git. Returns `to`."""
    try:
        packed = subprocess.run(["git", "archive", "HEAD", *PACKAGES], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(to, filter="data")
    except (OSError, subprocess.CalledProcessError):
        for package in PACKAGES:
            shutil.copytree(ROOT / package, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def with_added_field(tree: Path, to: Path) -> Path:
    """A copy whose records have one field more, and whose version says so. ValueError: an edit does not fit."""
    shutil.copytree(tree, to, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in _EDITS:
        _edit(to / file, old, new)
    text = (to / "shared/__init__.py").read_text()
    version = text.partition('__version__ = "')[2].partition('"')[0]
    _edit(to / "shared/__init__.py", f'"{version}"', f'"{version}{NEWER}"')
    return to


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise ValueError(f"{path}: the edit fits {text.count(old)} times, not once: {old!r}")
    path.write_text(text.replace(old, new))
