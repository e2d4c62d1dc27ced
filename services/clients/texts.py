"""Packets as WebSocket texts, seen from the client (docs/client-protocol.md, section WebSocket)."""

from base64 import b64decode
from typing import Any

import ujson

from shared.errors import ProtocolError
from shared.packets import Packet
from shared.signals import Signal, SubSignal

_NAMES = {int(member): member.name for member in SubSignal}


def encode_text(packet: Packet) -> str:
    """A packet whose body is JSON in UTF-8, or empty."""
    said: dict[str, Any] = {
        "signal": Signal(packet.signal).name,
        "sub_signal": _sub_signal_name(packet.sub_signal),
        "message_id": packet.message_id,
    }
    if packet.body:
        said["content"] = ujson.loads(packet.body)
    return ujson.dumps(said, ensure_ascii=False, escape_forward_slashes=False)


def decode_text(text: str | bytes, base64: bool) -> Packet:
    """A text of the gateway. With `base64` (granted) every payload is base64. Raises ProtocolError.

    `push_id` goes where the binary protocols have it: one length byte and the id in front of the payload.
    """
    try:
        said = ujson.loads(text)
        signal, sub_signal = Signal[said["signal"].upper()], _sub_signal(said.get("sub_signal", 0))
        content, message_id, push_id = said.get("content", ""), int(said.get("message_id", 0)), said.get("push_id")
        encoded = base64 and signal in (Signal.PUSH, Signal.PUBLISH)
        body = b64decode(content) if encoded else content.encode("utf-8", "surrogatepass")
        if push_id is not None:
            body = bytes([len(push_id)]) + push_id.encode("ascii") + body
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProtocolError(f"the gateway sent a text that is no message: {error}") from None
    return Packet(signal, sub_signal, message_id, body)


def _sub_signal_name(number: int) -> str | int:
    return _NAMES.get(number, number)


def _sub_signal(said: str | int) -> int:
    return SubSignal[said.upper()] if isinstance(said, str) else int(said)
