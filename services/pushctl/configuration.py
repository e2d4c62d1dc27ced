"""`pushctl check-config`."""

from typing import Any

import click
import ujson

from services.pushctl import options
from shared import places
from shared.settings import Settings, describe
from shared.shown import shown
from shared.startup.environment import read_settings
from shared.startup.protobuf_files import load_registry


@click.command("check-config")
@click.option("--help-settings", is_flag=True, help="Describe every setting instead.")
@options.as_json
def check_config(help_settings: bool, as_json: bool) -> None:
    """Print the settings in effect, as a file for PUSH_CONFIG. Exit code 2 and one line if one is wrong.

    Of event_webhook_url and otel_endpoint only scheme and host are shown: the rest may be a secret.
    """
    if help_settings:
        _print_descriptions(as_json)
        return
    settings = read_settings()
    places.bus_path(settings)
    for index in range(settings.workers):
        places.hand_over_path(settings, index)
    load_registry(settings)
    values = shown(settings)
    if as_json:
        options.print_json(values)
        return
    defaults = Settings()
    for name, value in values.items():
        mark = "" if value == getattr(defaults, name) else "  # changed"
        if value != getattr(settings, name):
            mark += ", the rest is not shown"
        click.echo(f"{name} = {_toml(value)}{mark}")


def _print_descriptions(as_json: bool) -> None:
    if as_json:
        options.print_json([dict(zip(("name", "default", "help"), entry, strict=True)) for entry in describe()])
        return
    for name, default, text in describe():
        click.echo(f"{name} (default {default or 'empty'}): {text}")


def _toml(value: Any) -> str:
    """A bool, a whole number or a text: their JSON is TOML."""
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False)
