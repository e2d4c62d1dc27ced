"""/v1/tokens/{token}/messages: what is kept for a token that is away."""

from base64 import b64encode
from typing import Any, TypeVar

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from services.api.keys import ADMIN, READ
from services.api.problems import Problem
from services.api.v1.access import needs, security
from services.api.v1.parts import Parts, answer, blueprint
from services.api.v1.shapes import Answer, Parameters, TokenPath
from services.library import PublishError
from shared.cached_messages import (
    Clear,
    Cleared,
    Failed,
    Message,
    Messages,
    Operation,
    Read,
    call_key,
    decode_results,
    encode_operations,
    prefix_and_position,
    topic_of,
)
from shared.errors import BusError
from shared.push_ids import push_id

R = TypeVar("R")

#: Bytes of payloads in one page, but one message at least.
_PAGE_BYTES = 1 << 20
PAGE_MAX = 1000


class CachedMessage(Answer):
    seq: int = Field(description="its place in the order")
    id: str = Field(description="push id")
    expires: int = Field(description="Unix ms")
    signal: int
    sub_signal: int
    payload: str | None = Field(default=None, description="text; absent if it is none")
    payload_base64: str | None = Field(default=None, description="bytes that are no text")


class MessagePage(Answer):
    messages: list[CachedMessage] = Field(description="the oldest first")
    next: int | None = Field(description="`after` for the next page; null: there is none")


class Purged(Answer):
    purged: int = Field(description="how many were taken out")


class MessagesQuery(Parameters):
    after: int = Field(default=0, ge=0, lt=1 << 53, description="`next` of the page before")
    limit: int = Field(default=100, ge=1, le=PAGE_MAX)


def routes(parts: Parts) -> APIBlueprint:
    """The group of them."""
    group = blueprint("messages", "What is kept for tokens that are away")

    @group.get(
        "/tokens/<part:token>/messages",
        operation_id="list_messages",
        security=security(READ),
        responses={200: MessagePage},
    )
    @needs(READ)
    def list_messages(path: TokenPath, query: MessagesQuery) -> Response:
        """List the messages that are kept for a token"""
        token = path.token.encode()
        found = _ask(parts, token, Read(token, query.after, query.limit, _PAGE_BYTES), Messages)
        following = found.messages[-1].seq if found.more and found.messages else None
        return answer({"messages": [_shown(message) for message in found.messages], "next": following})

    @group.delete(
        "/tokens/<part:token>/messages",
        operation_id="purge_messages",
        security=security(ADMIN),
        responses={200: Purged},
    )
    @needs(ADMIN)
    def purge_messages(path: TokenPath) -> Response:
        """Take out all messages that are kept for a token: nobody will get them"""
        token = path.token.encode()
        return answer({"purged": _ask(parts, token, Clear(token), Cleared).number})

    return group


def _ask(parts: Parts, token: bytes, operation: Operation, kind: type[R]) -> R:
    """The result of this class. Raises Problem."""
    topic = topic_of(token, parts.settings.message_caches)
    code, body = parts.calls.answer(topic, encode_operations([operation]), call_key(topic), "message-cache")
    if code != PublishError.OK:
        raise Problem("unavailable", f"the message-cache service answered with code {code:#x}")
    try:
        (result,) = decode_results(body)
    except (BusError, ValueError):
        raise Problem("unavailable", "the message-cache service answered something else") from None
    if isinstance(result, Failed):
        raise Problem("unavailable", f"the message-cache service: {result.message}")
    if not isinstance(result, kind):
        raise Problem("unavailable", f"the message-cache service answered {type(result).__name__}")
    return result


def _shown(message: Message) -> dict[str, Any]:
    try:
        payload = {"payload": message.payload.decode()}
    except UnicodeDecodeError:
        payload = {"payload_base64": b64encode(message.payload).decode()}
    return {
        "seq": message.seq,
        "id": push_id(*prefix_and_position(message.key)),
        "expires": message.expires,
        "signal": message.signal,
        "sub_signal": message.sub_signal,
        **payload,
    }
