"""What is asked of the message cache and what it answers: bodies of calls of the topics MESSAGES, in msgpack.

A body is a list of operations, its answer a list of results in the same order. Operations and results are lists that
begin with a word; fields that a reader does not know, behind those that it does, are passed over.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

import msgpack

from shared.calls import Internal, Topic, internal
from shared.errors import BusError
from shared.origins import REQUEST_ID_MAX
from shared.push_ids import PREFIX_BYTES
from shared.tokens import slot_of, token_fault

KEY_BYTES = PREFIX_BYTES + 2
COLLAPSE_MAX_BYTES = 512
SENDER_MAX_BYTES = 255
#: Sequence numbers, times and counts are below this.
_WHOLE_END = 1 << 53

_KEY = Struct(f">{PREFIX_BYTES}sH")


def topic_of(token: bytes, caches: int) -> Topic:
    """The topic of the one of `caches` (setting message_caches) that keeps a token's messages."""
    return internal(Internal.MESSAGES + slot_of(token) % caches)


def call_key(topic: Topic) -> str:
    """The key of all calls to one message cache: with another one a call could overtake what workers have stored."""
    return str(topic.sub_signal)


def key_of(prefix: bytes, position: int) -> bytes:
    """The 18 bytes that tell copies of one push: its id prefix (`push_ids.id_prefix`), its position u16 big-endian."""
    return _KEY.pack(prefix, position)


def prefix_and_position(key: bytes) -> tuple[bytes, int]:
    """(id prefix, position) that a key was made of; `push_ids.push_id(*...)` gives the push id."""
    prefix, position = _KEY.unpack(key)
    return prefix, position


class Store(NamedTuple):
    """Keep a message until `expires` (Unix ms). One with the same `collapse` that is kept already goes for it.

    `absent`: its client is nowhere, so that it reaches nobody now. `request_id`: its sender's; empty: none.
    """

    token: bytes
    key: bytes  # as key_of gives it
    signal: int
    sub_signal: int
    expires: int
    collapse: str | None
    sender: str  # its name; empty: it has none
    payload: bytes
    absent: bool = False
    request_id: str = ""


class Read(NamedTuple):
    """Messages behind number `after`, at most so many; their payloads at most so many bytes, but one at least."""

    token: bytes
    after: int
    most: int
    most_bytes: int


class Drop(NamedTuple):
    """Forget these; numbers that are not there are passed over. Gives Dropped.

    `refused`: they were not acknowledged, but their client can never take them.
    """

    token: bytes
    seqs: Sequence[int]
    refused: bool = False


class Clear(NamedTuple):
    """Forget all of a token. Gives Cleared."""

    token: bytes


class Count(NamedTuple):
    """How many there are. Gives Counted."""

    token: bytes


Operation = Store | Read | Drop | Clear | Count


class Stored(NamedTuple):
    """It is kept under `seq`; `dropped`: how many older ones had to go for it; `collapsed`: whether it replaced one."""

    seq: int
    dropped: int
    collapsed: int = 0


class Copy(NamedTuple):
    """It has been kept before, under `seq`; it may be gone again."""

    seq: int


class Full(NamedTuple):
    """It is not kept: a bound is reached, and the policy is to refuse."""


class Failed(NamedTuple):
    """It could not be done, and why. With a Redis that is gone it may have been done; a repeat will tell."""

    message: str


class Message(NamedTuple):
    """One that is kept."""

    seq: int
    key: bytes
    signal: int
    sub_signal: int
    expires: int
    payload: bytes
    request_id: str = ""  # of the push; an older cache never says one


class Messages(NamedTuple):
    """In the order of their numbers. `newest`: the last number given for the token; `more`: there are others behind."""

    messages: Sequence[Message]
    newest: int
    more: bool


class Dropped(NamedTuple):
    """How many went."""

    number: int


class Cleared(NamedTuple):
    """How many went."""

    number: int


class Counted(NamedTuple):
    """How many there are, and their bytes: of the payloads, and 128 for each."""

    number: int
    bytes: int


Result = Stored | Copy | Full | Failed | Messages | Dropped | Cleared | Counted

