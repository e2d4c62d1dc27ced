"""Bus messages between routers and workers, as lists of frames (docs/architecture.md, section The bus).

The first frame names kind and version. Control messages carry one JSON object, whose unknown
fields a reader passes over; the two that carry volume, PUSHES1 and OUTCOMES1, are packed.
What is in the JSON of rings, claims and members: bus_rings, bus_claims, bus_members.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

import ujson

from shared.errors import BusError
from shared.origins import Origin, is_request_id, is_traceparent
from shared.rings import Epoch

# worker -> router
READY1 = b"READY1"  # JSON: who the worker is, the ring that it follows, which routers it hears
BEAT1 = b"BEAT1"  # JSON: the worker's figures, once a second, its epoch, and which routers it hears
BYE1 = b"BYE1"  # JSON: this worker leaves the ring, or (gone: true) has given all its clients away
NEWS1 = b"NEWS1"  # JSON as in RING1: a greater ring than this router has told, heard from another router
OUTCOMES1 = (
    b"OUTCOMES1"  # batch u64 · one byte per push, in the batch's order [· for one with `Origin`s: when, u64 u64]
)
LATE1 = b"LATE1"  # batch u64 · (u32 index, u8 outcome)...: pushes answered HELD or KEPT before
DETAIL1 = b"DETAIL1"  # batch u64 · JSON {"dropped": {index: n}}: what else their senders are to know; before LATE1
COUNTS1 = b"COUNTS1"  # fan-out u64 · JSON: what became of a push to all
REPLY1 = b"REPLY1"  # call u64 · JSON
CLAIM1 = b"CLAIM1"  # number u64 · JSON {"claims": [[token, binding, bound_by, moves], ...]}: clients held for others
UNCLAIM1 = b"UNCLAIM1"  # JSON {"claims": [...]}: held here no longer
MEMBERS1 = b"MEMBERS1"  # JSON {"groups": {"add", "remove"}, "uids": {...}, "whole"}: which of them have clients here
# router -> worker
PUSHES1 = b"PUSHES1"  # header · segments · index · data [· JSON: `Terms` of OPTIONS [· JSON: `Origin`s of ORIGIN]]
ALL1 = (
    b"ALL1"  # header · one segment · payload [· JSON {"group": name} or {"uid": name}: only these [· JSON: `Origin`]]
)
RING1 = b"RING1"  # JSON: epoch, live, leaving, fence (behind what came back STALE); a fence behind the older ring, too
CALL1 = b"CALL1"  # call u64 · JSON {"call": "find" | "kick", "tokens": [...]}
WHO1 = b"WHO1"  # say READY1 again
ALIVE1 = b"ALIVE1"  # JSON {"router": place in the list}: this router lives; once a heartbeat
CLAIMED1 = b"CLAIMED1"  # number u64 · JSON {}: the claims of that CLAIM1 are in force here
NOTED1 = b"NOTED1"  # number u64 · JSON {} or {"again": true}: that MEMBERS1 is known here, or is not: tell all anew
TAKEN1 = b"TAKEN1"  # JSON {"claims": [...], "whole"}: others have these tokens, only these
FREED1 = b"FREED1"  # JSON {"claims": [...]}: those of TAKEN1 that it has no longer

#: In OUTCOMES1 and LATE1: not known yet, LATE1 follows; it is in its place before all later ones, and not STALE.
KEPT = 253
#: In OUTCOMES1 and LATE1: not delivered, its token has gone to another worker; the router routes it again.
STALE = 254
#: In OUTCOMES1: not known yet, LATE1 follows.
HELD = 255

_HEADER = Struct(">QIQ")  # epoch (start ms, counter), number of the batch or fan-out
_NUMBER = Struct(">Q")
SEGMENT = Struct(">HB16sBB")  # pushes, flags, id prefix, signal, sub_signal
ENTRY = Struct(">HIH")  # token bytes, payload bytes, position in the sender's request
_LATE = Struct(">IB")
_WHEN = Struct(">QQ")

#: Segment flag: the request had an `id`, so a copy may come; the holder remembers these pushes.
REPEATABLE = 1
#: Segment flag: there are `Terms` for these pushes in the sixth frame. Only for workers whose READY1 says `stores`.
OPTIONS = 2
#: Segment flag: there is an `Origin` for these pushes in the seventh frame. Only for workers that say `origins`.
ORIGIN = 4


class Terms(NamedTuple):
    """What a sender wants for its pushes beyond sending: to have them kept, to know that they were acknowledged."""

    ttl: int  # seconds; 0: not to be stored
    acked: bool  # the outcome is to wait for the client's acknowledgement
    collapse: str | None
    timeout_ms: int
    sender: str  # its name; empty: it has none
    age_ms: int = 0  # how long ago the router took the request in


class Segment(NamedTuple):
    """Consecutive pushes of a batch that came with one request."""

    pushes: int
    flags: int
    id_prefix: bytes  # 16 bytes
    signal: int
    sub_signal: int


class Batch(NamedTuple):
    """A decoded PUSHES1. `entries` holds packed ENTRYs, `data` token and payload of each end to end.

    `terms`: of the segments flagged OPTIONS, `origins`: of those flagged ORIGIN, in their order.
    """

    epoch: Epoch
    number: int
    segments: list[Segment]
    entries: bytes
    data: bytes
    terms: Sequence[Terms] = ()
    origins: Sequence[Origin] = ()


def encode_batch(
    epoch: Epoch,
    number: int,
    segments: Sequence[Segment],
    index: Sequence[bytes],
    data: Sequence[bytes],
    terms: Sequence[Terms] = (),
    origins: Sequence[Origin] = (),
) -> list[bytes]:
    """PUSHES1. `index` holds packed ENTRYs, `data` token + payload for each, in the same order."""
    more = [ujson.dumps([each._asdict() for each in terms]).encode()] if terms else []
    if origins:
        more = [*(more or [b""]), ujson.dumps(origins, escape_forward_slashes=False).encode()]
    return [
        PUSHES1,
        _HEADER.pack(*epoch, number),
        b"".join([SEGMENT.pack(*segment) for segment in segments]),
        b"".join(index),
        b"".join(data),
        *more,
    ]


def decode_batch(frames: Sequence[bytes]) -> Batch:
    """A PUSHES1. Raises BusError if the lengths do not agree."""
    try:
        _, header, packed_segments, index, data, *more = frames
        started, counter, number = _HEADER.unpack(header)
        segments = [Segment._make(fields) for fields in SEGMENT.iter_unpack(packed_segments)]
    except (ValueError, StructError) as error:
        raise BusError(f"malformed PUSHES1: {error}") from None
    if len(index) != ENTRY.size * sum(segment.pushes for segment in segments):
        raise BusError(f"PUSHES1 index of {len(index)} bytes does not fit its segments")
    terms = _decode_terms(more[0]) if more and (more[0] or len(more) == 1) else ()
    if len(terms) != sum([segment.flags & OPTIONS for segment in segments]) // OPTIONS:
        raise BusError(f"PUSHES1 with {len(terms)} terms that do not fit its segments")
    if len(more) < 2:
        return Batch(Epoch(started, counter), number, segments, index, data, terms)
    origins = _decode_origins(more[1])
    if len(origins) != sum([segment.flags & ORIGIN for segment in segments]) // ORIGIN:
        raise BusError(f"PUSHES1 with {len(origins)} origins that do not fit its segments")
    return Batch(Epoch(started, counter), number, segments, index, data, terms, origins)


def _decode_terms(frame: bytes) -> list[Terms]:
    try:
        return [
            Terms(
                int(each["ttl"]),
                bool(each["acked"]),
                None if each.get("collapse") is None else str(each["collapse"]),
                int(each["timeout_ms"]),
                str(each.get("sender", "")),
                int(each.get("age_ms", 0)),
            )
            for each in ujson.loads(frame)
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BusError(f"malformed terms in PUSHES1: {error!r}") from None


def _decode_origins(frame: bytes) -> list[Origin]:
    """What is in them goes into log lines: it is looked at again."""
    try:
        origins = [Origin(*fields) for fields in ujson.loads(frame)]
        good = all(
            (not each.request_id or is_request_id(each.request_id))
            and (not each.traceparent or is_traceparent(each.traceparent))
            for each in origins
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise BusError(f"malformed origins: {error!r}") from None
    if not good:
        raise BusError("origins that are no request id and traceparent")
    return origins


def unpack_entries(batch: Batch) -> Iterator[tuple[int, int, int]]:
    """(token bytes, payload bytes, position) of each push of a batch."""
    return ENTRY.iter_unpack(batch.entries)


class Target(NamedTuple):
    """Whom a fan-out is for, if not everybody."""

    kind: str  # "group" or "uid"
    name: str


class FanOut(NamedTuple):
    """A decoded ALL1: one payload for every client of the worker, or those of a target."""

    epoch: Epoch
    number: int
    segment: Segment
    payload: bytes
    target: Target | None = None
    origin: Origin | None = None


def encode_fan_out(
    epoch: Epoch,
    number: int,
    segment: Segment,
    payload: bytes,
    target: Target | None = None,
    origin: Origin | None = None,
) -> list[bytes]:
    """ALL1. With a target it is only for workers whose READY1 says `targets`, with an origin: `origins`."""
    more = [ujson.dumps({target.kind: target.name}).encode()] if target else []
    if origin:
        more = [*(more or [b""]), ujson.dumps([origin], escape_forward_slashes=False).encode()]
    return [ALL1, _HEADER.pack(*epoch, number), SEGMENT.pack(*segment), payload, *more]


def decode_fan_out(frames: Sequence[bytes]) -> FanOut:
    """An ALL1. Raises BusError."""
    try:
        _, header, segment, payload, *more = frames
        started, counter, number = _HEADER.unpack(header)
        target = _decode_target(more[0]) if more and (more[0] or len(more) == 1) else None
        (origin,) = _decode_origins(more[1]) if len(more) > 1 else (None,)
        return FanOut(Epoch(started, counter), number, Segment._make(SEGMENT.unpack(segment)), payload, target, origin)
    except (ValueError, TypeError, StructError) as error:
        raise BusError(f"malformed ALL1: {error}") from None


def _decode_target(frame: bytes) -> Target:
    ((kind, name),) = dict(ujson.loads(frame)).items()
    if kind not in ("group", "uid") or not isinstance(name, str):
        raise ValueError("a target that is neither group nor uid")
    return Target(kind, name)


def is_targeted(frames: Sequence[bytes]) -> bool:
    """Whether a well-formed ALL1 has a target."""
    return len(frames) > 4 and bool(frames[4])


def without_origin(frames: list[bytes]) -> list[bytes]:
    """A well-formed ALL1 for a worker that knows no origins."""
    return frames[: 5 if is_targeted(frames) else 4]


def number_of(frames: Sequence[bytes]) -> int:
    """The batch or fan-out number of a well-formed PUSHES1 or ALL1."""
    return int(_HEADER.unpack(frames[1])[2])


def encode_outcomes(number: int, outcomes: bytes | bytearray, when: tuple[int, int] | None = None) -> list[bytes]:
    """OUTCOMES1: one byte per push of batch `number`; HELD where LATE1 will follow.

    `when`: its delivery began and ended (Unix microseconds); only for a batch with origins.
    """
    return [OUTCOMES1, _NUMBER.pack(number), bytes(outcomes), *([_WHEN.pack(*when)] if when else [])]


def decode_outcomes(frames: Sequence[bytes]) -> tuple[int, bytes]:
    """(batch number, outcome bytes) of an OUTCOMES1. Raises BusError."""
    try:
        _, number, outcomes, *_ = frames
        return _NUMBER.unpack(number)[0], outcomes
    except (ValueError, StructError) as error:
        raise BusError(f"malformed OUTCOMES1: {error}") from None


def decode_when(frames: Sequence[bytes]) -> tuple[int, int] | None:
    """When the delivery of a batch began and ended (Unix microseconds); None: not said. Raises BusError."""
    if len(frames) < 4:
        return None
    try:
        began, ended = _WHEN.unpack(frames[3])
    except StructError as error:
        raise BusError(f"malformed times in OUTCOMES1: {error}") from None
    return began, ended


def encode_late(number: int, late: Sequence[tuple[int, int]]) -> list[bytes]:
    """LATE1: (index in the batch, outcome) of pushes that were answered HELD."""
    return [LATE1, _NUMBER.pack(number), b"".join([_LATE.pack(*pair) for pair in late])]


def decode_late(frames: Sequence[bytes]) -> tuple[int, list[tuple[int, int]]]:
    """(batch number, [(index, outcome)]) of a LATE1. Raises BusError."""
    try:
        _, number, late = frames
        return _NUMBER.unpack(number)[0], list(_LATE.iter_unpack(late))
    except (ValueError, StructError) as error:
        raise BusError(f"malformed LATE1: {error}") from None


def encode_control(kind: bytes, body: dict[str, Any]) -> list[bytes]:
    """READY1, BEAT1, BYE1, RING1 or WHO1 with its JSON object."""
    return [kind, ujson.dumps(body).encode()]


def decode_control(frames: Sequence[bytes]) -> dict[str, Any]:
    """The JSON object of a control message. Raises BusError."""
    try:
        _, body = frames
        decoded = ujson.loads(body)
    except (ValueError, TypeError) as error:
        raise BusError(f"malformed control message: {error}") from None
    if not isinstance(decoded, dict):
        raise BusError("control message is not an object")
    return decoded


def encode_numbered(kind: bytes, number: int, body: dict[str, Any]) -> list[bytes]:
    """CALL1, REPLY1 or COUNTS1: a number and a JSON object."""
    return [kind, _NUMBER.pack(number), ujson.dumps(body).encode()]


def decode_numbered(frames: Sequence[bytes]) -> tuple[int, dict[str, Any]]:
    """(number, JSON object) of CALL1, REPLY1 or COUNTS1. Raises BusError."""
    try:
        _, number, body = frames
        decoded = ujson.loads(body)
        if not isinstance(decoded, dict):
            raise BusError("numbered message without an object")
        return _NUMBER.unpack(number)[0], decoded
    except (ValueError, TypeError, StructError) as error:
        raise BusError(f"malformed numbered message: {error}") from None
