"""What a worker asks about a client that wants to be bound, and what is to be looked at before it may."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.library.calls import refusal
from shared.tokens import encode_token


class SubscribeRequest(NamedTuple):
    """A SUB. `subscribe_policy` gets it."""

    token: str | None  # None: one is to be made
    uid: str | None  # the user whose device it will be: who is logged in, or with open_subscribe whoever is named
    logged_in: bool  # the connection has proved to be that user's
    address: str
    protocol: str
    expires: float | None = None  # Unix seconds at which what is proved ends; None: it does not, or nothing is proved


def parse_request(fields: Mapping[str, Any], anybody: bool) -> SubscribeRequest:
    """Of the map in the call. `anybody`: a uid counts without a login. Raises Refusal (400)."""
    token, login = fields.get("token"), fields.get("login")
    uid = login.get("uid") if isinstance(login, dict) else fields.get("uid") if anybody else None
    for name, text in (("token", token), ("uid", uid)):
        fault = encode_token(text)[1] if text is not None else None
        if fault:
            raise refusal(400, fault.replace("token", name, 1))
    expires = login.get("expires") if isinstance(login, dict) else None
    return SubscribeRequest(
        token,
        uid,
        isinstance(login, dict),
        str(fields.get("address") or ""),
        str(fields.get("protocol") or ""),
        float(expires) if isinstance(expires, (int, float)) else None,
    )


def check_owner(request: SubscribeRequest, owner: str | None) -> None:
    """`owner`: the user who has proved that the token is theirs; None: nobody has. Raises Refusal (403)."""
    if owner is not None and not (request.logged_in and request.uid == owner):
        raise refusal(403, "this token belongs to a user who has logged in")
