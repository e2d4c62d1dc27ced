"""Bodies of requests as applications write them. Pure."""

from __future__ import annotations

from typing import Any

from push_gateway_client.packets import encode_json


def encode_body(body: Any) -> bytes:
    """Bytes as they are, text as UTF-8, nothing as nothing, anything else as JSON. Raises TypeError, ValueError."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else encode_json(body)


def contact_body(message: Any, to: str | None, group: str | None) -> bytes:
    """CONTACT to a token or to a group. Raises ValueError."""
    if (to is None) == (group is None):
        raise ValueError("say either `to` or `group`")
    target = {"type": 0, "to": to} if group is None else {"type": 1, "group": group}
    return encode_json({**target, "message": message})
