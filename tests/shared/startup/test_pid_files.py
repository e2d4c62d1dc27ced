"""shared/startup/pid_files.py over real locks."""

import os
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.startup.pid_files import hold, holder_of


def test_file_counts_while_it_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "gateway-0.pid"
    assert holder_of(path) is None
    descriptor = hold(path, "taken")
    assert holder_of(path) == os.getpid()
    os.close(descriptor)
    assert path.read_text() == f"{os.getpid()}\n"
    assert holder_of(path) is None


def test_second_holder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "fleet.pid"
    path.parent.mkdir()
    descriptor = hold(path, "taken")
    with pytest.raises(SettingsError, match=r"^data_dir: taken$"):
        hold(path, "taken")
    os.close(descriptor)
    os.close(hold(path, "taken"))


def test_unwritable_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^data_dir: /proc/none/fleet.pid: no such file or directory$"):
        hold(Path("/proc/none/fleet.pid"), "taken")
