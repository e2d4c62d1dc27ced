"""The record of one client connection, and its form in a hand-over.

An idle connection is this record and nothing else: no greenlet, no socket object, no buffer.
Pure data; `gateway.tables` finds records, `gateway.client_loop` moves their bytes.
"""

from dataclasses import dataclass
from enum import IntEnum
from sys import intern
from typing import Any, NamedTuple

import msgpack

from gateway.messages import Partial, partial_from_fields, partial_to_fields
from gateway.stored_states import StoredState, state_from_fields, state_to_fields
from shared.errors import BusError

RECORD_VERSION = 1

#: The last push to all that a client has seen of each router, by the router's place in the worker's list.
#: All records alike share one such object.
FanOutsSeen = tuple[int, ...]
NO_FAN_OUT: FanOutsSeen = ()


class Protocol(IntEnum):
    """What a connection speaks. V0 to V2 equal the packet version."""

    V0 = 0
    V1 = 1
    V2 = 2
    WS_TEXT = 3
    WS_BINARY = 4
    WS = 5  # upgraded; its first message decides between the two above
    UNKNOWN = 6  # nothing to tell it by yet


class State(IntEnum):
    """Where a connection stands. Its input is parsed in OPEN and BOUND only."""

    OPEN = 0  # not bound: may SUB, AUTH, CONNECT, PING, DISCONNECT
    BINDING = 1  # said its token; waits for ring or owner
    BOUND = 2
    CLOSING = 3  # last words are on their way out; input is thrown away


class Granted:
    """Options of SUB that were granted, and what the client's first message told of its style.

    Bits as plain numbers: testing one of an IntFlag costs 0.6 us, more than the rest of a push's bookkeeping.
    """

    ACK = 1
    IDS = 2
    DEFLATE = 4
    AES_GCM = 8
    BASE64 = 16
    CAMEL = 32  # text style: camelCase names
    LOWER = 64  # text style: lower-case signal names
    HEARD = 128  # a whole packet or message has arrived
    STYLED = 256  # the first JSON message has set LOWER
    CONNECTED = 512  # has logged in by CONNECT


#: Push encoding of a connection with none of these is the plain one.
SPECIAL = Granted.ACK | Granted.IDS | Granted.DEFLATE | Granted.AES_GCM | Granted.BASE64


#: `Login.expires` of one that does not expire.
NEVER = 1 << 53


@dataclass(slots=True)
class Login:
    """Who a connection has proved to be (AUTH, CONNECT)."""

    uid: str
    tokens: list[bytes]  # what it may bind
    expires: int  # Unix seconds; NEVER: it does not
    key: bytes | None = None  # session key, of CONNECT: 16 bytes


def login_to_fields(login: Login) -> list[Any]:
    """A login for a record, or facts."""
    return [login.uid, login.tokens, login.expires, *([login.key] if login.key else [])]


def login_from_fields(fields: list[Any]) -> Login:
    """The reverse; what a newer version has behind it is passed over."""
    uid, tokens, expires = fields[:3]
    return Login(uid, tokens, expires, _bytes_at(fields, 3))


def _bytes_at(fields: list[Any], index: int) -> bytes | None:
    """An element that an older version does not write."""
    value = fields[index] if index < len(fields) else None
    return value if isinstance(value, bytes) else None


