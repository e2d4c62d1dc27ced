"""Calls: requests of clients, workers and services, forwarded by the router to the service that answers their topic.

The frames of the service protocol (docs/service-protocol.md), and of its part on the bus: a worker asks as a service
does. A topic is a signal and a sub-signal. Signal NONE is kept for topics of the gateway's own services: `Internal`.
"""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

import ujson

from shared.errors import BusError
from shared.signals import Signal

# service -> router
SERVE1 = b"SERVE1"  # JSON: name, instance, topics, window; at start, and when asked
RETURN1 = b"RETURN1"  # call u64 · code u8 · body: the answer to a CALL1
LEAVE1 = b"LEAVE1"  # no more calls; those that it has are still answered
REGROUP1 = b"REGROUP1"  # JSON {"group", "tokens", "uids", "joined"}: who joined a group or left it; to all workers
# worker or service -> router
ASK1 = b"ASK1"  # number u64 · JSON head · body: a call
# router -> worker or service
TOLD1 = b"TOLD1"  # number u64 · code u8 · body: its answer
# router -> worker
TOPICS1 = b"TOPICS1"  # JSON {"topics": [[signal, sub_signal, idempotent], ...]}: what is answered by this router
# router -> service
SERVING1 = b"SERVING1"  # JSON: version, position of the router, heartbeat_ms, timeout_ms, ...; the answer to SERVE1
CALL1 = b"CALL1"  # call u64 · JSON head · body: answer this by RETURN1
WHO1 = b"WHO1"  # say SERVE1 again
# both ways between service and router
BEAT1 = b"BEAT1"  # once every heartbeat_ms; who is silent for longer than the time-out is dead

_NUMBER = Struct(">Q")


class Internal(IntEnum):
    """Sub-signals of the topics with signal NONE: calls among the gateway's own processes."""

    SUBSCRIBE = 1  # may this client be bound to this token, or: make one
    MEMBERS = 2  # all tokens of a user
    GROUP_MEMBERS = 3  # all tokens of a group
    GROUPS_OF = 4  # the groups of tokens and uids
    LOGIN = 5  # POST /login, POST /send_code, sessions
    GROUPS = 6  # create, dismiss, join, leave, list
    DEVICES = 7  # devices of a uid
    PRESENCE = 8  # who is connected: what workers tell
    TOKENS = 9  # all tokens that are known, of clients here or away
    EVENTS = 10  # what routers tell of pushes that reach nobody
    MESSAGES = 64  # and up: message cache number 0, 1, ...


class Topic(NamedTuple):
    """What a call is about."""

    signal: int
    sub_signal: int


def internal(what: int) -> Topic:
    """The topic of a call among the gateway's own processes."""
    return Topic(Signal.NONE, what)


class Call(NamedTuple):
    """A decoded ASK1 or CALL1.

    `head` has `signal`, `sub_signal`; `key`: calls of one key and topic go to one instance, in order; `timeout_ms`;
    of a client's call `token`, `uid` (or null), `protocol`, `worker`, `message_id`; in CALL1 `retry` for one that a
    dead instance may have done already.
    """

    number: int
    head: dict[str, Any]
    body: bytes

    @property
    def topic(self) -> Topic:
        return Topic(self.head["signal"], self.head["sub_signal"])


def encode_call(kind: bytes, number: int, head: dict[str, Any], body: bytes) -> list[bytes]:
    """ASK1 or CALL1."""
    return [kind, _NUMBER.pack(number), ujson.dumps(head, escape_forward_slashes=False).encode(), body]


def decode_call(frames: Sequence[bytes]) -> Call:
    """An ASK1 or CALL1. Raises BusError."""
    try:
        _, number, head, body = frames
        decoded = ujson.loads(head)
        if not isinstance(decoded, dict) or not all(type(decoded.get(n)) is int for n in ("signal", "sub_signal")):
            raise BusError("call without signal and sub_signal")
        return Call(_NUMBER.unpack(number)[0], decoded, body)
    except (ValueError, TypeError, StructError) as error:
        raise BusError(f"malformed call: {error}") from None


class Answer(NamedTuple):
    """A decoded RETURN1 or TOLD1. `code` 0: done; PublishError: it went wrong on the way; others are the service's."""

    number: int
    code: int
    body: bytes


def encode_answer(kind: bytes, number: int, code: int, body: bytes = b"") -> list[bytes]:
    """RETURN1 or TOLD1."""
    return [kind, _NUMBER.pack(number), bytes((code,)), body]


def decode_answer(frames: Sequence[bytes]) -> Answer:
    """A RETURN1 or TOLD1. Raises BusError."""
    try:
        _, number, code, body = frames
        (value,) = code
        return Answer(_NUMBER.unpack(number)[0], value, body)
    except (ValueError, StructError) as error:
        raise BusError(f"malformed answer: {error}") from None
