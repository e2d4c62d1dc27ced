"""Messages between workers of one host, on their hand-over sockets (docs/architecture.md, section Hand-over).

One SOCK_SEQPACKET message each: a msgpack list [kind, version, ...]. A reader passes over elements that it
does not know. GIVE carries one descriptor per record in the same message, and one more (a memfd that holds
the record) for each record that is too long for the message.
"""

from typing import Any, NamedTuple

import msgpack

from shared.errors import BusError
from shared.rings import Epoch

MESSAGE_VERSION = 1

#: SCM_RIGHTS takes 253 descriptors in one message; long records need two each.
RECORDS_MAX = 100
#: A message must fit the socket's send buffer (212,992 bytes by default) with room for more of them.
RECORDS_BYTES_MAX = 64 * 1024
#: A record longer than this goes in a memfd.
RECORD_INLINE_MAX = 16 * 1024


class Hello(NamedTuple):
    """First message of a connection: who is calling."""

    worker: str


class Give(NamedTuple):
    """Take these clients. A record of None stands for one in a memfd. `ids`: of the connections, for ASK."""

    number: int
    epoch: Epoch
    records: list[bytes | None]
    ids: list[int] = []  # noqa: RUF012  (never changed)


class Taken(NamedTuple):
    """Answer to GIVE: all are held here now, except those refused (indexes), which stay with the giver."""

    number: int
    refused: list[int]


class Moved(NamedTuple):
    """The ring of `epoch` has nothing more to take from `worker`."""

    worker: str
    epoch: Epoch


class Ask(NamedTuple):
    """Which of these connections do you have, or have had? Their GIVE was not answered before the link ended."""

    ids: list[int]


class Have(NamedTuple):
    """Answer to ASK. The asker serves the others again."""

    asked: list[int]
    ids: list[int]


class Keep(NamedTuple):
    """Accept from this worker's listeners until its successor fetches them; descriptors: client port, nginx socket."""

    worker: str


class Kept(NamedTuple):
    """Answer to KEEP."""

    worker: str


HandOverMessage = Hello | Give | Taken | Moved | Ask | Have | Keep | Kept

_KINDS: dict[str, type[HandOverMessage]] = {
    "hello": Hello,
    "give": Give,
    "taken": Taken,
    "moved": Moved,
    "ask": Ask,
    "have": Have,
    "keep": Keep,
    "kept": Kept,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

#: Type of each field, and of what is in it.
_VALUES: dict[str, tuple[type, tuple[type, ...]]] = {
    "worker": (str, ()),
    "number": (int, ()),
    "records": (list, (bytes, type(None))),
    "refused": (list, (int,)),
    "ids": (list, (int,)),
    "asked": (list, (int,)),
}


def encode(message: HandOverMessage) -> bytes:
    """One message, without its descriptors."""
    return bytes(msgpack.packb([_NAMES[type(message)], MESSAGE_VERSION, *message]))


def decode(data: bytes) -> HandOverMessage | None:
    """A message; None for a kind that only a newer version knows. Raises BusError."""
    try:
        fields: list[Any] = msgpack.unpackb(data)
        kind = _KINDS.get(fields[0])
        if kind is None and isinstance(fields[0], str):
            return None
        if kind is None:
            raise TypeError("kind is no text")
        return kind(*[_checked(name, value) for name, value in zip(kind._fields, fields[2:], strict=False)])
    except (ValueError, KeyError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise BusError(f"malformed hand-over message: {error!r}") from None


def _checked(name: str, value: Any) -> Any:
    """A field's value, if it is of the kind that goes by this name. Raises TypeError and the like."""
    if name == "epoch":
        return Epoch(int(value[0]), int(value[1]))
    kind, members = _VALUES[name]
    fits = isinstance(value, kind)
    if not fits or (members and not all(isinstance(member, members) for member in value)):
        raise TypeError(f"{name} is of another kind")
    return value
