"""WebSocket text messages: JSON objects in, packets out, and back (docs/client-protocol.md, section WebSocket)."""

from functools import lru_cache
from typing import Any, NamedTuple

import ujson

from shared.errors import BodyError, ProtocolError
from shared.packets import Packet
from shared.signals import SUB_SIGNAL_MAX, PublishError, Signal, SubSignal

_MESSAGE_ID_MAX = 65_535

#: Names in upper case; CONECT_ACK is how existing clients spell it.
_SIGNALS: dict[str, int] = {**Signal.__members__, "CONECT_ACK": Signal.CONNECT_ACK}
_SUB_SIGNALS: dict[str, int] = {
    **SubSignal.__members__,
    # Existing web clients put the answer they wait for here: it says nothing.
    "CONNECT_ACK": SubSignal.NONE,
    "CONECT_ACK": SubSignal.NONE,
}

_PUBLISH_ERRORS = {
    PublishError.NOT_IMPLEMENTED: "not implemented",
    PublishError.TIMED_OUT: "service timed out",
    PublishError.NOT_BOUND: "not bound",
    PublishError.NOBODY_KNOWS: "outcome unknown",
    PublishError.QUEUE_FULL: "queue full",
}


class Style(NamedTuple):
    """How a client writes its messages, and so how it is answered."""

    camel: bool  # subSignal, messageId instead of sub_signal, message_id
    lower: bool  # signal names in lower case


DEFAULT_STYLE = Style(camel=False, lower=False)


def parse_text(text: bytes) -> tuple[Packet, Style]:
    """A text message as a packet, and the style it is written in.

    `content` becomes the body: an object or array as JSON, a string as its UTF-8, nothing as b"".
    Raises BodyError that says what is wrong (answer it with status 400), ProtocolError for an unknown signal.
    """
    try:
        fields = ujson.loads(text)
    except ValueError:
        raise BodyError("message is not JSON") from None
    if not isinstance(fields, dict):
        raise BodyError("message is not a JSON object")
    said = fields.get("signal")
    style = Style("subSignal" in fields or "messageId" in fields, isinstance(said, str) and said.islower())
    return Packet(
        _signal(said),
        _sub_signal(_either(fields, "sub_signal", "subSignal")),
        _message_id(_either(fields, "message_id", "messageId")),
        _body(fields.get("content")),
    ), style


def _either(fields: dict[str, Any], snake: str, camel: str) -> Any:
    value = fields.get(snake)
    return fields.get(camel) if value is None else value


def _signal(said: Any) -> int:
    if said is None:
        raise BodyError("signal is missing")
    if isinstance(said, str):
        said = _SIGNALS.get(said.upper(), -1)
    elif type(said) is not int:
        raise BodyError("signal is neither a name nor a number")
    if not Signal.NONE < said <= Signal.PUB_ACK:
        raise ProtocolError("signal is unknown")
    return int(said)


def _sub_signal(said: Any) -> int:
    if said is None:
        return SubSignal.NONE
    if isinstance(said, str):
        said = _SUB_SIGNALS.get(said.upper(), -1)
    if type(said) is bool or not isinstance(said, int) or not 0 <= said <= SUB_SIGNAL_MAX:
        raise BodyError(f"sub_signal is neither a known name nor a number from 0 to {SUB_SIGNAL_MAX}")
    return int(said)


def _message_id(said: Any) -> int:
    if said is None:
        return 0
    if type(said) is not int or not 0 <= said <= _MESSAGE_ID_MAX:
        raise BodyError(f"message_id is not a whole number from 0 to {_MESSAGE_ID_MAX}")
    return said


def _body(content: Any) -> bytes:
    if content is None:
        return b""
    try:
        if isinstance(content, str):
            return content.encode()
        if isinstance(content, dict | list):
            return ujson.dumps(content, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False).encode()
    except (ValueError, OverflowError):  # half a surrogate pair; NaN, or a number beyond a double
        raise BodyError("content holds text or numbers that JSON cannot carry") from None
    raise BodyError("content is neither an object, an array nor a string")


@lru_cache(maxsize=4096)
def text_prefix(signal: int, sub_signal: int, style: Style) -> str:
    """A message up to where the number of message_id goes. A topic without a name is given by number."""
    names = [Signal(signal).name, SubSignal(sub_signal).name if sub_signal in _NAMED else sub_signal]
    if style.lower:
        names = [name.lower() if isinstance(name, str) else name for name in names]
    sub_key, id_key = ("subSignal", "messageId") if style.camel else ("sub_signal", "message_id")
    said = ujson.dumps({"signal": names[0], sub_key: names[1]})
    return f'{said[:-1]},"{id_key}":'


_NAMED = frozenset(int(sub_signal) for sub_signal in SubSignal)


def encode_text(
    signal: int, sub_signal: int, message_id: int, content: bytes, style: Style, push_id: str | None = None
) -> bytes:
    """One message as a JSON object in UTF-8, not framed; `content` is always a JSON string.

    Raises BodyError if `content` is not UTF-8.
    """
    try:
        text = ujson.dumps(content.decode(), ensure_ascii=False, escape_forward_slashes=False)
    except UnicodeDecodeError:
        raise BodyError("payload for a text client is not UTF-8") from None
    prefix = text_prefix(signal, sub_signal, style)
    if push_id is None:
        return f'{prefix}{message_id},"content":{text}}}'.encode()
    key = "pushId" if style.camel else "push_id"
    return f'{prefix}{message_id},"content":{text},"{key}":"{push_id}"}}'.encode()


def pub_ack_content(body: bytes) -> bytes:
    """`content` of a PUB_ACK: with code 0 the service's payload, otherwise `{"code": ..., "message": ...}`."""
    if not body or body[0] == PublishError.OK:
        return body[1:]
    code = body[0]
    message = body[1:].decode(errors="replace") or _PUBLISH_ERRORS.get(code, "failed")  # type: ignore[call-overload]
    return ujson.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
