"""services/fleet/pid_files.py over real locks and processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.fleet.pid_files import guardians, hold, holder_of, stop_workers
from shared.errors import SettingsError
from shared.settings import Settings

#: A process that holds a locked pid file.
HOLD = """
import sys
from pathlib import Path
from services.fleet.pid_files import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).resolve().parents[3]


def test_file_counts_while_it_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "gateway-0.pid"
    assert holder_of(path) is None
    descriptor = hold(path)
    assert holder_of(path) == os.getpid()
    os.close(descriptor)
    assert path.read_text() == f"{os.getpid()}\n"
    assert holder_of(path) is None


def test_second_holder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "fleet.pid"
    path.parent.mkdir()
    descriptor = hold(path)
    with pytest.raises(SettingsError, match=f"^data_dir: a fleet already runs in {tmp_path}$"):
        hold(path)
    os.close(descriptor)
    os.close(hold(path))


def test_unwritable_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^data_dir: /proc/none/fleet.pid: no such file or directory$"):
        hold(Path("/proc/none/fleet.pid"))


def test_workers_are_told(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    (run / "gateway-1.pid").write_text(f"{os.getpid()}\n")  # not locked: a worker of the past
    command = [sys.executable, "-c", HOLD, str(run / "gateway-0.pid")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    assert guardians(settings) == {"gateway-0": process.pid}
    assert stop_workers(settings) == {"gateway-0": process.pid}
    process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGINT, 1)
    assert guardians(settings) == {}
