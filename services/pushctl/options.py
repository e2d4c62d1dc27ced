"""Options that several commands have, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
import ujson

from shared.log_events import escaped_json
from shared.tokens import token_fault

if TYPE_CHECKING:
    from services.sender import CurveKeys, Sender
    from shared.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


class Seconds(click.FloatRange):
    """A time that comes to an end: no nan, no inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not isfinite(seconds):
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


def timeout(default: float, text: str) -> Callable[[F], F]:
    """`--timeout SECONDS`."""
    seconds = Seconds(min=0.1)
    return click.option("--timeout", type=seconds, default=default, show_default=True, metavar="SECONDS", help=text)


class Way(NamedTuple):
    """How to reach the routers, as said on the command line."""

    endpoints: tuple[str, ...]
    key_file: Path | None
    router_key: str | None


def sender_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--router`, `--key-file` and `--router-key`, given to the command as one `way`."""

    @click.option(
        "--router",
        "endpoints",
        multiple=True,
        metavar="ENDPOINT",
        help="A router's sender endpoint, e.g. tcp://10.0.0.1:6700; may be repeated. Default: all of this host's.",
    )
    @click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        envvar="PUSHCTL_KEY_FILE",
        show_envvar=True,
        help="Your CURVE key pair, made by `pushctl keygen`, if the router wants one.",
    )
    @click.option(
        "--router-key",
        metavar="KEY",
        envvar="PUSHCTL_ROUTER_KEY",
        show_envvar=True,
        help="The router's public key. Default: that in the setting curve_server_key_file.",
    )
    @wraps(command)
    def with_way(
        *arguments: Any, endpoints: tuple[str, ...], key_file: Path | None, router_key: str | None, **more: Any
    ) -> Any:
        return command(*arguments, way=Way(endpoints, key_file, router_key), **more)

    return with_way


def checked_name(name: str, what: str = "token") -> bytes:
    """A token, uid or group that was said, in UTF-8. Raises UsageError for what can be none."""
    encoded = name.encode("utf-8", "surrogateescape")
    if fault := token_fault(encoded):
        raise click.UsageError(fault.replace("token", what, 1))
    return encoded


@contextmanager
def open_sender(way: Way, timeout: float, look_s: float | None = None, **settings: Any) -> Iterator[Sender]:
    """A sender whose router has answered. `timeout`: seconds for each push, and for the router, if not `look_s`.

    Raises SettingsError, and SenderError `unreachable`.
    """
    from services.sender import Sender  # noqa: PLC0415
    from shared.startup.environment import read_settings  # noqa: PLC0415  (costs 0.1 s; `--help` needs none of it)

    endpoints, curve = routers_and_keys(read_settings(), way)
    with Sender(endpoints, curve=curve, give_up_s=timeout, **settings) as sender:
        sender.wait_ready(timeout if look_s is None else look_s)
        yield sender


def routers_and_keys(settings: Settings, way: Way) -> tuple[tuple[str, ...], CurveKeys | None]:
    """The sender endpoints to use, and the keys to show. Raises SettingsError and UsageError."""
    from services.pushctl.keys import sender_keys  # noqa: PLC0415
    from services.status.addresses import reachable_endpoints  # noqa: PLC0415

    endpoints = way.endpoints or tuple(reachable_endpoints(settings))
    if not endpoints:
        raise click.UsageError("no router runs on this host: name one with --router")
    return endpoints, sender_keys(settings, way.key_file, way.router_key)


def print_json(value: Any) -> None:
    """One line of JSON."""
    click.echo(escaped_json(ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False)))
