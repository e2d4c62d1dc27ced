"""CONNECT: what is asked of the login service, and what it answers.

Pure.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from math import isnan
from types import NoneType
from typing import Any, NamedTuple

import ujson

from gateway.connections import NEVER, Login
from shared.signals import SubSignal
from shared.tokens import encode_token

SESSION_KEY_BYTES = 16
_TEXT_MAX = 4096
_NUMBER_MAX = 1 << 64  # of a field that should have been text


def login_request(fields: dict[str, Any]) -> tuple[dict[str, str], int]:
    """(the request for the login service, 0) of a CONNECT's body, or ({}, the sub_signal that refuses it)."""
    name, password = _text(fields.get("userName")), _text(fields.get("password"))
    identifier = _text(fields.get("clientIdentifier"))
    if encode_token(identifier)[1]:
        return {}, SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
    if name is None or password is None or identifier is None:
        return {}, SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD
    return {"userName": name, "password": password, "clientIdentifier": identifier}, 0


def _text(value: Any) -> str | None:
    """A field that is text, or was written as a whole number."""
    if type(value) is int and abs(value) < _NUMBER_MAX:
        value = str(value)
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


class AcceptedLogin(NamedTuple):
    """What the login service says of a client that it accepts."""

    token: bytes
    login: Login
    ack: dict[str, Any]  # fields of ConnectAckPayload

    @classmethod
    def parse(cls, body: bytes) -> "AcceptedLogin | None":
        """Its JSON; None if it is malformed: `uid`, `token`, `session_key`, `expires`, `ack`."""
        try:
            fields = ujson.loads(body)
            uid, uid_fault = encode_token(fields["uid"])
            token, token_fault = encode_token(fields["token"])
            said, key = fields.get("session_key"), None
            if said is not None:
                key = b64decode(said, validate=True)
            expires, ack = fields.get("expires"), fields.get("ack")
        except (ValueError, TypeError, KeyError, AttributeError, Base64Error, RecursionError):
            return None
        if uid_fault or token_fault or (key is not None and len(key) != SESSION_KEY_BYTES):
            return None
        if type(expires) not in (int, float, NoneType) or (type(expires) is float and isnan(expires)):
            return None
        until = NEVER if expires is None else int(min(max(expires, 0), NEVER))
        return cls(token, Login(uid.decode(), [token], until, key), ack if isinstance(ack, dict) else {})
