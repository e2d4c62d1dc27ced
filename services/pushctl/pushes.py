"""`pushctl push`."""

import sys
from typing import BinaryIO

import click

from services.pushctl import options
from services.pushctl.faults import FAILED
from shared.outcomes import Outcome

#: The push is where it should be, or on its way.
GOOD = frozenset({Outcome.SENT, Outcome.ACKED, Outcome.STORED, Outcome.BUFFERED})


@click.command()
@click.argument("token", required=False)
@click.argument("text", required=False)
@click.option("--all", "to_all", is_flag=True, help="Push to every client; then there is no TOKEN.")
@click.option("--user", "to", flag_value="user", help="TOKEN is the uid of a user: push to all devices.")
@click.option("--group", "to", flag_value="group", help="TOKEN is the name of a group: push to its members.")
@click.option("--ttl", type=click.IntRange(0), help="Seconds to keep it for a client who is away.")
@click.option("--wait-acked", is_flag=True, help="Wait until the client has acknowledged it.")
@click.option("--file", type=click.File("rb"), help="Push the bytes of this file instead of TEXT.")
@click.option("--signal", type=click.Choice(["PUSH", "PUBLISH"], case_sensitive=False), help="Signal of the packet.")
@click.option("--sub-signal", metavar="NAME|NUMBER", help="Sub-signal of the packet, e.g. MN.")
@click.option("--request-id", metavar="ID", help="Stands in every log line about the push (docs/logs.md).")
@options.timeout(5, "How long to look for a router and to try.")
@options.sender_options
@options.as_json
@click.pass_context
def push(
    ctx: click.Context,
    token: str | None,
    text: str | None,
    to_all: bool,
    to: str | None,
    ttl: int | None,
    wait_acked: bool,
    file: BinaryIO | None,
    signal: str | None,
    sub_signal: str | None,
    request_id: str | None,
    timeout: float,
    way: options.Way,
    as_json: bool,
) -> None:
    """Push TEXT to TOKEN and print the outcome. TEXT `-` reads standard input.

    \b
    pushctl push alice hello
    pushctl push alice --file picture.png
    pushctl push --all 'maintenance at noon'
    pushctl push --group team 'lunch?' --ttl 3600

    Exit code 1 if the outcome is none of SENT, ACKED, STORED, BUFFERED.
    """
    target, payload = _arguments(token, text, to_all, file)
    if to_all and to:
        raise click.UsageError(f"--all and --{to} exclude each other")
    if target is not None:
        options.checked_name(target, {"user": "uid", "group": "group"}.get(to or "", "token"))
    push_options = _push_options(
        signal, sub_signal, timeout, ttl=ttl, wait="acked" if wait_acked else None, request_id=request_id
    )
    with options.open_sender(way, timeout) as sender:
        if target is None:
            outcome, counts = sender.push_all(payload, **push_options)
        elif to is not None:
            pushed = sender.push_user if to == "user" else sender.push_group
            outcome, counts = pushed(target, payload, **push_options)
        else:
            outcome, counts = sender.push(target, payload, **push_options), {}
    if as_json:
        more = {"counts": counts} if target is None or to else {"token": target}
        options.print_json({**more, "outcome": outcome.name})
    else:
        words = [outcome.name, *(f"{key}={count}" for key, count in counts.items() if count)]
        click.echo(" ".join(words + ["no such group"] * (counts.get("exists") is False)))
    if outcome not in GOOD:
        ctx.exit(FAILED)


def _arguments(token: str | None, text: str | None, to_all: bool, file: BinaryIO | None) -> tuple[str | None, bytes]:
    """(token or None for all, payload). Raises UsageError."""
    words = [word for word in (token, text) if word is not None]
    wanted = (not to_all) + (file is None)
    if len(words) != wanted:
        needed = " and ".join(
            [name for name, is_needed in (("TOKEN", not to_all), ("TEXT", file is None)) if is_needed]
        )
        raise click.UsageError(f"expected {needed or 'no arguments'}, got {len(words)} arguments")
    target = None if to_all else words[0]
    if file is not None:
        return target, file.read()
    if words[-1] == "-":
        return target, sys.stdin.buffer.read()
    return target, words[-1].encode("utf-8", "surrogateescape")


def _push_options(
    signal: str | None, sub_signal: str | None, timeout: float, **more: str | int | None
) -> dict[str, str | int]:
    said: dict[str, str | int | None] = {
        "signal": signal,
        "sub_signal": int(sub_signal) if sub_signal and sub_signal.isdecimal() else sub_signal,
        "timeout_ms": int(timeout * 1000) if timeout < 5 else None,
        **more,
    }
    return {key: value for key, value in said.items() if value is not None}
