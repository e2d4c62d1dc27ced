"""Every scenario, small and short: all promises are kept."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.networks import Hosts, NetworkFault

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 150

pytestmark = [
    pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler"),
    pytest.mark.timeout(DEADLINE_S + 30),
]


def run(*arguments: str) -> None:
    """A run that must keep its promises. What it says is shown if it does not."""
    command = [sys.executable, "-m", "chaos", *arguments, "--quick"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=DEADLINE_S)
        except BaseException:
            process.send_signal(signal.SIGTERM)  # so that it ends its own processes
            raise
    broken = [line for line in said.splitlines() if line.startswith("BROKEN")]
    assert process.returncode == 0, "\n".join([*broken, said])


@pytest.mark.parametrize("scenario", ["rolling", "kills", "resize", "routers", "pause", "hundred-thousand"])
def test_promises_are_kept(scenario: str) -> None:
    run(scenario)


def test_promises_are_kept_between_hosts() -> None:
    try:
        with Hosts():
            pass
    except NetworkFault as fault:
        pytest.skip(str(fault))
    run("hosts")
