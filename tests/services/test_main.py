"""services/main.py: what `push-services run` refuses."""

import subprocess
import sys
from pathlib import Path

from shared.startup.pid_files import hold
from tests.fleet.fleet_process import ROOT


def run(tmp_path: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """(exit status, what it said)."""
    environ = {"PUSH_DATA_DIR": str(tmp_path)} | {f"PUSH_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "services.main", "run", *arguments]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_bad_settings_cost_one_line(tmp_path: Path) -> None:
    said = run(tmp_path, "subscribe", subscribe_policy="no.such:function")
    assert said[0] == 2
    assert said[1].startswith("push-services: subscribe_policy: 'no.such:function': ModuleNotFoundError")
    assert said[1].count("\n") == 1


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    assert "invalid choice: 'nothing'" in run(tmp_path, "nothing")[1]


def test_one_number_is_one_process(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    hold(tmp_path / "run" / "subscribe.pid", "taken")
    assert run(tmp_path, "subscribe") == (2, f"push-services: data_dir: subscribe already runs in {tmp_path}\n")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    database = tmp_path / "state" / "push.db"
    database.write_bytes(b"not a database" * 1000)
    status, said = run(tmp_path, "subscribe")
    assert status == 2
    assert "Traceback" not in said
    assert str(database) in said
    assert database.read_bytes() == b"not a database" * 1000
