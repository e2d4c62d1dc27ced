"""Requests of senders and their answers, as lists of frames (docs/sender-protocol.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any

import ujson

from shared.errors import RequestError
from shared.origins import REQUEST_ID_MAX, Origin, is_request_id, is_traceparent
from shared.signals import SUB_SIGNAL_MAX, Signal, SubSignal

HELLO1, PUSH1, PUSH2, DONE1, FAIL1 = b"HELLO1", b"PUSH1", b"PUSH2", b"DONE1", b"FAIL1"
FIND1, KICK1, STAT1, INFO1 = b"FIND1", b"KICK1", b"STAT1", b"INFO1"
EXPLAIN1 = b"EXPLAIN1"

REQUEST_ID_MAX_BYTES = 64
NAME_MAX_BYTES = 64
ID_MAX_BYTES = 512
OPTIONS_MAX_BYTES = 8192  # all options at their longest, every character escaped, have 5,000
MAX_TARGETS = 10_000
TIMEOUT_MAX_MS = 600_000
SENT_AT_MAX_US = 1 << 53  # whole for every JSON

#: One target in PUSH2's index: token length, payload length.
TARGET = Struct(">HI")

KINDS = ("token", "user", "group", "all")
_KNOWN = frozenset(
    {
        "to",
        "ttl",
        "wait",
        "collapse",
        "id",
        "timeout_ms",
        "signal",
        "sub_signal",
        "request_id",
        "traceparent",
        "sent_at",
    }
)


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Options of one push request, checked."""

    to: str = "token"
    ttl: int = 0  # seconds
    wait: str = "sent"
    collapse: str | None = None
    id: str | None = None  # idempotency key
    timeout_ms: int = 5000
    signal: int = Signal.PUSH
    sub_signal: int = SubSignal.NONE
    origin: Origin | None = None  # options `request_id` and `traceparent`
    sent_at: int = 0  # Unix us by the sender's clock; 0: it does not say


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A push request, packed: `index` holds one TARGET each, `data` target + payload end to end."""

    options: PushOptions
    index: bytes
    data: bytes

    @property
    def count(self) -> int:
        return len(self.index) // TARGET.size


def pack_targets(pairs: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """(index, data) of (target, payload) pairs. A target is cut at 65,535 bytes: it is refused anyway."""
    index: list[bytes] = []
    data: list[bytes] = []
    for target, payload in pairs:
        target = target[:0xFFFF]
        index.append(TARGET.pack(len(target), len(payload)))
        data += (target, payload)
    return b"".join(index), b"".join(data)


def unpack_targets(index: bytes, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(target, payload) pairs of a packed request."""
    position = 0
    for target_bytes, payload_bytes in TARGET.iter_unpack(index):
        middle = position + target_bytes
        end = middle + payload_bytes
        yield data[position:middle], data[middle:end]
        position = end


def encode_push(request_id: bytes, options: bytes, index: bytes, data: bytes) -> list[bytes]:
    """PUSH2. `options` is a JSON object in UTF-8, or empty."""
    return [PUSH2, request_id, options, index, data]


def decode_push(frames: Sequence[bytes], max_targets: int = MAX_TARGETS) -> PushRequest:
    """A PUSH1 or PUSH2, all frames from the command on.

    Raises RequestError `malformed`, `too_many_targets` or `bad_options`.
    """
    request = _decode_push1(frames) if frames[0] == PUSH1 else _decode_push2(frames)
    if request.count > max_targets:
        raise RequestError("too_many_targets", f"{request.count} targets exceed the limit of {max_targets}")
    if request.options.to != "token" and request.count != 1:
        raise RequestError("malformed", f"a push to {request.options.to} takes one target, got {request.count}")
    return request


def _decode_push1(frames: Sequence[bytes]) -> PushRequest:
    if len(frames) < 5 or len(frames) % 2 == 0:
        raise RequestError("malformed", f"PUSH1 of {len(frames)} frames: expected id, options and target-payload pairs")
    index, data = pack_targets(list(zip(frames[3::2], frames[4::2], strict=True)))
    return PushRequest(parse_options(frames[2]), index, data)


def _decode_push2(frames: Sequence[bytes]) -> PushRequest:
    if len(frames) != 5:
        raise RequestError("malformed", f"PUSH2 of {len(frames)} frames: expected id, options, index, data")
    _, _, options, index, data = frames
    if not index or len(index) % TARGET.size:
        raise RequestError("malformed", f"index of {len(index)} bytes is not a positive multiple of {TARGET.size}")
    announced = sum([target + payload for target, payload in TARGET.iter_unpack(index)])
    if announced != len(data):
        raise RequestError("malformed", f"index announces {announced} bytes, data has {len(data)}")
    return PushRequest(parse_options(options), index, data)


