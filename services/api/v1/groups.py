"""/v1/groups: groups, and who is in them."""

from typing import Annotated

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from services.api.keys import ADMIN, READ
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.calls import Calls
from services.api.v1.connections import member_tokens
from services.api.v1.parts import Parts, answer, blueprint
from services.api.v1.shapes import Answer, Body, GroupPath, Name, PageQuery, Parameters
from shared.calls import Internal

MEMBERS_MAX = 1000
LEAVERS_MAX = 5

Names = Annotated[list[Name], Field(max_length=MEMBERS_MAX)]


class Members(Body):
    """Tokens, and users with all their devices."""

    tokens: Names = Field(default_factory=list)
    uids: Names = Field(default_factory=list)


class MembersQuery(Parameters):
    """Few, because a request line has its bound."""

    tokens: Annotated[list[Name], Field(max_length=LEAVERS_MAX)] = Field(default_factory=list)
    uids: Annotated[list[Name], Field(max_length=LEAVERS_MAX)] = Field(default_factory=list)


class Created(Answer):
    created: bool = Field(description="false: there was one, and it is as it was")


class Dismissed(Answer):
    members: int = Field(description="how many tokens and users were in it")


class Joined(Answer):
    joined: int = Field(description="how many were not in it before")


class Left(Answer):
    left: int = Field(description="how many were in it before")


class MemberPage(Answer):
    tokens: list[str] = Field(description="members, and the devices of users that are members")
    next: str | None = Field(description="`after` for the next page; null: there is none")


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group, calls = blueprint("groups", "Named sets of tokens and users"), parts.calls

    @group.put("/groups/<part:group>", operation_id="make_group", security=security(ADMIN), responses={200: Created})
    @needs(ADMIN)
    def make_group(path: GroupPath) -> Response:
        """Make a group, if there is none of this name"""
        return answer({"created": _create(calls, path.group)})

    @group.delete(
        "/groups/<part:group>", operation_id="dismiss_group", security=security(ADMIN), responses={200: Dismissed}
    )
    @needs(ADMIN)
    def dismiss_group(path: GroupPath) -> Response:
        """End a group"""
        return answer(calls.fields(Internal.GROUPS, {"op": "dismiss", "group": path.group}, path.group))

    @group.get(
        "/groups/<part:group>/members",
        operation_id="list_members",
        security=security(READ),
        responses={200: MemberPage},
    )
    @needs(READ)
    def list_members(path: GroupPath, query: PageQuery) -> Response:
        """List the tokens of a group, those of its users too"""
        tokens, following = member_tokens(calls, path.group, query.after, query.limit)
        return answer({"tokens": tokens, "next": following})

    @group.post(
        "/groups/<part:group>/members", operation_id="join_group", security=security(ADMIN), responses={200: Joined}
    )
    @needs(ADMIN)
    def join_group(path: GroupPath, body: Members) -> Response:
        """Let tokens and users into a group"""
        fields = {"op": "join", "group": path.group, "tokens": body.tokens, "uids": body.uids}
        return answer(calls.fields(Internal.GROUPS, fields, path.group))

    @group.delete(
        "/groups/<part:group>/members", operation_id="leave_group", security=security(ADMIN), responses={200: Left}
    )
    @needs(ADMIN)
    def leave_group(path: GroupPath, query: MembersQuery) -> Response:
        """Take tokens and users out of a group"""
        fields = {"op": "leave", "group": path.group, "tokens": query.tokens, "uids": query.uids}
        return answer(calls.fields(Internal.GROUPS, fields, path.group))

    return group


def _create(calls: Calls, name: str) -> bool:
    try:
        calls.fields(Internal.GROUPS, {"op": "create", "group": name}, name)
    except Problem as problem:
        if problem.code != "exists":
            raise
        return False
    return True