_WORDS: dict[type, str] = {
    Store: "store",
    Read: "read",
    Drop: "drop",
    Clear: "clear",
    Count: "count",
    Stored: "stored",
    Copy: "copy",
    Full: "full",
    Failed: "failed",
    Messages: "messages",
    Dropped: "dropped",
    Cleared: "cleared",
    Counted: "count",
}


def encode_operations(operations: Sequence[Operation]) -> bytes:
    """The body of a call."""
    return _pack([(_WORDS[type(each)], *each) for each in operations])


def encode_results(results: Sequence[Result]) -> bytes:
    """The body of its answer."""
    return _pack([(_WORDS[type(each)], *each) for each in results])


def decode_operations(body: bytes) -> list[Operation]:
    """The operations of a call. Raises BusError."""
    return [_decoded(fields, _TO_OPERATION) for fields in _unpack(body)]


def decode_results(body: bytes) -> list[Result]:
    """The results in an answer. Raises BusError."""
    return [_decoded(fields, _TO_RESULT) for fields in _unpack(body)]


def _pack(lists: list[Any]) -> bytes:
    return bytes(msgpack.packb(lists))


def _unpack(body: bytes) -> list[Any]:
    try:
        decoded = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise BusError(f"body that is not msgpack: {error}") from None
    if not isinstance(decoded, list):
        raise BusError("body that is no list")
    return decoded


def _decoded(fields: Any, makers: dict[str, Callable[[list[Any]], Any]]) -> Any:
    try:
        return makers[fields[0]](fields)
    except (LookupError, TypeError, ValueError, StructError) as error:
        raise BusError(f"malformed operation or result: {error!r}") from None


def _store(fields: list[Any]) -> Store:
    _, token, key, signal, sub_signal, expires, collapse, sender, payload = fields[:9]
    if type(key) is not bytes or len(key) != KEY_BYTES or type(payload) is not bytes:
        raise ValueError("store without key or payload")
    collapse = None if collapse is None else _text(collapse, COLLAPSE_MAX_BYTES)
    return Store(
        _token(token),
        key,
        _whole(signal, 256),
        _whole(sub_signal, 256),
        _whole(expires),
        collapse,
        _text(sender, SENDER_MAX_BYTES),
        payload,
        bool(fields[9]) if len(fields) > 9 else False,
        _text(fields[10], REQUEST_ID_MAX) if len(fields) > 10 else "",
    )


def _read(fields: list[Any]) -> Read:
    _, token, after, most, most_bytes = fields[:5]
    return Read(_token(token), _whole(after), _whole(most), _whole(most_bytes))


def _drop(fields: list[Any]) -> Drop:
    _, token, seqs = fields[:3]
    return Drop(_token(token), [_whole(seq) for seq in seqs], bool(fields[3]) if len(fields) > 3 else False)


def _messages(fields: list[Any]) -> Messages:
    _, messages, newest, more = fields[:4]
    return Messages([Message(*each[:7]) for each in messages], _whole(newest), bool(more))


def _token(value: Any) -> bytes:
    token: bytes = value.encode() if type(value) is str else value
    if type(token) is not bytes:
        raise ValueError("token is no text")
    if fault := token_fault(token):
        raise ValueError(fault)
    return token


def _whole(value: Any, end: int = _WHOLE_END) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise ValueError(f"{value!r:.40} is not a whole number below {end}")
    return value


def _text(value: Any, most: int) -> str:
    if type(value) is not str or len(value.encode()) > most:
        raise ValueError(f"{value!r:.40} is not a text of up to {most} bytes")
    return value


_TO_OPERATION: dict[str, Callable[[list[Any]], Operation]] = {
    "store": _store,
    "read": _read,
    "drop": _drop,
    "clear": lambda fields: Clear(_token(fields[1])),
    "count": lambda fields: Count(_token(fields[1])),
}
_TO_RESULT: dict[str, Callable[[list[Any]], Result]] = {
    "stored": lambda fields: Stored(*map(_whole, fields[1:4])),
    "copy": lambda fields: Copy(_whole(fields[1])),
    "full": lambda fields: Full(),
    "failed": lambda fields: Failed(str(fields[1])),
    "messages": _messages,
    "dropped": lambda fields: Dropped(_whole(fields[1])),
    "cleared": lambda fields: Cleared(_whole(fields[1])),
    "count": lambda fields: Counted(_whole(fields[1]), _whole(fields[2])),
}
