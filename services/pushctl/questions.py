"""`pushctl find`, `kick`, `stat` and `token-slot`."""

from datetime import UTC, datetime
from typing import Any

import click

from services.pushctl import options
from services.pushctl.calls import tokens_of
from services.pushctl.faults import FAILED
from shared.tokens import slot_of

#: In place of an answer.
_SILENT = "unknown: its worker did not answer"

_tokens = click.argument("tokens", nargs=-1, required=True, metavar="TOKEN...")


@click.command()
@_tokens
@click.option("--user", "of", flag_value="user", help="TOKEN is the uid of a user: find all devices.")
@click.option("--group", "of", flag_value="group", help="TOKEN is the name of a group: find all members.")
@options.timeout(10, "How long to look for a router and to wait for its answer.")
@options.sender_options
@options.as_json
@click.pass_context
def find(
    ctx: click.Context, tokens: tuple[str, ...], of: str | None, timeout: float, way: options.Way, as_json: bool
) -> None:
    """Say for each TOKEN whether its client is online, and where. Exit code 1 if one is not, or unknown."""
    if of:
        tokens = tuple(token for name in tokens for token in tokens_of(of, name, timeout))
    with options.open_sender(way, timeout) as sender:
        answers = sender.find(tokens)
    if as_json:
        told = [{"online": None} if answer is None else answer for answer in answers]
        options.print_json([{"token": token, **answer} for token, answer in zip(tokens, told, strict=True)])
    else:
        for token, answer in zip(tokens, answers, strict=True):
            click.echo(whereabouts(token, answer))
    if not all(answer and answer.get("online") for answer in answers):
        ctx.exit(FAILED)


def whereabouts(token: str, answer: dict[str, Any] | None) -> str:
    """One line that says where a client is."""
    if answer is None:
        return f"{token}\t{_SILENT}"
    if not answer.get("online"):
        return f"{token}\toffline"
    since = datetime.fromtimestamp(answer.get("since", 0) / 1000, UTC).isoformat(timespec="seconds")
    parts = [token, "online", answer.get("worker", ""), answer.get("protocol", ""), answer.get("address", ""), since]
    return "\t".join([str(part) for part in parts] + ([f"uid={answer['uid']}"] if answer.get("uid") else []))


@click.command()
@_tokens
@options.timeout(10, "How long to look for a router and to wait for its answer.")
@options.sender_options
@options.as_json
@click.pass_context
def kick(ctx: click.Context, tokens: tuple[str, ...], timeout: float, way: options.Way, as_json: bool) -> None:
    """Disconnect the client of each TOKEN. Exit code 1 if one was not online, or unknown."""
    with options.open_sender(way, timeout) as sender:
        answers = sender.kick(tokens)
    if as_json:
        options.print_json([{"token": token, "kicked": kicked} for token, kicked in zip(tokens, answers, strict=True)])
    else:
        for token, kicked in zip(tokens, answers, strict=True):
            click.echo(f"{token}\t{_SILENT if kicked is None else 'kicked' if kicked else 'offline'}")
    if not all(answers):
        ctx.exit(FAILED)


@click.command()
@options.timeout(5, "How long to look for a router and to wait for its answer.")
@options.sender_options
@options.as_json
def stat(timeout: float, way: options.Way, as_json: bool) -> None:
    """Show the fleet's figures: workers, connections, counters."""
    with options.open_sender(way, timeout) as sender:
        figures = sender.stat()
    if as_json:
        options.print_json(figures)
    else:
        for line in as_lines(figures):
            click.echo(line)


def as_lines(value: Any, indent: str = "") -> list[str]:
    """Nested objects as indented `name: value` lines; lists of plain values on one line."""
    lines = []
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(entry, dict) or (isinstance(entry, list) and any(isinstance(part, dict) for part in entry)):
            lines += [f"{indent}{key}:", *as_lines(entry, indent + "  ")]
        else:
            shown = ", ".join([str(part) for part in entry]) if isinstance(entry, list) else entry
            lines.append(f"{indent}{key}: {shown}")
    return lines


@click.command("token-slot")
@_tokens
@options.as_json
def token_slot(tokens: tuple[str, ...], as_json: bool) -> None:
    """Say which of the 4,096 slots each TOKEN falls into. Asks nobody."""
    slots = [slot_of(options.checked_name(token)) for token in tokens]
    if as_json:
        options.print_json(dict(zip(tokens, slots, strict=True)))
    else:
        for name, slot in zip(tokens, slots, strict=True):
            click.echo(f"{name}\t{slot}")
