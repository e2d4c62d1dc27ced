"""Composition root of the services: `push-services fleet`, `push-services status`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr
from shared.startup.environment import read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `push-services`; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(read_settings()))
    except SettingsError as error:
        print(f"push-services: {error}", file=sys.stderr)
        return BAD_SETTINGS


def run_fleet(settings: Settings) -> int:
    """A whole fleet in the foreground."""
    from services.fleet.foreground import run  # noqa: PLC0415  (the status service needs no supervisord)

    return run(settings)


def run_status(settings: Settings) -> int:
    """The status service."""
    from services.status.server import serve  # noqa: PLC0415  (the launcher needs no gevent)

    log_to_stderr(settings)
    logging.getLogger("geventwebsocket").setLevel(logging.WARNING)  # one line per request otherwise
    return serve(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="push-services", description="Services beside router and workers.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    fleet = commands.add_parser("fleet", help="run a whole fleet in the foreground under supervisord")
    fleet.set_defaults(run=run_fleet)
    status = commands.add_parser("status", help="serve health and figures over HTTP on api_port")
    status.set_defaults(run=run_status)
    return parser


if __name__ == "__main__":
    sys.exit(main())
