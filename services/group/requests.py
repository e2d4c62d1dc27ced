"""What is asked of the group service, checked. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ujson

from services.library.calls import Refusal, refusal
from shared.tokens import encode_token

#: In one join or leave. A storage takes more, but the call would not be answered in time.
MEMBERS_MAX = 100_000

#: `type` of a CONTACT.
TO_TOKEN, TO_GROUP = 0, 1


class GroupRequest(NamedTuple):
    """A change of a group, or a question about it. `by` None: of a program that may do everything, such as the API."""

    group: str
    by: str | None
    tokens: list[str]
    uids: list[str]


def parse_group_request(fields: Mapping[str, Any]) -> GroupRequest:
    """Of the map in a GROUPS call. Raises Refusal (400)."""
    by = fields.get("by")
    if by is not None:
        name_of(fields, "by")
    return GroupRequest(name_of(fields, "group"), by, _names(fields, "tokens"), _names(fields, "uids"))


def name_of(fields: Mapping[str, Any], key: str) -> str:
    """A group, token or uid. Raises Refusal (400)."""
    text = fields.get(key)
    if encode_token(text)[1]:
        raise refusal(400, f"{key} is missing or malformed")
    return str(text)


def _names(fields: Mapping[str, Any], key: str) -> list[str]:
    names = fields.get(key) or []
    if not isinstance(names, list) or len(names) > MEMBERS_MAX:
        raise refusal(400, f"{key} is not a list of at most {MEMBERS_MAX}")
    for name in names:
        fault = encode_token(name)[1]
        if fault:
            raise refusal(400, fault.replace("token", f"one of {key}", 1))
    return names


class Contact(NamedTuple):
    """A CONTACT. `sender` is the token of the client that sent it."""

    type: int
    sender: str
    to: str  # a token, or a group
    body: bytes  # what recipients get


def parse_contact(body: bytes, sender: str | None) -> Contact:
    """Of a CONTACT's body, in which the worker has set `from`. Raises Refusal (400), as text for the client."""
    try:
        fields = ujson.loads(body)
    except ValueError:
        raise told(400, "body is not JSON") from None
    if not isinstance(fields, dict) or sender is None:
        raise told(400, "body is not a JSON object")
    kind = fields.get("type")
    if type(kind) is not int or kind not in (TO_TOKEN, TO_GROUP):
        raise told(400, "type is neither 0 (to a token) nor 1 (to a group)")
    key = "group" if kind == TO_GROUP else "to"
    if encode_token(fields.get(key))[1]:
        raise told(400, f"{key} is missing or malformed")
    fields["from"] = sender
    return Contact(kind, sender, fields[key], ujson.dumps(fields, ensure_ascii=False).encode())


def told(status: int, message: str) -> Refusal:
    """A refused CONTACT: its client gets status and message."""
    return Refusal(1, ujson.dumps({"status": status, "message": message}).encode())
