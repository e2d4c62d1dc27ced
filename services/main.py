"""Composition root of the services: `push-services fleet`, `api`, `run NAME`, `events`, `kafka-bridge`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from services.catalogue import EVENTS, KAFKA_BRIDGE, MODULES, instance
from shared import places
from shared.errors import SettingsError, StorageError, StorageUnavailable
from shared.settings import Settings
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr
from shared.startup.environment import read_settings
from shared.startup.pid_files import hold

#: Exit status of a service that cannot start now, and may be tried again.
UNAVAILABLE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `push-services`; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(read_settings(), options))
    except (SettingsError, StorageError) as error:
        print(f"push-services: {error}", file=sys.stderr)
        return UNAVAILABLE if isinstance(error, StorageUnavailable) else BAD_SETTINGS


def run_fleet(settings: Settings, options: argparse.Namespace) -> int:
    """A whole fleet in the foreground."""
    from services.fleet.foreground import run  # noqa: PLC0415  (the status service needs no supervisord)

    return run(settings)


def run_api(settings: Settings, options: argparse.Namespace) -> int:
    """The status service, which is the HTTP API too."""
    from services.api.server import serve  # noqa: PLC0415  (the launcher needs no gevent)

    log_to_stderr(settings)
    logging.getLogger("geventwebsocket").setLevel(logging.WARNING)  # one line per request otherwise
    return serve(settings)


def run_kafka_bridge(settings: Settings, options: argparse.Namespace) -> int:
    """One Kafka bridge."""
    if not settings.kafka_brokers:
        raise SettingsError("kafka_brokers", "names no broker")
    if not settings.kafka_topics:
        raise SettingsError("kafka_topics", "names no topic")
    try:
        serving = import_module("services.kafka_bridge.serving")
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise SettingsError("kafka_brokers", "confluent-kafka is not installed: push-gateway[kafka]") from None
    log_to_stderr(settings)
    _hold_pid_file(settings, instance(KAFKA_BRIDGE, options.index))
    return int(serving.serve(settings))


def run_events(settings: Settings, options: argparse.Namespace) -> int:
    """The events service of this host."""
    from services.events.serving import serve  # noqa: PLC0415  (the launcher needs no HTTP client)

    if not settings.keeps_events:
        raise SettingsError("event_webhook_url", "is empty, as is kafka_events_topic: nobody wants events")
    log_to_stderr(settings)
    _hold_pid_file(settings, EVENTS)
    return serve(settings)


def run_service(settings: Settings, options: argparse.Namespace) -> int:
    """One process of a service."""
    log_to_stderr(settings)
    _hold_pid_file(settings, instance(options.name, options.index))
    return int(import_module(MODULES[options.name]).serve(settings, options.index))


def _hold_pid_file(settings: Settings, name: str) -> None:
    """So that two with one number cannot be. Raises SettingsError."""
    run = places.run_dir(settings)
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError("data_dir", f"{error.filename}: {(error.strerror or str(error)).lower()}") from None
    hold(run / f"{name}.pid", f"{name} already runs in {settings.data_dir}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="push-services", description="Services beside router and workers.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    fleet = commands.add_parser("fleet", help="run a whole fleet in the foreground under supervisord")
    fleet.set_defaults(run=run_fleet)
    # `status` is its name in deployments that are older than its other routes.
    api = commands.add_parser("api", aliases=["status"], help="serve api_port: health, figures, logins, /v1")
    api.set_defaults(run=run_api)
    run = commands.add_parser("run", help="run one process of a service that clients need")
    run.add_argument("name", choices=MODULES, metavar="NAME", help=", ".join(MODULES))
    run.add_argument("--index", type=_index, default=0, metavar="I", help="its number on this host, from 0")
    run.set_defaults(run=run_service)
    events = commands.add_parser("events", help="deliver events to event_webhook_url and kafka_events_topic")
    events.set_defaults(run=run_events)
    bridge = commands.add_parser("kafka-bridge", help="push the records of kafka_topics")
    bridge.add_argument("--index", type=_index, default=0, metavar="I", help="its number on this host, from 0")
    bridge.set_defaults(run=run_kafka_bridge)
    return parser


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
