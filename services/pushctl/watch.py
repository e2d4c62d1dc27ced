"""`pushctl watch`: events, such as who comes and who goes, as the presence service publishes them."""

from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import click
import ujson
import zmq

from services.pushctl import options
from services.pushctl.calls import tokens_of
from services.pushctl.faults import UNREACHABLE, Fault
from shared.places import presence_path
from shared.startup.environment import read_settings


@click.command()
@click.option("--token", "tokens", multiple=True, help="Only this token; may be repeated.")
@click.option("--user", "uid", help="Only clients of this user.")
@click.option("--group", help="Only who is a member of this group now.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many.")
@click.option("--timeout", type=options.Seconds(min=0), metavar="SECONDS", help="End after this time.")
@options.as_json
def watch(
    tokens: tuple[str, ...], uid: str | None, group: str | None, count: int | None, timeout: float | None, as_json: bool
) -> None:
    """Print who comes and who goes, and other events if they are kept, until Ctrl-C.

    On a host where the presence service runs.
    """
    path = presence_path(read_settings())
    if not path.exists():
        raise Fault(f"no presence service runs: there is no {path}", UNREACHABLE)
    wanted = {*tokens, *(tokens_of("group", group, 10) if group else ())}
    until = float("inf") if timeout is None else monotonic() + timeout
    told = 0
    with suppress(KeyboardInterrupt):
        for event in _events(f"ipc://{path}", until):
            if ((wanted or group) and event["token"] not in wanted) or (uid and event.get("uid") != uid):
                continue
            options.print_json(event) if as_json else click.echo(_line(event))
            told += 1
            if told == count:
                break


def _events(endpoint: str, until: float) -> Iterator[dict[str, Any]]:
    """What is published from now on, until a time of the monotonic clock."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(endpoint)
        click.echo(f"watching {endpoint}", err=True)
        while (left := until - monotonic()) > 0:
            if socket.poll(int(min(1.0, left) * 1000)):
                yield ujson.loads(socket.recv_multipart()[1])


def _line(event: dict[str, Any]) -> str:
    parts = [event["kind"], event["token"]] + [event.get(name) for name in ("worker", "protocol", "reason", "push_id")]
    return "\t".join([part for part in parts if part])
