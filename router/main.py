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
from router.shell import Endpoints, Shell
from shared import __version__, places
from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr, settings_help, settings_listing
from shared.startup.descriptors import raise_descriptor_limit
from shared.startup.environment import read_settings
from shared.startup.tracing import open_tracing

log = logging.getLogger("router")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `push-router`. Returns the exit status: 0, or 2 for settings that do not work."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        if options.check_config:
            print(settings_listing(settings))
            return 0
        _serve(settings, options.index)
    except SettingsError as error:
        print(f"push-router: {error}", file=sys.stderr)
        return BAD_SETTINGS
    return 0


def _serve(settings: Settings, index: int) -> None:
    """Be router `index` of this host. Raises SettingsError if there is none, or something cannot be opened."""
    if index >= settings.routers:
        raise SettingsError("routers", f"there is no router {index}: this host has {settings.routers}, from 0")
    stop_descriptor = _catch_signals()
    log_to_stderr(settings)
    raise_descriptor_limit()
    chance, position = random.Random(os.urandom(32)), places.router_position(settings, index)
    core = Core(settings, time.time_ns() // 1_000_000, time.monotonic(), chance.randbytes, _unix_us, position)
    guard = load_guard(settings, core.counters)
    make_run_dir(settings)
    pid_file = hold_pid_file(settings, index)
    tracing = open_tracing(settings, "router", f"{settings.host_name}/{index}")
    shell = Shell(core, settings, _endpoints(settings, index), guard, tracing)
    gc.collect()
    gc.freeze()  # what was imported need not be walked by every full collection
    log.info("router %d %s serves senders on %s", index, __version__, places.sender_endpoint(settings, index))
    shell.run(stop_descriptor)
    if tracing is not None:
        tracing.close()
    log.info("router stopped")
    os.close(pid_file)


def _unix_us() -> int:
    return time.time_ns() // 1000


def _endpoints(settings: Settings, index: int) -> Endpoints:
    return Endpoints(
        places.sender_endpoint(settings, index),
        places.bus_endpoint(settings, index),
        places.bus_tcp_endpoint(settings, index),
        places.service_endpoint(settings, index),
        places.service_tcp_endpoint(settings, index),
    )


def _catch_signals() -> int:
    """A descriptor that becomes readable on SIGTERM and SIGINT."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="push-router",
        description="Start the router.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--index", type=_index, default=0, metavar="I", help="number of the router on this host, from 0"
    )
    parser.add_argument("--check-config", action="store_true", help="check the settings, list them, and exit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
