"""Composition root of the router: checks settings, builds core and shell, serves until SIGTERM or SIGINT."""

import argparse
import gc
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Sequence

from router.core import Core
from router.run_files import hold_pid_file, make_run_dir
from router.security import load_guard
from router.shell import Shell
from shared import __version__, places
from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr, settings_help, settings_listing
from shared.startup.descriptors import raise_descriptor_limit
from shared.startup.environment import read_settings

log = logging.getLogger("router")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `push-router`. Returns the exit status: 0, or 2 for settings that do not work."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        if options.check_config:
            print(settings_listing(settings))
            return 0
        _serve(settings)
    except SettingsError as error:
        print(f"push-router: {error}", file=sys.stderr)
        return BAD_SETTINGS
    return 0


def _serve(settings: Settings) -> None:
    """Raises SettingsError if something cannot be opened."""
    stop_descriptor = _catch_signals()
    log_to_stderr(settings)
    raise_descriptor_limit()
    core = Core(settings, time.time_ns() // 1_000_000, time.monotonic(), random.Random(os.urandom(32)).randbytes)
    guard = load_guard(settings, core.counters)
    make_run_dir(settings)
    pid_file = hold_pid_file(settings)
    shell = Shell(core, settings, places.sender_endpoint(settings), places.bus_endpoint(settings), guard)
    gc.collect()
    gc.freeze()  # what was imported need not be walked by every full collection
    log.info("router %s serves senders on %s", __version__, places.sender_endpoint(settings))
    shell.run(stop_descriptor)
    log.info("router stopped")
    os.close(pid_file)


def _catch_signals() -> int:
    """A descriptor that becomes readable on SIGTERM and SIGINT."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="push-router",
        description="Start the router.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check-config", action="store_true", help="check the settings, list them, and exit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
