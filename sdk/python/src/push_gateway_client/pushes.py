"""What the application gets: pushes and answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from push_gateway_client.exceptions import ProtocolError
from push_gateway_client.packets import Packet, Signal
from push_gateway_client.topics import topic_name


@dataclass(frozen=True)
class Push:
    """One push. `id` is empty where the gateway did not grant ids; `topic` is NONE unless its sender said one."""

    id: str
    payload: bytes
    topic: str | int = "NONE"
    #: A service's notification (PUBLISH) and not a PUSH; it is never stored.
    notification: bool = False

    @property
    def text(self) -> str:
        """The payload as UTF-8. Raises UnicodeDecodeError."""
        return self.payload.decode()

    def json(self) -> Any:
        """The payload as JSON. Raises ValueError."""
        return json.loads(self.payload)


@dataclass(frozen=True)
class Answer:
    """What a service answered."""

    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8. Raises UnicodeDecodeError."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


def push_of(packet: Packet, has_ids: bool) -> Push:
    """The push in a packet; with ids, one length byte and the id stand in front. Raises ProtocolError."""
    push_id, payload = "", packet.body
    if has_ids:
        size = payload[0] if payload else 0
        if len(payload) < 1 + size:
            raise ProtocolError("a push that is shorter than its id")
        push_id, payload = payload[1 : 1 + size].decode("ascii", "replace"), payload[1 + size :]
    return Push(push_id, payload, topic_name(packet.sub_signal), packet.signal == Signal.PUBLISH)
