"""`pushctl watch`: who comes and who goes, as the presence service publishes it."""

from time import monotonic

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
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time.")
@options.as_json
def watch(
    tokens: tuple[str, ...], uid: str | None, group: str | None, count: int | None, timeout: float | None, as_json: bool
) -> None:
    """Print who comes and who goes, until Ctrl-C. On a host where the presence service runs."""
    path = presence_path(read_settings())
    if not path.exists():
        raise Fault(f"no presence service runs: there is no {path}", UNREACHABLE)
    wanted = {*tokens, *(tokens_of("group", group, 10) if group else ())}
    until = float("inf") if timeout is None else monotonic() + timeout
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(f"ipc://{path}")
        click.echo(f"watching {path}", err=True)
        while (count is None or count > 0) and monotonic() < until:
            if not socket.poll(int(min(1000.0, max(0.0, until - monotonic()) * 1000))):
                continue
            event = ujson.loads(socket.recv_multipart()[1])
            if ((wanted or group) and event["token"] not in wanted) or (uid and event["uid"] != uid):
                continue
            count = count - 1 if count else None
            if as_json:
                options.print_json(event)
            else:
                parts = [event["kind"], event["token"], event["worker"], event["protocol"], event.get("reason")]
                click.echo("\t".join([part for part in parts if part]))
