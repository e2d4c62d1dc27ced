import subprocess
import sys

import pytest
from click.testing import CliRunner

from services.pushctl.faults import FAILED, UNREACHABLE, USAGE, as_fault
from services.pushctl.main import COMMANDS, main
from shared.errors import BusError, ClientError, PushError, SenderError, SettingsError


def test_help_lists_every_command():
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for name in COMMANDS:
        assert name in done.output


def test_unknown_command():
    done = CliRunner().invoke(main, ["shout"])
    assert done.exit_code == 2
    assert "No such command 'shout'" in done.output


def test_help_loads_nothing_that_takes_long():
    code = (
        "import sys; from services.pushctl.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'zmq', 'gevent', 'websocket', 'tqdm', 'supervisor', 'cryptography'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (SettingsError("workers", "bad"), USAGE, "workers: bad"),
        (SenderError("unreachable", "no router"), UNREACHABLE, "no router: is the fleet running?"),
        (SenderError("timed_out", "no answer"), UNREACHABLE, "no answer: is the fleet running?"),
        (SenderError("unavailable", "no worker is live"), UNREACHABLE, "unavailable: no worker is live"),
        (SenderError("bad_options", "ttl"), USAGE, "bad_options: ttl"),
        (SenderError("not_allowed", "no"), FAILED, "not_allowed: no"),
        (ClientError("replaced", "gone"), FAILED, "gone"),
        (ClientError("peer_closed", "gone"), UNREACHABLE, "gone"),
        (BusError("two\nlines"), FAILED, "two lines"),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(error: PushError, exit_code: int, said: str):
    fault = as_fault(error)
    assert (fault.exit_code, fault.message) == (exit_code, said)
