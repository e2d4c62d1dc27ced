"""Options that several commands have, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import ujson

if TYPE_CHECKING:
    from services.sender import Sender

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def timeout(default: float, text: str) -> Callable[[F], F]:
    """`--timeout SECONDS`."""
    seconds = click.FloatRange(min=0.1)
    return click.option("--timeout", type=seconds, default=default, show_default=True, metavar="SECONDS", help=text)


def sender_options(command: F) -> F:
    """`--router`: which router to ask."""
    return click.option(
        "--router",
        "routers",
        multiple=True,
        metavar="ENDPOINT",
        help="A router's sender endpoint, e.g. tcp://10.0.0.1:6700; may be repeated. Default: this host's.",
    )(command)


@contextmanager
def open_sender(routers: tuple[str, ...], timeout: float, **settings: Any) -> Iterator[Sender]:
    """A sender whose router has answered. Raises SettingsError, and SenderError `unreachable`."""
    from services.environment import read_settings  # noqa: PLC0415  (costs 0.1 s; `--help` needs none of it)
    from services.sender import Sender  # noqa: PLC0415
    from services.status.addresses import reachable_endpoint  # noqa: PLC0415

    endpoints = routers or (reachable_endpoint(read_settings()),)
    with Sender(endpoints, give_up_s=timeout, **settings) as sender:
        try:
            sender.wait_ready(timeout)
            yield sender
        except BaseException:
            sender.close(0)
            raise


def print_json(value: Any) -> None:
    """One line of JSON."""
    click.echo(ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False))
