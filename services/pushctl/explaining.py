"""`pushctl explain`: what the whole fleet knows of a token, or of a message."""

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from services.pushctl import options
from services.pushctl.cached_messages import kept_for
from services.pushctl.calls import ask
from services.pushctl.faults import FAILED, UNREACHABLE, Fault, as_fault
from services.pushctl.rings import Rings
from services.status.diagnoses import Evidence, explained, known_workers
from services.status.hops import as_lines as message_lines
from services.status.hops import joined
from shared.calls import Internal
from shared.errors import SenderError
from shared.log_events import escaped
from shared.settings import Settings
from shared.startup.environment import read_settings
from shared.traces import MESSAGE_MAX

_TOO_OLD = "the router is of a version that does not know this question: use find, presence and cached"
_SHOWN_CACHED = 5
_SHOWN_MESSAGES = 3


@click.command()
@click.argument("token", metavar="[TOKEN]", required=False)
@click.option(
    "--message",
    metavar="ID",
    default="",
    help="One message: its push id, the `id` of its request (-INDEX: one of its targets), its request id,"
    " or, with TOKEN, the message id that the client saw.",
)
@options.timeout(5, "How long to wait for routers and services.")
@options.sender_options
@options.as_json
@click.pass_context
def explain(
    ctx: click.Context, token: str | None, message: str, timeout: float, way: options.Way, as_json: bool
) -> None:
    """Say all that the fleet knows of TOKEN, and what is wrong; or of a message, hop by hop.

    Every router is asked where its pushes go, every worker what it has, the presence service and the message cache too.
    Messages of late are known as long as recent_messages_max and recent_bytes_max have room.

    Exit code 0 if its client is connected, 1 if not; with --message 0 if it is known, 1 if not; 3 if no router
    answers that knows the question.
    """
    if token is None and not message:
        raise click.UsageError("TOKEN or --message is needed")
    if token is not None:
        options.checked_name(token)
    if len(message) > MESSAGE_MAX:
        raise click.UsageError(f"--message has more than {MESSAGE_MAX} characters: no id is so long")
    settings = read_settings()
    endpoints, curve = options.routers_and_keys(settings, way)
    with Rings(endpoints, curve, timeout) as rings:
        found = _found(rings, settings, token, message, timeout)
    if as_json:
        options.print_json(found)
    else:
        for line in as_lines(found):
            click.echo(escaped(line))
    if not (found["messages"] if message else found["online"]):
        ctx.exit(FAILED)


def _found(rings: Rings, settings: Settings, token: str | None, message: str, timeout: float) -> dict[str, Any]:
    """As one object. Raises Fault."""
    told = _ask(rings, token, message)
    if message:
        messages = told.messages()
        tokens = {each["token"] for each in messages if each["token"] is not None}
        if len(tokens) != 1:
            return {"message": message, "token": token, "messages": messages}
        (token,) = tokens
        told = _ask(rings, token, messages[0]["id"] if len(messages) == 1 else message)
    assert token is not None
    presence, cached = _presence(token, timeout), _cached(token, settings, timeout)
    evidence = Evidence(token, told.routers, presence, cached, told.asked_us // 1000)
    return {**explained(evidence), "messages": told.messages()}


class _Told(NamedTuple):
    """What the routers said, by endpoint, and when they were asked (Unix us)."""

    routers: dict[str, dict[str, Any] | str]
    asked_us: int

    def messages(self) -> list[dict[str, Any]]:
        """Those of late that were asked for."""
        answered = [router for router in self.routers.values() if isinstance(router, dict)]
        said = {name: worker["said"] for name, worker in known_workers(answered).items() if worker["said"]}
        return joined(answered, said, self.asked_us)


def _ask(rings: Rings, token: str | None, message: str) -> _Told:
    """Raises Fault if no router answers."""
    asked_us = time.time_ns() // 1000
    answers = rings.explanations(token, message)
    errors = [answer for answer in answers if isinstance(answer, SenderError)]
    if len(errors) == len(answers):
        raise Fault(_TOO_OLD, UNREACHABLE) if errors[0].code == "unknown_command" else as_fault(errors[0])
    told = {
        endpoint: str(answer) if isinstance(answer, SenderError) else answer
        for endpoint, answer in zip(rings.endpoints, answers, strict=True)
    }
    return _Told(told, asked_us)


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
    """For people: where it is, then a line for each that was asked, then its messages, and what is wrong."""
    if "problems" not in found:
        return _message_lines(found["messages"]) or [f"nothing is known of a message {found['message']}"]
    lines = [_where(found)]
    lines += [_router(router) for router in found["routers"]]
    lines += _connection(found["connection"]) if found["connection"] else []
    lines += [_presence_line(found["presence"]), *_cached_lines(found["cached"])]
    shown = found["messages"][-_SHOWN_MESSAGES:]
    lines += [f"  messages of late: {len(found['messages'])}", *_message_lines(shown)]
    return lines + [f"wrong: {problem}" for problem in found["problems"]]


def _message_lines(messages: list[dict[str, Any]]) -> list[str]:
    return [line for message in messages for line in message_lines(message, _time(message["hops"][0]["at"] // 1000))]


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
