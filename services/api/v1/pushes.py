"""POST /v1/pushes: one payload to a token, several, a user, a group or everybody."""

from collections import Counter
from time import monotonic
from typing import Annotated, Any, Literal

import flask
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from services.api.keys import PUSH
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.parts import Parts, answer, blueprint, origin
from services.api.v1.pushing import ONE_PAYLOAD, PushOptions, as_problem, outcome_of, ready_sender
from services.api.v1.shapes import Answer, Name, Parameters
from services.sender.gevent import Sender
from services.sender.tickets import Push
from shared.errors import SenderError
from shared.outcomes import Outcome

TOKENS_MAX = 1000
#: Tokens times bytes of the payload.
COPIES_MAX_BYTES = 16 << 20

_TARGETS = ("token", "tokens", "user", "group", "all")


_ONE_TARGET: JsonDict = {"oneOf": [{"required": [name]} for name in _TARGETS]}


def _is_true(value: Any) -> Any:
    """Of what is equal to it, 1 is none: who sends that to everybody may have meant something else."""
    if value is not True:
        raise ValueError("all is not true")
    return value


class PushRequest(PushOptions):
    """One of token, tokens, user, group and all; one of payload and payload_base64."""

    model_config = ConfigDict(json_schema_extra={"allOf": [_ONE_TARGET, ONE_PAYLOAD]})

    token: Name | None = None
    tokens: Annotated[list[Name], Field(min_length=1, max_length=TOKENS_MAX)] | None = None
    user: Name | None = Field(default=None, description="a uid: all devices of this user")
    group: Name | None = Field(default=None, description="all members of this group")
    all: Annotated[Literal[True] | None, BeforeValidator(_is_true)] = Field(
        default=None, description="every client that is connected; with ttl or wait: acked all known tokens"
    )

    def targets(self) -> tuple[str, list[str]]:
        """(kind, targets). Raises ValueError."""
        said = [name for name in _TARGETS if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(f"one of {', '.join(_TARGETS)} is needed")
        kind, target = said[0], getattr(self, said[0])
        if kind == "tokens":
            return "token", list(target)
        return kind, ["*" if kind == "all" else target]


class Result(Answer):
    """What became of the push to one target."""

    token: str | None = Field(default=None, description="absent for a user, a group and all")
    outcome: str = Field(description="docs/sender-protocol.md, section Outcomes")
    id: str | None = Field(description="push id, as clients see it; null: it never went")


class PushAnswer(Answer):
    results: list[Result] = Field(description="one for each token, in order; else one")
    counts: dict[str, int] = Field(description="how many clients had which outcome")


class IdempotencyHeader(Parameters):
    model_config = ConfigDict(extra="ignore")

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="the same request with the same key, within 10 minutes, pushes nothing twice",
    )


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group = blueprint("pushes", "Push to clients")

    @group.post("/pushes", operation_id="push", security=security(PUSH), responses={200: PushAnswer})
    @needs(PUSH)
    def push(header: IdempotencyHeader, body: PushRequest) -> Response:
        """Push one payload, and wait for the outcome"""
        try:
            (kind, targets), payload = body.targets(), body.content()
        except ValueError as error:
            raise Problem("invalid", str(error), []) from None
        if len(targets) * len(payload) > COPIES_MAX_BYTES:
            raise Problem("too_large", f"{len(targets)} copies of {len(payload)} bytes exceed {COPIES_MAX_BYTES}")
        options = {**body.options(), **origin()}
        if kind != "token":
            options["to"] = kind
        sender, began = ready_sender(parts.sender), monotonic()
        try:
            tickets = sender.push_request(
                [(target, payload) for target in targets], id=_scoped(header.idempotency_key), **options
            )
        except SenderError as error:
            raise as_problem(error) from None
        until = monotonic() + body.patience_s()
        outcomes = [outcome_of(ticket, until - monotonic()) for ticket in tickets]
        parts.push_times.add(monotonic() - began, len(tickets))
        if kind == "token":
            return answer(_answer(sender, targets, tickets, outcomes))
        counts = dict(tickets[0].detail or {})
        if not counts.pop("exists", True):
            raise Problem("no_such_group", "no such group")
        told = {"outcome": outcomes[0].name, "id": sender.push_id(tickets[0])}
        return answer({"results": [told], "counts": counts})

    return group


def _scoped(key: str | None) -> str | None:
    """Two users of the API may choose the same Idempotency-Key."""
    return None if key is None else f"{flask.g.key_name}:{key}"


def _answer(sender: Sender, tokens: list[str], tickets: list[Push], outcomes: list[Outcome]) -> dict[str, Any]:
    counts = Counter([outcome.name.lower() for outcome in outcomes])
    told = zip(tokens, tickets, outcomes, strict=True)
    results = [{"token": token, "outcome": outcome.name, "id": sender.push_id(push)} for token, push, outcome in told]
    return {"results": results, "counts": {"matched": len(tokens), **counts}}
