"""services/fleet/pid_files.py over real locks and processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from services.fleet.pid_files import guardian, guardians, stop_workers
from shared.settings import Settings

#: A process that holds a locked pid file.
HOLD = """
import sys
from pathlib import Path
from shared.startup.pid_files import hold
hold(Path(sys.argv[1]), "taken")
print("held", flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).resolve().parents[3]


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
    assert guardian(run / "gateway-0.pid") == process.pid
    (run / "gateway-0.pid").write_text(f"{os.getpid()}\n")  # locked, but not by this process: the guardian is dead
    assert guardian(run / "gateway-0.pid") is None
    process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGINT, 1)
    assert guardians(settings) == {}
