"""`pushctl user`: logins of users, and who may not log in."""

from datetime import UTC, datetime
from typing import Any

import click

from services.pushctl import options
from services.pushctl.calls import ask
from shared.calls import Internal

_uid = click.argument("uid", metavar="UID")
_timeout = options.timeout(10, "How long to wait for the login service.")


@click.group()
def user() -> None:
    """See the logins of users, end them, and keep users out. On a host of the fleet.

    \b
    pushctl user sessions 1f0a...
    pushctl user logout 1f0a... phone-1
    pushctl user block 1f0a...
    """


@user.command()
@_uid
@_timeout
@options.as_json
def sessions(uid: str, timeout: float, as_json: bool) -> None:
    """List the sessions of UID: token, since when, until when."""
    found = _ask({"op": "sessions", "uid": uid}, uid, timeout)
    if as_json:
        options.print_json(found)
        return
    for session in found["sessions"]:
        click.echo("\t".join([session["token"], _time(session["created"]), _time(session["expires"])]))
    if found["blocked"]:
        click.echo("this user is blocked", err=True)


@user.command()
@_uid
@click.argument("token", metavar="[TOKEN]", required=False)
@_timeout
@options.as_json
def logout(uid: str, token: str | None, timeout: float, as_json: bool) -> None:
    """End the session of UID with TOKEN, or all of them; its client is disconnected."""
    _change({"op": "logout", "uid": uid, "token": token}, uid, timeout, as_json)


@user.command()
@_uid
@_timeout
@options.as_json
def block(uid: str, timeout: float, as_json: bool) -> None:
    """Disconnect the clients of UID, and refuse them from now on."""
    _change({"op": "block", "uid": uid, "blocked": True}, uid, timeout, as_json)


@user.command()
@_uid
@_timeout
@options.as_json
def unblock(uid: str, timeout: float, as_json: bool) -> None:
    """Let UID in again, with the sessions that it had."""
    _change({"op": "block", "uid": uid, "blocked": False}, uid, timeout, as_json)


def _change(fields: dict[str, Any], uid: str, timeout: float, as_json: bool) -> None:
    told = _ask(fields, uid, timeout)
    if as_json:
        options.print_json(told)
    else:
        click.echo(" ".join(f"{key}={str(value).lower()}" for key, value in told.items()))


def _ask(fields: dict[str, Any], uid: str, timeout: float) -> dict[str, Any]:
    return ask(Internal.LOGIN, fields, uid, timeout)


def _time(unix_s: float | None) -> str:
    return "for ever" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