def address_text(host: str, port: int) -> str:
    """`host:port`; an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Pending(NamedTuple):
    """A SUB, or an accepted CONNECT, that awaits its binding."""

    token: bytes
    message_id: int
    asked: bool  # for options, so that the answer lists what is granted
    ack: bytes | None = None  # body of the CONNECT_ACK; None: a SUB is answered


class Connection:
    """One client. Optional parts stay None until needed: an idle record is about 500 bytes with its token."""

    __slots__ = (
        "address",
        "beat",
        "binding",
        "bound_by",
        "calls",
        "deadline",
        "extra",
        "fan_out_seen",
        "fd",
        "full_since",
        "granted",
        "input",
        "last_message_id",
        "login",
        "moves",
        "output",
        "partial",
        "paused",
        "pending",
        "protocol",
        "proxied",
        "rate_bytes",
        "rate_packets",
        "rate_tick",
        "recent",
        "scheduled",
        "state",
        "stored",
        "stores",
        "token",
        "uid",
        "unacknowledged",
        "window_bits",
    )

    def __init__(self, fd: int, address: str) -> None:
        self.fd = fd
        self.address = address  # "host:port" of the client itself, also behind a proxy
        self.protocol: int = Protocol.UNKNOWN
        self.state: int = State.OPEN
        self.granted: int = 0
        self.token: bytes | None = None
        self.uid: str | None = None
        self.pending: Pending | None = None  # in BINDING: what was asked for
        self.binding = 0  # ms clock of the binding, made greater than any binding seen before
        self.bound_by = ""  # the worker that made the binding: of two equal ones the greater name wins
        self.moves = 0  # how often it has been handed over since
        self.login: Login | None = None
        self.proxied = 0  # may a PROXY header come first? PROXY_DONE and so on in gateway.streams
        self.window_bits = 0  # of permessage-deflate; 0: not negotiated
        self.input: bytearray | None = None  # read, not yet parsed
        self.partial: Partial | None = None  # unfinished fragmented WebSocket message
        self.output: bytearray | None = None  # accepted, not yet taken by the kernel
        self.full_since = 0  # tick at which output first overflowed
        self.paused = False  # input is not read (rate, or too much unparsed)
        self.beat = 0  # heartbeat deadline, seconds; 0: none said
        self.deadline = 0  # tick
        self.scheduled = 0  # tick of the wheel bucket that holds this record
        self.rate_tick = 0
        self.rate_bytes = 0
        self.rate_packets = 0
        self.last_message_id = 0
        self.unacknowledged: set[int] | None = None
        self.recent: dict[bytes, tuple[int, int]] | None = None  # push id -> (outcome, tick)
        self.fan_out_seen: FanOutsSeen = NO_FAN_OUT
        self.calls = 0  # answers of services that are owed to it; who is owed any is not handed over
        self.stored: StoredState | None = None  # what it knows of stored pushes; None: it has all, acknowledged
        self.stores = 0  # pushes to it that are being stored; the same holds
        self.extra: dict[str, Any] | None = None  # fields of a newer version, passed on


_PLAIN_FIELDS: dict[str, type] = {
    "address": str,
    "protocol": int,
    "state": int,
    "granted": int,
    "token": bytes,
    "uid": str,
    "binding": int,
    "bound_by": str,
    "moves": int,
    "proxied": int,
    "window_bits": int,
    "beat": int,
    "last_message_id": int,
}
_KNOWN_FIELDS = frozenset(
    (
        *_PLAIN_FIELDS,
        "version",
        "fan_out_seen",
        "fan_outs_seen",
        "login",
        "input",
        "output",
        "partial",
        "pending",
        "unacknowledged",
        "recent",
        "remaining",
        "stored",
    )
)


def encode_record(connection: Connection, tick: int) -> bytes:
    """The record as msgpack map. Unset fields are left out; `remaining` is the time to the deadline in ticks."""
    fields: dict[str, Any] = dict(connection.extra or ())
    fields["version"] = RECORD_VERSION
    for name in _PLAIN_FIELDS:
        value = getattr(connection, name)
        if value or name == "protocol":
            fields[name] = value
    fields["remaining"] = max(connection.deadline - tick, 1)
    if connection.fan_out_seen:
        # the first by itself, as those workers have it that know of one router
        fields["fan_out_seen"], *others = connection.fan_out_seen
        fields["fan_outs_seen"] = others
    if connection.login:
        fields["login"] = login_to_fields(connection.login)
    if connection.pending:
        fields["pending"] = list(connection.pending)
    if connection.input:
        fields["input"] = bytes(connection.input)
    if connection.output:
        fields["output"] = bytes(connection.output)
    if connection.partial:
        fields["partial"] = partial_to_fields(connection.partial)
    if connection.unacknowledged:
        fields["unacknowledged"] = list(connection.unacknowledged)
    if connection.stored:
        fields["stored"] = state_to_fields(connection.stored)
    if connection.recent:
        fields["recent"] = [[key, outcome, tick - when] for key, (outcome, when) in connection.recent.items()]
    return bytes(msgpack.packb(fields))


def decode_record(record: bytes, fd: int, tick: int) -> Connection:
    """A connection out of its record, on descriptor `fd`. Fields that are unknown are kept. Raises BusError."""
    try:
        fields: dict[str, Any] = msgpack.unpackb(record)
        connection = Connection(fd, fields.get("address", ""))
        for name, kind in _PLAIN_FIELDS.items():
            if name in fields:
                setattr(connection, name, _of(kind, fields[name]))
        Protocol(connection.protocol), State(connection.state)  # there are no others
        connection.deadline = tick + fields["remaining"]
        _decode_optional(connection, fields, tick)
    except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise BusError(f"malformed record: {error!r}") from None
    unknown = {key: value for key, value in fields.items() if key not in _KNOWN_FIELDS}
    connection.extra = unknown or None
    return connection


def _decode_optional(connection: Connection, fields: dict[str, Any], tick: int) -> None:
    connection.bound_by = intern(connection.bound_by)
    if "fan_out_seen" in fields:
        seen = (fields["fan_out_seen"], *fields.get("fan_outs_seen", ()))
        connection.fan_out_seen = tuple([_of(int, number) for number in seen])
    if "login" in fields:
        connection.login = login_from_fields(fields["login"])
    if "pending" in fields:
        token, message_id, asked, *_ = fields["pending"]
        connection.pending = Pending(_of(bytes, token), message_id, asked, _bytes_at(fields["pending"], 3))
    if "input" in fields:
        connection.input = bytearray(_of(bytes, fields["input"]))
    if "output" in fields:
        connection.output = bytearray(_of(bytes, fields["output"]))
    if "partial" in fields:
        connection.partial = partial_from_fields(fields["partial"])
    if "unacknowledged" in fields:
        connection.unacknowledged = set(fields["unacknowledged"])
    if "stored" in fields:
        connection.stored = state_from_fields(fields["stored"])
    if "recent" in fields:
        connection.recent = {key: (outcome, tick - age) for key, outcome, age, *_ in fields["recent"]}


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
