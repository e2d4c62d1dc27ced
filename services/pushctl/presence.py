"""`pushctl presence`: who is connected, as the presence service knows it."""

from typing import Any

import click

from services.pushctl import options
from services.pushctl.calls import ask
from services.pushctl.faults import FAILED
from services.pushctl.questions import whereabouts
from shared.calls import Internal


@click.command()
@click.argument("tokens", nargs=-1, metavar="[TOKEN]...")
@click.option("--user", "uid", help="All devices of this user.")
@click.option("--group", help="All members of this group.")
@click.option("--list", "everybody", is_flag=True, help="Everybody who is connected.")
@options.timeout(10, "How long to wait for the presence service.")
@options.as_json
@click.pass_context
def presence(
    ctx: click.Context,
    tokens: tuple[str, ...],
    uid: str | None,
    group: str | None,
    everybody: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Say for each TOKEN, device or member who is connected, and where. Exit code 1 if one is not."""
    if sum(map(bool, (tokens, uid, group, everybody))) != 1:
        raise click.UsageError("one of TOKEN..., --user, --group and --list is needed")
    if everybody:
        found = _all_pages({"op": "list"}, timeout)
    elif tokens:
        found = ask(Internal.PRESENCE, {"op": "find", "tokens": list(tokens)}, "", timeout)["found"]
    else:
        found = _all_pages({"op": "find", **({"uid": uid} if uid else {"group": group})}, timeout)
    if as_json:
        options.print_json(found)
    else:
        for one in found:
            click.echo(whereabouts(one["token"], one))
    if not all(one["online"] for one in found):
        ctx.exit(FAILED)


def _all_pages(question: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = ask(Internal.PRESENCE, question | {"after": after}, "", timeout)
        found += page["found"]
        after = page["next"]
        if after is None:
            return found