@lru_cache(maxsize=1024)
def parse_options(raw: bytes) -> PushOptions:
    """Options from their JSON. Raises RequestError `bad_options` that names the option."""
    if not raw:
        return PushOptions()
    if len(raw) > OPTIONS_MAX_BYTES:  # the cache keeps what is good
        raise RequestError("bad_options", f"options of {len(raw)} bytes exceed the limit of {OPTIONS_MAX_BYTES}")
    try:
        fields = ujson.loads(raw.decode())
    except (ValueError, UnicodeDecodeError):
        raise RequestError("bad_options", "options are not JSON") from None
    if not isinstance(fields, dict):
        raise RequestError("bad_options", "options are not an object")
    unknown = fields.keys() - _KNOWN
    if unknown:
        raise RequestError("bad_options", f"unknown option {sorted(unknown)[0][:64]!r}")
    return PushOptions(
        to=_choice(fields, "to", KINDS),
        ttl=_whole(fields, "ttl", 0, 0, 10**9),
        wait=_choice(fields, "wait", ("sent", "acked")),
        collapse=_text(fields, "collapse", 255),
        id=_text(fields, "id", ID_MAX_BYTES),
        timeout_ms=_whole(fields, "timeout_ms", 5000, 1, TIMEOUT_MAX_MS),
        signal=_number(fields, "signal", Signal, Signal.PUSH, 10),
        sub_signal=_number(fields, "sub_signal", SubSignal, SubSignal.NONE, SUB_SIGNAL_MAX),
        origin=_origin(fields),
        sent_at=_whole(fields, "sent_at", 0, 0, SENT_AT_MAX_US),
    )


def _origin(fields: dict[str, Any]) -> Origin | None:
    request_id, traceparent = fields.get("request_id"), fields.get("traceparent")
    if request_id is not None and not (isinstance(request_id, str) and is_request_id(request_id)):
        raise RequestError("bad_options", f"request_id is not 1 to {REQUEST_ID_MAX} letters, digits and ._:/@+=#-")
    if traceparent is not None and not (isinstance(traceparent, str) and is_traceparent(traceparent)):
        raise RequestError("bad_options", "traceparent is not 00-TRACE-SPAN-FLAGS in hex")
    return Origin(request_id or "", traceparent or "") if request_id or traceparent else None


def _choice(fields: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = fields.get(key, choices[0])
    if value not in choices or not isinstance(value, str):
        raise RequestError("bad_options", f"{key} is none of {', '.join(choices)}")
    return value


def _whole(fields: dict[str, Any], key: str, default: int, least: int, most: int) -> int:
    value = fields.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise RequestError("bad_options", f"{key} is not a whole number from {least} to {most}")
    return value


def _text(fields: dict[str, Any], key: str, most: int) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    try:
        good = isinstance(value, str) and 1 <= len(value.encode()) <= most
    except UnicodeEncodeError:
        good = False
    if not good:
        raise RequestError("bad_options", f"{key} is not text of 1 to {most} bytes")
    return str(value)


def _number(fields: dict[str, Any], key: str, names: type[Signal] | type[SubSignal], default: int, most: int) -> int:
    """A signal or sub_signal, by number or by name; what goes to a client is PUSH or PUBLISH."""
    value = fields.get(key, default)
    if isinstance(value, str):
        value = names.__members__.get(value.upper(), -1)
    if type(value) is bool or not isinstance(value, int) or not 0 <= value <= most:
        raise RequestError("bad_options", f"{key} is unknown")
    if names is Signal and value not in (Signal.PUSH, Signal.PUBLISH):
        raise RequestError("bad_options", "signal is neither PUSH nor PUBLISH")
    return int(value)


def encode_done(request_id: bytes, outcomes: bytes, detail: bytes = b"") -> list[bytes]:
    """DONE1: one outcome byte per target, in order; `detail` is JSON or empty."""
    return [DONE1, request_id, outcomes, detail]


def encode_fail(request_id: bytes, error: RequestError, **more: int) -> list[bytes]:
    """FAIL1 with code, message and what else the code needs (`retry_after_ms`)."""
    return [FAIL1, request_id, ujson.dumps({"code": error.code, "message": error.message, **more}).encode()]


def encode_info(request_id: bytes, body: list[Any] | dict[str, Any]) -> list[bytes]:
    """INFO1: the answer to FIND1, KICK1, STAT1 and EXPLAIN1."""
    return [INFO1, request_id, ujson.dumps(body).encode()]


def decode_hello(frames: Sequence[bytes]) -> bytes:
    """The sender's name of a HELLO1 (command, name, JSON object or empty). Raises RequestError `malformed`."""
    if len(frames) != 3:
        raise RequestError("malformed", f"HELLO1 of {len(frames)} frames: expected name and JSON")
    _, name, about = frames
    if not 1 <= len(name) <= NAME_MAX_BYTES:
        raise RequestError("malformed", f"name of {len(name)} bytes is not from 1 to {NAME_MAX_BYTES}")
    try:
        good = not about or isinstance(ujson.loads(about.decode()), dict)
    except ValueError:
        good = False
    if not good:
        raise RequestError("malformed", "HELLO1 is not followed by a JSON object")
    return name


def encode_hello_answer(body: dict[str, Any]) -> list[bytes]:
    """HELLO1, the router's: version, limits, max_frame_bytes."""
    return [HELLO1, ujson.dumps(body).encode()]


def decode_tokens(frames: Sequence[bytes], max_targets: int = MAX_TARGETS) -> Sequence[bytes]:
    """The tokens of a FIND1 or KICK1. Raises RequestError `malformed` or `too_many_targets`."""
    tokens = frames[2:]
    if not tokens:
        raise RequestError("malformed", f"{frames[0].decode()} without tokens")
    if len(tokens) > max_targets:
        raise RequestError("too_many_targets", f"{len(tokens)} targets exceed the limit of {max_targets}")
    return tokens
