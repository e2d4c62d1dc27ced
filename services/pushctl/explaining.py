"""`pushctl explain`: what the whole fleet knows of a token."""

import time
from datetime import UTC, datetime
from typing import Any

import click

from services.pushctl import options
from services.pushctl.cached_messages import kept_for
from services.pushctl.calls import ask
from services.pushctl.diagnoses import Evidence, explained
from services.pushctl.faults import FAILED, UNREACHABLE, Fault
from services.pushctl.rings import Rings
from shared.calls import Internal
from shared.errors import PushError
from shared.settings import Settings
from shared.startup.environment import read_settings
from shared.tokens import token_fault

_SHOWN_CACHED = 5


@click.command()
@click.argument("token", metavar="TOKEN")
@options.timeout(5, "How long to wait for routers and services; each is asked once.")
@options.sender_options
@options.as_json
@click.pass_context
def explain(ctx: click.Context, token: str, timeout: float, way: options.Way, as_json: bool) -> None:
    """Say all that the fleet knows of TOKEN, and what is wrong.

    Every router is asked where its pushes go, every worker what it has, the presence service and the message cache too.
    Exit code 0 if its client is connected, 1 if not.
    """
    if fault := token_fault(token.encode("utf-8", "surrogateescape")):
        raise click.UsageError(fault)
    settings = read_settings()
    found = explained(_evidence(settings, way, token, timeout))
    if as_json:
        options.print_json(found)
    else:
        for line in as_lines(found):
            click.echo(line)
    if not found["online"]:
        ctx.exit(FAILED)


def _evidence(settings: Settings, way: options.Way, token: str, timeout: float) -> Evidence:
    """Raises Fault if no router answers."""
    endpoints, curve = options.routers_and_keys(settings, way)
    with Rings(endpoints, curve, timeout) as rings:
        answers = rings.explanations(token, "")
    if all(isinstance(answer, PushError) for answer in answers):
        raise Fault(f"{answers[0]}: is the fleet running?", UNREACHABLE)
    routers: dict[str, dict[str, Any] | str] = {
        endpoint: str(answer) if isinstance(answer, PushError) else answer
        for endpoint, answer in zip(endpoints, answers, strict=True)
    }
    now_ms = time.time_ns() // 1_000_000
    return Evidence(token, routers, _presence(token, timeout), _cached(token, settings, timeout), now_ms)


def _presence(token: str, timeout: float) -> dict[str, Any] | str:
    try:
        (found,) = ask(Internal.PRESENCE, {"op": "find", "tokens": [token]}, "", timeout)["found"]
    except Fault as fault:
        return fault.message
    return dict(found)


def _cached(token: str, settings: Settings, timeout: float) -> list[dict[str, Any]] | str:
    try:
        return kept_for(token, settings, timeout)
    except Fault as fault:
        return fault.message


def as_lines(found: dict[str, Any]) -> list[str]:
    """For people: where it is, then a line for each that was asked, then what is wrong."""
    lines = [_where(found)]
    lines += [_router(router) for router in found["routers"]]
    lines += _connection(found["connection"]) if found["connection"] else []
    lines += [_presence_line(found["presence"]), *_cached_lines(found["cached"])]
    return lines + [f"wrong: {problem}" for problem in found["problems"]]


def _where(found: dict[str, Any]) -> str:
    slot = f"slot {found['slot']}, owner {found['owner'] or 'nobody'}"
    held = found["connection"]
    if held is None:
        return f"{found['token']} is not connected ({slot})"
    user = f", user {held['uid']}" if held["uid"] else ""
    return (
        f"{found['token']} is connected to {found['worker']} since {_time(held['since'])}"
        f" by {held['protocol']} from {held['address']}{user} ({slot})"
    )


def _router(router: dict[str, Any]) -> str:
    if "error" in router:
        return f"  router {router['endpoint']}: {router['error']}"
    claim = router["claim"]
    way = f"to {claim['worker']} by its claim" if claim else f"to the owner, {router['owner'] or 'nobody'}"
    epoch = ".".join(map(str, router["epoch"]))
    return f"  router {router['router']}: {router['role']}, ring {epoch}, sends {way}; {router['waiting']} pushes wait"


def _connection(held: dict[str, Any]) -> list[str]:
    silent = "unknown" if held["silent_s"] is None else f"{held['silent_s']} s ago"
    kernel = held["unacknowledged_bytes"]
    stored = held["stored"]
    asked = f", {', '.join(held['options'])}" if held["options"] else ""
    return [
        f"  client: heard {silent}, closed after {held['heartbeat_s']} s of silence; moved {held['moves']} times"
        + asked,
        f"  output: {held['output_bytes']} bytes wait in the worker, {_known(kernel)} in the kernel;"
        f" {held['unacknowledged']} of {held['window']} pushes unacknowledged",
        *(
            [f"  replay: sent up to {stored['sent_up_to']} of {stored['newest']}"]
            if stored and not stored["live"]
            else []
        ),
    ]


def _presence_line(presence: dict[str, Any]) -> str:
    if "error" in presence:
        return f"  presence: {presence['error']}"
    if not presence["online"]:
        return "  presence: offline"
    return f"  presence: online at {presence['worker']} since {_time(presence['since'])}"


def _cached_lines(cached: list[dict[str, Any]] | dict[str, Any]) -> list[str]:
    if isinstance(cached, dict):
        return [f"  stored: {cached['error']}"]
    more = [f"    and {len(cached) - _SHOWN_CACHED} more"] if len(cached) > _SHOWN_CACHED else []
    shown = [
        f"    {one['id']}  {one['bytes']} bytes, until {one['expires']}  {one['begins']}"
        for one in cached[:_SHOWN_CACHED]
    ]
    return [f"  stored: {len(cached)} messages", *shown, *more]


def _known(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
