"""/v1/users: the devices and logins of a user."""

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from services.api.keys import ADMIN, READ
from services.api.v1.access import needs, security
from services.api.v1.parts import Parts, answer, blueprint
from services.api.v1.shapes import Answer, Name, Parameters, UserPath
from shared.calls import Internal


class DeviceAnswer(Answer):
    token: str
    protocol: str
    added: float = Field(description="Unix seconds")
    seen: float = Field(description="Unix seconds")


class Devices(Answer):
    devices: list[DeviceAnswer]


class SessionAnswer(Answer):
    token: str
    created: float = Field(description="Unix seconds")
    expires: float | None = Field(description="Unix seconds; null: never")


class Sessions(Answer):
    sessions: list[SessionAnswer]
    blocked: bool


class Ended(Answer):
    ended: int = Field(description="how many sessions")


class Blocked(Answer):
    blocked: bool


class SessionsQuery(Parameters):
    token: Name | None = Field(default=None, description="end this one only")


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group, calls = blueprint("users", "Devices and logins of users"), parts.calls

    @group.get(
        "/users/<part:uid>/devices", operation_id="list_devices", security=security(READ), responses={200: Devices}
    )
    @needs(READ)
    def list_devices(path: UserPath) -> Response:
        """List the devices of a user"""
        return answer(calls.fields(Internal.DEVICES, {"op": "list", "uid": path.uid}, path.uid))

    @group.get(
        "/users/<part:uid>/sessions", operation_id="list_sessions", security=security(READ), responses={200: Sessions}
    )
    @needs(READ)
    def list_sessions(path: UserPath) -> Response:
        """List the logins of a user"""
        return answer(calls.fields(Internal.LOGIN, {"op": "sessions", "uid": path.uid}, path.uid))

    @group.delete(
        "/users/<part:uid>/sessions", operation_id="end_sessions", security=security(ADMIN), responses={200: Ended}
    )
    @needs(ADMIN)
    def end_sessions(path: UserPath, query: SessionsQuery) -> Response:
        """End logins of a user, and disconnect their clients"""
        fields = {"op": "logout", "uid": path.uid, "token": query.token}
        return answer(calls.fields(Internal.LOGIN, fields, path.uid))

    @group.put("/users/<part:uid>/block", operation_id="block_user", security=security(ADMIN), responses={200: Blocked})
    @needs(ADMIN)
    def block_user(path: UserPath) -> Response:
        """Disconnect a user's clients, and refuse them from now on"""
        return answer(calls.fields(Internal.LOGIN, {"op": "block", "uid": path.uid, "blocked": True}, path.uid))

    @group.delete(
        "/users/<part:uid>/block", operation_id="unblock_user", security=security(ADMIN), responses={200: Blocked}
    )
    @needs(ADMIN)
    def unblock_user(path: UserPath) -> Response:
        """Let a user in again"""
        return answer(calls.fields(Internal.LOGIN, {"op": "block", "uid": path.uid, "blocked": False}, path.uid))

    return group
