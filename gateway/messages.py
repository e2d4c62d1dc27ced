"""WebSocket messages out of frames (RFC 6455, section 5.4): fragments, control frames between them, UTF-8."""

from codecs import utf_8_decode
from typing import Any, NamedTuple

from gateway.frames import Frame, Opcode
from gateway.permessage_deflate import decompress
from shared.errors import BodyError, ProtocolError, TooLargeError

_CONTROL = 8


class Message(NamedTuple):
    """A whole message: TEXT (checked UTF-8), BINARY, or a control frame's CLOSE, PING, PONG with its payload."""

    opcode: int
    data: bytes


class Partial:
    """A fragmented message whose last frame has not come."""

    __slots__ = ("compressed", "data", "opcode", "utf8_tail")

    def __init__(self, opcode: int, compressed: bool, data: bytes = b"", utf8_tail: bytes = b"") -> None:
        self.opcode = opcode
        self.compressed = compressed
        self.data = bytearray(data)
        self.utf8_tail = utf8_tail  # up to 3 bytes of a character that goes on in the next fragment


def add_frame(
    partial: Partial | None, frame: Frame, limit: int, deflate: bool
) -> tuple[Partial | None, Message | None]:
    """(what is unfinished now, the message that this frame completes or None).

    `limit` bounds the message, inflated too; `deflate` says that permessage-deflate was negotiated.
    Raises ProtocolError (1002), BodyError (1007), TooLargeError (1009).
    """
    fin, rsv1, opcode, payload = frame
    if opcode >= _CONTROL:
        return partial, Message(opcode, payload)
    if opcode == Opcode.CONTINUATION:
        if partial is None:
            raise ProtocolError("continuation frame without a message to continue")
        if rsv1:
            raise ProtocolError("continuation frame with RSV1")
        return _continue(partial, payload, fin, limit)
    if partial is not None:
        raise ProtocolError("new message before the end of a fragmented one")
    if rsv1 and not deflate:
        raise ProtocolError("frame with RSV1 without permessage-deflate")
    if fin:
        return None, _whole(opcode, decompress(payload, limit) if rsv1 else payload)
    return _continue(Partial(opcode, rsv1), payload, fin, limit)


def _continue(partial: Partial, payload: bytes, fin: bool, limit: int) -> tuple[Partial | None, Message | None]:
    size = len(partial.data) + len(payload)
    if size > limit:
        raise TooLargeError("message", size, limit)
    partial.data += payload
    if partial.compressed:
        return (None, _whole(partial.opcode, decompress(partial.data, limit))) if fin else (partial, None)
    if partial.opcode == Opcode.TEXT:
        _check_fragment(partial, payload, fin)
    return (None, Message(partial.opcode, bytes(partial.data))) if fin else (partial, None)


def _check_fragment(partial: Partial, payload: bytes, final: bool) -> None:
    """Check as much UTF-8 as is there, so that a bad message fails with its first bad fragment."""
    text = partial.utf8_tail + payload
    try:
        _, done = utf_8_decode(text, "strict", final)
    except UnicodeDecodeError:
        raise BodyError("text message is not UTF-8") from None
    partial.utf8_tail = text[done:]


def _whole(opcode: int, data: bytes) -> Message:
    if opcode == Opcode.TEXT and not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise BodyError("text message is not UTF-8") from None
    return Message(opcode, data)


def partial_to_fields(partial: Partial) -> dict[str, Any]:
    """An unfinished message for a hand-over record: int, bool and bytes only."""
    return {
        "opcode": int(partial.opcode),
        "compressed": partial.compressed,
        "data": bytes(partial.data),
        "utf8_tail": partial.utf8_tail,
    }


def partial_from_fields(fields: dict[str, Any]) -> Partial:
    """The reverse of `partial_to_fields`; unknown fields are passed over. Raises KeyError if one is missing."""
    return Partial(fields["opcode"], fields["compressed"], fields["data"], fields["utf8_tail"])
