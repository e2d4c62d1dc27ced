"""Push ids that outlive the process: a hook of the application, and one that keeps them in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class KeptIds(Protocol):
    """What the application may give as `ids`. Errors that it raises count as the handler's: no acknowledgement."""

    def load(self) -> Iterable[str]:
        """All of them, oldest first; called once."""

    def add(self, push_id: str, forgotten: str | None) -> None:
        """One was handled, and is acknowledged after this; `forgotten` is no longer needed."""


class FileIds:
    """A line for each id, appended; written anew when half of them are no longer needed. For one client.

    What is appended survives the end of the process; with `fsync` that of the machine too.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self._path, self._fsync = Path(path), fsync
        self._ids: dict[str, None] = {}
        self._lines = 0

    def load(self) -> list[str]:
        """Raises OSError. A last line that was cut off is passed over."""
        text = self._path.read_text(encoding="ascii", errors="replace") if self._path.exists() else ""
        self._ids = dict.fromkeys(line for line in text[: text.rfind("\n") + 1].splitlines() if line)
        self._write_anew()
        return list(self._ids)

    def add(self, push_id: str, forgotten: str | None) -> None:
        """Raises OSError."""
        self._ids[push_id] = None
        if forgotten is not None:
            self._ids.pop(forgotten, None)
        if self._lines >= 2 * len(self._ids) + 64:
            self._write_anew()
        else:
            self._write(self._path, "a", [push_id])
            self._lines += 1

    def _write_anew(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        self._write(fresh, "w", self._ids)
        fresh.replace(self._path)
        self._lines = len(self._ids)

    def _write(self, path: Path, mode: str, ids: Iterable[str]) -> None:
        with path.open(mode, encoding="ascii") as file:
            file.writelines(f"{push_id}\n" for push_id in ids)
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
