"""The units of deploy/systemd: systemd reads them, and they say of each process what supervisord.conf says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services import catalogue
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
#: Units as they are started: an instance of each template.
STARTED = {
    "push-router@.service": "push-router@0.service",
    "push-gateway@.service": "push-gateway@3.service",
    "push-services@.service": "push-services@login.service",
    "push-message-cache@.service": "push-message-cache@1.service",
}


def values(name: str) -> dict[str, str]:
    """What a unit sets, its last value by key."""
    lines = (UNITS / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_systemd_reads_them(tmp_path: Path) -> None:
    """Only the path of the installation is another."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/push-gateway", str(ROOT)))
    names = [f"./{STARTED.get(unit.name, unit.name)}" for unit in sorted(UNITS.iterdir())]
    command = ["systemd-analyze", "verify", "--man=no", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_gets_its_signal_once_and_outlives_its_guardian() -> None:
    gateway = values("push-gateway@.service")
    assert gateway["KillMode"] == "process"
    assert gateway["RestartPreventExitStatus"] == "2 3"
    assert int(gateway["TimeoutStopSec"]) == 10 * Settings().drain_timeout_s


@pytest.mark.parametrize("name", sorted(unit.name for unit in UNITS.glob("*.service")))
def test_what_all_have(name: str) -> None:
    unit = values(name)
    assert unit["Restart"] == "on-failure"
    assert "2" in unit["RestartPreventExitStatus"].split()
    assert int(unit["LimitNOFILE"]) >= 100_000
    assert "PrivateTmp" not in unit, "the lock on the client port lies in /tmp: all must see the same"


def test_each_command_takes_its_arguments() -> None:
    """The programs' own parsers, with an instance's name in place of %i."""
    for name in sorted(unit.name for unit in UNITS.glob("*.service")):
        instance = STARTED.get(name, name).partition("@")[2].removesuffix(".service")
        program, *arguments = values(name)["ExecStart"].replace("%i", instance).split()
        command = [str(Path(sys.executable).parent / Path(program).name), *arguments, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        if "run" in arguments:
            assert arguments[arguments.index("run") + 1] in catalogue.MODULES
