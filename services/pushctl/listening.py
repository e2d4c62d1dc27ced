"""`pushctl listen`: a real client."""

import signal
import sys
from base64 import b64encode
from time import monotonic
from types import FrameType
from typing import Any

import click

from services.clients import PROTOCOLS, Client, Delivery, Options, connect
from services.pushctl import options
from services.pushctl.faults import FAILED
from shared.signals import Signal

#: Seconds for connecting and for the answer to SUB.
_CONNECT_S = 10.0


@click.command()
@click.argument("token")
@click.option("--protocol", type=click.Choice(list(PROTOCOLS)), default="ws", show_default=True, help="How to connect.")
@click.option("--host", help="Where the gateway listens. Default: the setting host.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its client port. Default: the setting client_port.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many pushes.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time.")
@click.option("--ack", is_flag=True, help="Acknowledge pushes.")
@click.option("--ids", is_flag=True, help="Ask for push ids (shown with --json).")
@click.option("--base64", is_flag=True, help="Have payloads sent as base64, so that a WebSocket text client gets any.")
@click.option("--deflate", is_flag=True, help="Accept compressed bodies.")
@click.option("--uid", help="The user whose device this is.")
@click.option("--interval", type=click.IntRange(min=1), default=30, show_default=True, help="Heartbeat, in seconds.")
@options.as_json
@click.pass_context
def listen(
    ctx: click.Context,
    token: str,
    protocol: str,
    host: str | None,
    port: int | None,
    count: int | None,
    timeout: float | None,
    ack: bool,
    ids: bool,
    base64: bool,
    deflate: bool,
    uid: str | None,
    interval: int,
    as_json: bool,
) -> None:
    """Be the client of TOKEN and print each payload on a line, until Ctrl-C.

    Exit code 1 if --timeout comes before --count pushes, or the gateway disconnects this client;
    3 if the connection breaks.
    """
    where = _address(host, port)
    asked = Options(
        uid=uid, ack=ack, ids=ids, base64=base64, accept=["deflate"] if deflate else [], interval_s=interval
    )
    signal.signal(signal.SIGTERM, _interrupt)
    with connect(protocol, *where, _CONNECT_S) as wire:
        client = Client(wire, token, asked)
        try:
            client.subscribe(_CONNECT_S)
            click.echo(f"listening as {client.token} ({protocol}) on {where[0]}:{where[1]}", err=True)
            got = _print_pushes(client, count, timeout, as_json)
        except KeyboardInterrupt:
            count = got = 0
        client.close()
    if count and got < count:
        click.echo(f"pushctl: {got} of {count} pushes within {timeout:g} s", err=True)
        ctx.exit(FAILED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends it as Ctrl-C does: with DISCONNECT."""
    raise KeyboardInterrupt


def _address(host: str | None, port: int | None) -> tuple[str, int]:
    """Where the gateway is, by option or by setting."""
    if host and port:
        return host, port
    from services.status.addresses import reachable  # noqa: PLC0415
    from shared.startup.environment import read_settings  # noqa: PLC0415  (nothing to read if both are said)

    settings = read_settings()
    return host or reachable(settings.host), port or settings.client_port


def _print_pushes(client: Client, count: int | None, timeout: float | None, as_json: bool) -> int:
    """Prints pushes until `count` or `timeout`; how many there were."""
    got, until = 0, float("inf") if timeout is None else monotonic() + timeout
    while (count is None or got < count) and monotonic() < until:
        delivery = client.receive(min(60.0, max(0.0, until - monotonic())))
        if delivery is not None:
            got += 1
            _print(delivery, as_json)
    return got


def _print(delivery: Delivery, as_json: bool) -> None:
    if as_json:
        options.print_json(as_object(delivery))
    else:
        sys.stdout.buffer.write(delivery.payload + b"\n")
    sys.stdout.flush()


def as_object(delivery: Delivery) -> dict[str, Any]:
    """A push for --json: `payload` if it is text, else `payload_base64`."""
    try:
        said: dict[str, Any] = {"payload": delivery.payload.decode()}
    except UnicodeDecodeError:
        said = {"payload_base64": b64encode(delivery.payload).decode()}
    more = {"push_id": delivery.push_id, "message_id": delivery.message_id, "sub_signal": delivery.sub_signal}
    signal_name = {} if delivery.signal == Signal.PUSH else {"signal": Signal(delivery.signal).name}
    return {**said, **signal_name, **{key: value for key, value in more.items() if value}}
