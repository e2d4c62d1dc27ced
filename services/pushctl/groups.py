"""`pushctl group`: who is in which group."""

from collections.abc import Callable
from typing import Any

import click

from services.pushctl import options
from services.pushctl.calls import ask
from shared.calls import Internal

_name = click.argument("name", metavar="GROUP")
_timeout = options.timeout(10, "How long to wait for the group service.")


def _members(command: Callable[..., Any]) -> Callable[..., Any]:
    """TOKEN... and `--uid`."""
    command = click.argument("tokens", nargs=-1, metavar="[TOKEN]...")(command)
    return click.option("--uid", "uids", multiple=True, help="A user, with all devices; may be repeated.")(command)


@click.group()
def group() -> None:
    """Make groups and say who is in them. On a host of the fleet.

    \b
    pushctl group create team alice bob --uid carol
    pushctl push --group team 'lunch?' --ttl 3600
    """


@group.command()
@_name
@_members
@_timeout
@options.as_json
def create(name: str, tokens: tuple[str, ...], uids: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Make GROUP, with these members."""
    _change("create", name, tokens, uids, timeout, as_json)


@group.command()
@_name
@_members
@_timeout
@options.as_json
def join(name: str, tokens: tuple[str, ...], uids: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Let these into GROUP."""
    _change("join", name, tokens, uids, timeout, as_json)


@group.command()
@_name
@_members
@_timeout
@options.as_json
def leave(name: str, tokens: tuple[str, ...], uids: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Take these out of GROUP."""
    _change("leave", name, tokens, uids, timeout, as_json)


@group.command()
@_name
@_timeout
@options.as_json
def dismiss(name: str, timeout: float, as_json: bool) -> None:
    """End GROUP."""
    _change("dismiss", name, (), (), timeout, as_json)


@group.command("list")
@_name
@_timeout
@options.as_json
def list_members(name: str, timeout: float, as_json: bool) -> None:
    """List the members of GROUP."""
    found = ask(Internal.GROUPS, {"op": "list", "group": name}, name, timeout)
    if as_json:
        options.print_json(found)
        return
    for kind, members in (("token", found["tokens"]), ("uid", found["uids"])):
        for member in members:
            click.echo(f"{kind}\t{member}")


def _change(op: str, name: str, tokens: tuple[str, ...], uids: tuple[str, ...], timeout: float, as_json: bool) -> None:
    fields = {"op": op, "group": name, "tokens": list(tokens), "uids": list(uids)}
    told = ask(Internal.GROUPS, fields, name, timeout)
    if as_json:
        options.print_json(told)
    else:
        click.echo(" ".join(f"{key}={value}" for key, value in told.items()))
