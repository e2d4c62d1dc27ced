"""Composition root of a worker: checks settings, opens what outlives the worker, and becomes its guardian.

Everything that can be refused is refused here, in one line and with exit status 2. What is opened here
(listeners, port lock, pid file) is inherited by the guardian, which this process turns into by exec.
"""

import argparse
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import guardian
from gateway.ledgers import create as create_ledger
from gateway.listeners import fetch_listeners, open_client_listener, open_nginx_listener
from gateway.port_locks import take_port_lock
from gateway.run_files import hold_pid_file, make_directories
from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.command_lines import BAD_SETTINGS, settings_help, settings_listing
from shared.startup.descriptors import raise_descriptor_limit
from shared.startup.environment import read_settings

WORKER_MODULE = "gateway.worker"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `push-gateway`. Returns an exit status only if the worker does not start."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        if options.check_config:
            print(settings_listing(settings))
            return 0
        command = prepare(settings, options.index, options.worker_module)
        os.environ[guardian.LOG_FORMAT] = settings.log_format  # it reads no settings
    except SettingsError as error:
        print(f"push-gateway: {error}", file=sys.stderr)
        return BAD_SETTINGS
    os.execv(command[0], command)


def prepare(settings: Settings, index: int, module: str = WORKER_MODULE) -> list[str]:
    """Open everything for worker `index`; the command to exec. Raises SettingsError.

    From here on SIGTERM and SIGINT wait for the guardian, which inherits the mask.
    """
    raise_descriptor_limit()
    make_directories(settings)
    pid_file = hold_pid_file(settings, index)  # may wait for another worker's end: signals end that
    signal.pthread_sigmask(signal.SIG_BLOCK, guardian.PASSED_ON)
    held = [pid_file, take_port_lock(settings.host, settings.client_port, settings.data_dir)]
    kept = fetch_listeners(settings, index)
    listeners = [
        kept.pop(0).detach() if kept else open_client_listener(settings).detach(),
        kept.pop(0).detach() if kept else open_nginx_listener(settings, index).detach(),
    ]
    ledger = create_ledger(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for descriptor in [*held, *listeners, ledger]:
        os.set_inheritable(descriptor, True)
    # -S: the guardian needs no site-packages (the worker turns them on); -P: its own folder is no place to import from.
    root = Path(__file__).absolute().parent.parent
    given = [index, *listeners, ledger, settings.worker_timeout_ms, root, module]
    return [sys.executable, "-S", "-P", guardian.__file__, *map(str, given)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="push-gateway",
        description="Start one gateway worker and its guardian.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--index", type=_index, default=0, metavar="I", help="number of the worker on this host, from 0"
    )
    parser.add_argument("--check-config", action="store_true", help="check the settings, list them, and exit")
    parser.add_argument("--worker-module", default=WORKER_MODULE, help=argparse.SUPPRESS)
    return parser


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
