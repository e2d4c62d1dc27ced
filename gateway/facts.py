"""The facts about a connection that outlive its worker: what a new one needs to go on with the client.

Pure. A msgpack map with short keys, so that it fits a slot of the ledger; a reader keeps keys that it does not know.
What is in motion (unread input, unsent output, an answer that is owed) is not here: it has marks instead.
"""

from typing import Any

import msgpack

from gateway.connections import Connection, Protocol, State, login_from_fields, login_to_fields
from shared.errors import BusError

_KEYS = {
    "address": "a",
    "protocol": "p",
    "state": "s",
    "granted": "g",
    "token": "t",
    "uid": "u",
    "binding": "b",
    "bound_by": "w",
    "moves": "m",
    "proxied": "x",
    "window_bits": "z",
    "beat": "h",
    "fan_out_seen": "f",
}
_LOGIN, _EXTRA = "l", "e"
_FIELDS = tuple(_KEYS.items())


def encode_facts(connection: Connection) -> bytes:
    """The facts; unset fields are left out."""
    facts: dict[str, Any] = {}
    for name, key in _FIELDS:
        value = getattr(connection, name)
        if value:
            facts[key] = value
    if connection.login:
        facts[_LOGIN] = login_to_fields(connection.login)
    if connection.extra:
        facts[_EXTRA] = connection.extra
    return bytes(msgpack.packb(facts))


def decode_facts(data: bytes, fd: int) -> Connection:
    """A connection out of its facts, on descriptor `fd`. Raises BusError."""
    try:
        facts: dict[str, Any] = msgpack.unpackb(data)
        connection = Connection(fd, facts.pop("a", ""))
        connection.protocol = Protocol.V0
        for name, key in _FIELDS[1:]:
            if key in facts:
                setattr(connection, name, facts.pop(key))
        Protocol(connection.protocol), State(connection.state)  # there are no others
        connection.fan_out_seen = tuple([int(number) for number in connection.fan_out_seen])
        if _LOGIN in facts:
            connection.login = login_from_fields(facts.pop(_LOGIN))
        extra = {**facts.pop(_EXTRA, {}), **facts}
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise BusError(f"malformed facts: {error!r}") from None
    connection.extra = extra or None
    return connection


def window_of(last_message_id: int, unacknowledged: set[int], most: int = 64) -> int:
    """Which of the last `most` message ids, counted back from the last one, are unacknowledged: a bit each."""
    bits = 0
    for message_id in unacknowledged:
        age = (last_message_id - message_id) % 65_535
        if age < most:
            bits |= 1 << age
    return bits


def unacknowledged_of(last_message_id: int, bits: int) -> set[int]:
    """The message ids (1..65535, wrapping) that `window_of` noted."""
    ages = [age for age in range(bits.bit_length()) if bits >> age & 1]
    return {(last_message_id - age - 1) % 65_535 + 1 for age in ages}
