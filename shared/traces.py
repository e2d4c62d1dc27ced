"""What one may ask of a token or a message (EXPLAIN1), and the bounded memory of recent messages that answers it.

Pure. Routers and workers note batches as they are, one tuple for each, and look into them only when they are asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ujson

from shared.bus import ENTRY, HELD, KEPT, ORIGIN, SEGMENT, STALE, FanOut
from shared.errors import BusError
from shared.origins import Origin
from shared.outcomes import Outcome
from shared.push_ids import PREFIX_BYTES, push_id

#: Characters of what names a message: no id is longer, `id` of a request has 512 bytes.
MESSAGE_MAX = 600
#: Messages in one answer; the newest.
FOUND_MAX = 100
#: What an entry costs beside its bytes, about.
ENTRY_BYTES = 400
#: Of batches with larger payloads, on the average, only the tokens are kept.
_PAYLOAD_BYTES = 512

_KINDS = {"group": "group", "uid": "user"}
_OUTCOMES = {HELD: "HELD", KEPT: "KEPT", STALE: "STALE"} | {int(outcome): outcome.name for outcome in Outcome}

#: One push by its id: prefix and position; None: all of its request.
PushKey = tuple[bytes, int | None]


class Wanted(NamedTuple):
    """What is asked about. `token`: its client, and its messages. Without one: the messages with these marks.

    `keys`: push ids; `request_id`: that of their sender; `message_id`: what the client of `token` saw, 0: any.
    """

    token: bytes | None = None
    keys: tuple[PushKey, ...] = ()
    request_id: str = ""
    message_id: int = 0

    @property
    def is_of_messages(self) -> bool:
        """Whether some messages are asked for, and not all of the token."""
        return bool(self.keys or self.request_id or self.message_id)

    def matches(self, token: bytes, prefix: bytes, position: int, request_id: str) -> bool:
        """Whether this push is wanted."""
        if self.token is not None and token != self.token:
            return False
        if not self.is_of_messages:
            return self.token is not None
        return (bool(self.request_id) and request_id == self.request_id) or any(
            prefix == wanted and place in (None, position) for wanted, place in self.keys
        )

    def matches_many(self, push: ToMany) -> bool:
        """Whether this push to many is wanted: only by its ids, for nobody here knows whom it was for."""
        return self.token is None and self.matches(b"", push.prefix, 0, push.request_id)


def wanted_fields(wanted: Wanted) -> dict[str, Any]:
    """As JSON object."""
    token = None if wanted.token is None else wanted.token.decode(errors="surrogateescape")
    keys = [[prefix.hex(), place] for prefix, place in wanted.keys]
    return {"token": token, "keys": keys, "request_id": wanted.request_id, "message_id": wanted.message_id}


def wanted_of(body: dict[str, Any]) -> Wanted:
    """The reverse. Raises BusError for what is not of this shape."""
    token, keys = body.get("token"), body.get("keys", [])
    request_id, message_id = body.get("request_id", ""), body.get("message_id", 0)
    try:
        good = (token is None or isinstance(token, str)) and isinstance(request_id, str) and type(message_id) is int
        read = tuple([_key(*key) for key in keys])
    except (ValueError, TypeError) as error:
        raise BusError(f"question about no push ids: {error}") from None
    if not good:
        raise BusError("question about what is no token or message")
    encoded = None if token is None else token.encode(errors="surrogatepass")
    return Wanted(encoded, read, request_id, message_id)


def _key(prefix: str, place: int | None) -> PushKey:
    packed = bytes.fromhex(prefix)
    if len(packed) != PREFIX_BYTES or not (place is None or type(place) is int):
        raise ValueError("malformed push id")
    return packed, place


def key_of_push_id(text: str) -> PushKey | None:
    """Of a push id as clients see it, or of its first half; None: it is none."""
    prefix, dash, place = text.partition("-")
    if len(prefix) != 2 * PREFIX_BYTES or (dash and not (place.isascii() and place.isdecimal())):
        return None
    try:
        return bytes.fromhex(prefix), int(place) if dash else None
    except ValueError:
        return None


class Recent:
    """Entries of late, the oldest out over a bound. An entry is a tuple that begins with its pushes and its bytes.

    Exact tuples of bytes and numbers alone: the garbage collector does not look at such. `most` 0: nothing is kept.
    """

    __slots__ = ("_bytes", "_entries", "_most", "_most_bytes", "_pushes")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: deque[tuple[Any, ...]] = deque()
        self._pushes = self._bytes = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return self._pushes

    def note(self, entry: tuple[Any, ...]) -> int:
        """Keep an entry; the pushes that made room for it."""
        if not self._most:
            return 0
        entries = self._entries
        entries.append(entry)
        self._pushes += entry[0]
        self._bytes += entry[1]
        dropped = 0
        while self._pushes > self._most or self._bytes > self._most_bytes:
            old = entries.popleft()
            self._pushes -= old[0]
            self._bytes -= old[1]
            dropped += old[0]
        return dropped


class Packed(NamedTuple):
    """What is kept of the frames of a PUSHES1. `data` has tokens alone if it is not `with_payloads`."""

    segments: bytes
    entries: bytes
    data: bytes
    with_payloads: bool
    origins: bytes


def packed(frames: Sequence[bytes]) -> tuple[bytes, bytes, bytes, bool, bytes]:
    """The fields of `Packed`, as an exact tuple, of a well-formed PUSHES1."""
    index, data = frames[3], frames[4]
    origins = frames[6] if len(frames) > 6 else b""
    if len(data) <= len(index) // ENTRY.size * _PAYLOAD_BYTES:
        return frames[2], index, data, True, origins
    tokens, start = [], 0
    for token_bytes, payload_bytes, _ in ENTRY.iter_unpack(index):
        tokens.append(data[start : start + token_bytes])
        start += token_bytes + payload_bytes
    return frames[2], index, b"".join(tokens), False, origins


class Found(NamedTuple):
    """A push of a batch. `place`: in the batch, `segment`: number of its segment, `size`: bytes of its payload."""

    place: int
    segment: int
    token: bytes
    prefix: bytes
    position: int
    size: int
    request_id: str


def find_in(batch: Packed, wanted: Wanted) -> list[Found]:
    """The wanted pushes of a batch."""
    if not _may_have(batch, wanted):
        return []
    return [
        each for each in pushes_of(batch) if wanted.matches(each.token, each.prefix, each.position, each.request_id)
    ]


def _may_have(batch: Packed, wanted: Wanted) -> bool:
    """Told by bytes that must be there: most batches need not be taken apart."""
    if wanted.token is not None:
        return wanted.token in batch.data
    if wanted.request_id and wanted.request_id.encode(errors="replace") in batch.origins:
        return True
    return any(prefix in batch.segments for prefix, _ in wanted.keys)


def pushes_of(batch: Packed) -> Iterator[Found]:
    """All pushes of a batch."""
    entries = ENTRY.iter_unpack(batch.entries)
    origins = iter([Origin(*fields) for fields in ujson.loads(batch.origins)] if batch.origins else [])
    place = start = 0
    for number, (pushes, flags, prefix, _, _) in enumerate(SEGMENT.iter_unpack(batch.segments)):
        request_id = next(origins).request_id if flags & ORIGIN else ""
        for _ in range(pushes):
            token_bytes, payload_bytes, position = next(entries)
            token = batch.data[start : start + token_bytes]
            start += token_bytes + (payload_bytes if batch.with_payloads else 0)
            yield Found(place, number, token, prefix, position, payload_bytes, request_id)
            place += 1


class ToMany(NamedTuple):
    """What is kept of an ALL1: `to`: all, group NAME or user UID; `size`: bytes of its payload."""

    prefix: bytes
    to: str
    size: int
    request_id: str


def to_many(fan_out: FanOut) -> tuple[bytes, str, int, str]:
    """The fields of `ToMany`, as an exact tuple."""
    target = fan_out.target
    to = f"{_KINDS[target.kind]} {target.name}" if target else "all"
    request_id = fan_out.origin.request_id if fan_out.origin else ""
    return fan_out.segment.id_prefix, to, len(fan_out.payload), request_id


def counts_text(counts: Mapping[str, int]) -> str:
    """How many clients got which outcome."""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nobody"


def outcome_name(outcome: int) -> str:
    """Of an outcome byte on the bus, as the router takes it: what is no outcome is UNKNOWN."""
    return _OUTCOMES.get(outcome, Outcome.UNKNOWN.name)


class Messages:
    """Messages that were found, and their hops: [monotonic seconds, what, more], in their order."""

    def __init__(self) -> None:
        self._by_push: dict[tuple[bytes, bytes, int], dict[str, Any]] = {}

    def of(self, found: Found) -> list[list[Any]]:
        """The hops of a push."""
        message = self._by_push.get((found.token, found.prefix, found.position))
        if message is None:
            message = self._by_push[found.token, found.prefix, found.position] = {
                "id": push_id(found.prefix, found.position),
                "token": found.token.decode(errors="replace"),
                "bytes": found.size,
                "request_id": found.request_id,
                "hops": [],
            }
        hops: list[list[Any]] = message["hops"]
        return hops

    def of_many(self, push: ToMany) -> list[list[Any]]:
        """The hops of a push to many; `token` is null."""
        key = (push.to.encode(errors="replace"), push.prefix, -1)
        message = self._by_push.setdefault(
            key,
            {
                "id": push_id(push.prefix, 0),
                "token": None,
                "to": push.to,
                "bytes": push.size,
                "request_id": push.request_id,
                "hops": [],
            },
        )
        hops: list[list[Any]] = message["hops"]
        return hops

    def get(self, token: bytes, prefix: bytes, position: int) -> list[list[Any]] | None:
        """The hops of one that was found before."""
        message = self._by_push.get((token, prefix, position))
        return message["hops"] if message else None

    def newest(self) -> list[dict[str, Any]]:
        """So many as one answer holds, the newest last."""
        return list(self._by_push.values())[-FOUND_MAX:]
