"""/v1/tokens/{token}/explanation: where a token lies, what is wrong with its client, and its messages of late."""

import time
from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from services.api.keys import READ
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.parts import Parts, answer, blueprint
from services.api.v1.pushing import as_problem, ready_sender
from services.api.v1.shapes import Answer, TokenPath
from services.sender.gevent import Sender
from services.status.diagnoses import Evidence, explained
from services.status.hops import joined
from shared.calls import Internal
from shared.errors import SenderError


class Hop(Answer):
    at: int = Field(description="Unix us")
    where: str = Field(description="router 0, or a worker's name")
    what: str
    more: str | int = Field(description="whom it was given to, the outcome, or the message id")


class RecentMessage(Answer):
    id: str = Field(description="push id")
    bytes: int
    request_id: str = Field(description="empty: its sender gave none")
    outcome: str | None = Field(description="null: none yet")
    hops: list[Hop] = Field(description="in their order")


class Explanation(Answer):
    """What `pushctl explain` tells, as one router and the workers know it."""

    token: str
    online: bool
    worker: str | None = Field(description="that has its client")
    slot: int
    owner: str | None = Field(description="of its slot, by the ring")
    problems: list[str] = Field(description="what is wrong, in words")
    messages: list[RecentMessage] = Field(description="of late, the oldest first; 100 at most from each process")


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group = blueprint("explanations", "What happens to a token's pushes")

    @group.get(
        "/tokens/<part:token>/explanation",
        operation_id="explain_token",
        security=security(READ),
        responses={200: Explanation},
    )
    @needs(READ)
    def explain_token(path: TokenPath) -> Response:
        """Say where a token lies on the ring, what is wrong, and what became of its last pushes, hop by hop"""
        return answer(_explanation(parts, ready_sender(parts.sender), path.token))

    return group


def _explanation(parts: Parts, sender: Sender, token: str) -> dict[str, Any]:
    """Raises Problem."""
    now_us = time.time_ns() // 1000
    try:
        router = sender.explain(token)
    except SenderError as error:
        raise as_problem(error) from None
    evidence = Evidence(token, {sender.endpoint: router}, _presence(parts, token), "not asked", now_us // 1000)
    said = {name: worker["said"] for name, worker in evidence.workers.items() if worker["said"]}
    found = explained(evidence)
    messages = [{key: value for key, value in one.items() if key != "token"} for one in joined([router], said, now_us)]
    return {
        **{name: found[name] for name in ("token", "online", "worker", "slot", "owner", "problems")},
        "messages": messages,
    }


def _presence(parts: Parts, token: str) -> dict[str, Any] | str:
    """Where there is no such service, it has nothing to say."""
    try:
        (found,) = parts.calls.fields(Internal.PRESENCE, {"op": "find", "tokens": [token]}, "")["found"]
    except Problem as problem:
        return str(problem)
    return dict(found)
