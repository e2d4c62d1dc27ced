"""`make loadtest`: a fleet of its own, locust against it, headless. Arguments go on to locust.

With --host locust runs against a fleet that runs already; LOADTEST_SENDER is its sender endpoint.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fleet.fleet_process import Fleet

_ROOT = Path(__file__).parent.parent
#: 20 s until everybody is there, then a minute with all.
_DEFAULTS = {"--users": "2000", "--spawn-rate": "100", "--run-time": "80s"}
#: Other spellings of the same.
_SHORT = {"--users": "-u", "--spawn-rate": "-r", "--run-time": "-t"}


def main(arguments: Sequence[str]) -> int:
    """Locust's exit status: 0 only without any failure."""
    if any(argument.startswith(("--host", "-H")) for argument in arguments):
        return _locust([*arguments])
    with Fleet() as fleet:
        os.environ["LOADTEST_SENDER"] = fleet.endpoint
        return _locust(["--host", f"{fleet.host}:{fleet.client_port}", *arguments])


def _locust(arguments: Sequence[str]) -> int:
    given = [argument.partition("=")[0] for argument in arguments]
    for name, value in _DEFAULTS.items():
        if name not in given and not any(one.startswith(_SHORT[name]) for one in given):
            arguments = [*arguments, name, value]
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).parent / "locustfile.py"), "--headless"]
    environ = os.environ | {"PYTHONPATH": str(_ROOT)}
    try:
        return subprocess.run([*command, "--only-summary", *arguments], env=environ, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that locust and the fleet end too
    sys.exit(main(sys.argv[1:]))
