"""/v1/connections: who is connected, and disconnecting them."""

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from services.api.keys import ADMIN, READ
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.calls import Calls
from services.api.v1.parts import Parts, answer, blueprint
from services.api.v1.pushing import as_problem, ready_sender
from services.api.v1.shapes import Answer, GroupPath, PageQuery, Parameters, TokenPath, UserPath
from services.sender.gevent import Sender
from shared.calls import Internal
from shared.errors import SenderError

#: Between worker and token in `next`; neither can hold it.
_NEXT = "\n"


class Connection(Answer):
    """One token's client, as its worker knows it."""

    token: str
    online: bool | None = Field(description="null: its worker did not answer")
    worker: str | None = None
    protocol: str | None = None
    address: str | None = None
    since: int | None = Field(default=None, description="Unix ms")
    uid: str | None = None


class ConnectionPage(Answer):
    connections: list[Connection] = Field(description="those with `online` false are not connected")
    next: str | None = Field(description="`after` for the next page; null: there is none")


class EverybodyQuery(Parameters):
    after: str = Field(default="", max_length=512, description="`next` of the page before")


class Kicked(Answer):
    kicked: bool | None = Field(description="null: its worker did not answer")


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group = blueprint("connections", "Who is connected")

    @group.get(
        "/connections/<part:token>", operation_id="get_connection", security=security(READ), responses={200: Connection}
    )
    @needs(READ)
    def get_connection(path: TokenPath) -> Response:
        """Say where a token's client is"""
        (found,) = _found(ready_sender(parts.sender), [path.token])
        if found["online"] is False:
            raise _not_connected()
        return answer(found)

    @group.delete("/connections/<part:token>", operation_id="kick", security=security(ADMIN), responses={200: Kicked})
    @needs(ADMIN)
    def kick(path: TokenPath) -> Response:
        """Disconnect a token's client"""
        sender = ready_sender(parts.sender)
        try:
            (kicked,) = sender.kick([path.token])
        except SenderError as error:
            raise as_problem(error) from None
        if kicked is False:
            raise _not_connected()
        return answer({"kicked": kicked})

    @group.get(
        "/connections", operation_id="list_connections", security=security(READ), responses={200: ConnectionPage}
    )
    @needs(READ)
    def list_connections(query: EverybodyQuery) -> Response:
        """List who is connected, worker by worker, as the presence service knows it"""
        return answer(_everybody(parts.calls, query.after))

    @group.get(
        "/users/<part:uid>/connections",
        operation_id="list_user_connections",
        security=security(READ),
        responses={200: ConnectionPage},
    )
    @needs(READ)
    def list_user_connections(path: UserPath, query: PageQuery) -> Response:
        """List the devices of a user, and where each is connected, or not"""
        tokens, following = _user_tokens(parts.calls, path.uid, query.after, query.limit)
        return answer({"connections": _page(parts, tokens), "next": following})

    @group.get(
        "/groups/<part:group>/connections",
        operation_id="list_group_connections",
        security=security(READ),
        responses={200: ConnectionPage},
    )
    @needs(READ)
    def list_group_connections(path: GroupPath, query: PageQuery) -> Response:
        """List the tokens of a group, and where each is connected, or not"""
        tokens, following = member_tokens(parts.calls, path.group, query.after, query.limit)
        return answer({"connections": _page(parts, tokens), "next": following})

    return group


def _everybody(calls: Calls, after: str) -> dict[str, Any]:
    """A page as large as the presence service gives it. Raises Problem."""
    worker, _, token = after.partition(_NEXT)
    found = calls.fields(Internal.PRESENCE, {"op": "list", "after": [worker, token] if after else None}, "list")
    following = found["next"]
    return {"connections": found["found"], "next": following and _NEXT.join(following)}


def _not_connected() -> Problem:
    return Problem("not_connected", "no client is connected with this token")


def _found(sender: Sender, tokens: list[str]) -> list[dict[str, Any]]:
    try:
        found = sender.find(tokens)
    except SenderError as error:
        raise as_problem(error) from None
    return [
        {"token": token, **({"online": None} if where is None else where)}
        for token, where in zip(tokens, found, strict=True)
    ]


def _page(parts: Parts, tokens: list[str]) -> list[dict[str, Any]]:
    return _found(ready_sender(parts.sender), tokens) if tokens else []


def _user_tokens(calls: Calls, uid: str, after: str, limit: int) -> tuple[list[str], str | None]:
    """A page of a user's tokens, and the `after` of the next one. Raises Problem."""
    found = calls.fields(Internal.MEMBERS, {"uid": uid}, uid)
    tokens = [token for token in sorted(found["tokens"]) if token > after]
    page = tokens[:limit]
    return page, page[-1] if len(tokens) > len(page) else None


def member_tokens(calls: Calls, group: str, after: str, limit: int) -> tuple[list[str], str | None]:
    """A page of a group's tokens, those of users among its members too. Raises Problem."""
    found = calls.fields(Internal.GROUP_MEMBERS, {"group": group, "after": after, "most": limit}, group)
    if not found["exists"]:
        raise Problem("no_such_group", "no such group")
    page = list(found["tokens"])
    return page, page[-1] if found["more"] and page else None
