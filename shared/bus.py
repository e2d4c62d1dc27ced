"""Bus messages between routers and workers, as lists of frames (docs/architecture.md, section The bus).

The first frame names kind and version. Control messages carry one JSON object, whose unknown
fields a reader passes over; the two that carry volume, PUSHES1 and OUTCOMES1, are packed.
"""

from collections.abc import Iterator, Mapping, Sequence
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


class MembersNews(NamedTuple):
    """A decoded MEMBERS1: groups and users that have a client on this worker from now on, or none any more."""

    groups: Sequence[str] = ()
    groups_gone: Sequence[str] = ()
    uids: Sequence[str] = ()
    uids_gone: Sequence[str] = ()
    #: All have been told, and whoever the ring of this epoch brings has come; None: there may be others.
    whole: Epoch | None = None
    #: Whether there are clients here from now on whose groups are not known; None: as before.
    unknown: bool | None = None
    #: So many REGROUP1 of each group have been seen to.
    regrouped: Mapping[str, int] = {}
    #: Each is one more than the one before on this link; None: of a worker of an older version.
    number: int | None = None
    #: Nothing that was told before counts.
    anew: bool = False


def encode_members(news: MembersNews) -> list[bytes]:
    """MEMBERS1."""
    body: dict[str, Any] = {}
    for kind, added, removed in (
        ("groups", news.groups, news.groups_gone),
        ("uids", news.uids, news.uids_gone),
    ):
        said = {"add": added, "remove": removed}
        body |= {kind: {key: names for key, names in said.items() if names}} if added or removed else {}
    if news.whole is not None:
        body["whole"] = news.whole
    if news.unknown is not None:
        body["unknown"] = news.unknown
    if news.regrouped:
        body["regrouped"] = dict(news.regrouped)
    if news.number is not None:
        body["number"] = news.number
    if news.anew:
        body["anew"] = True
    return [MEMBERS1, ujson.dumps(body, escape_forward_slashes=False).encode()]


def decode_members(frames: Sequence[bytes]) -> MembersNews:
    """A MEMBERS1. Raises BusError."""
    body = decode_control(frames)
    whole = body.get("whole")
    if whole is not None:
        if not isinstance(whole, list) or len(whole) != 2 or not all(type(number) is int for number in whole):
            raise BusError("MEMBERS1 that is whole for no epoch")
        whole = Epoch(*whole)
    groups, groups_gone, uids, uids_gone = (
        _names(body, kind, key) for kind in ("groups", "uids") for key in ("add", "remove")
    )
    unknown, regrouped = body.get("unknown"), body.get("regrouped", {})
    if not isinstance(regrouped, dict) or not all(type(count) is int for count in regrouped.values()):
        raise BusError("MEMBERS1 with regrouped that are no counts")
    number = body.get("number")
    if number is not None and (type(number) is not int or not 0 <= number < 1 << 64):
        raise BusError("MEMBERS1 with a number that is none")
    unknown = None if unknown is None else bool(unknown)
    return MembersNews(
        groups, groups_gone, uids, uids_gone, whole, unknown, regrouped, number, body.get("anew") is True
    )


def _names(body: dict[str, Any], kind: str, key: str) -> list[str]:
    said = body.get(kind, {})
    names = said.get(key, []) if isinstance(said, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BusError(f"MEMBERS1 with {kind} that are no names")
    return names


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


class Claim(NamedTuple):
    """A token whose client is bound on a worker that does not own it. The greater `(binding, bound_by, moves)` wins."""

    token: bytes
    binding: int
    bound_by: str
    moves: int = 0  # how often the client has been handed over: its later holder's claim is the greater one


def encode_claims(kind: bytes, claims: Sequence[Claim], number: int | None = None, whole: bool = False) -> list[bytes]:
    """CLAIM1 (with its number), UNCLAIM1, TAKEN1 or FREED1. `whole`: there are no others but those that follow."""
    body: dict[str, Any] = {"claims": [[claim.token.decode(), *claim[1:]] for claim in claims]}
    if whole:
        body["whole"] = True
    return encode_control(kind, body) if number is None else encode_numbered(kind, number, body)


def decode_claims(body: dict[str, Any]) -> list[Claim]:
    """The claims in the JSON object of such a message. Raises BusError."""
    try:
        return [
            Claim(str(token).encode(), int(binding), str(by), *map(int, more[:1]))
            for token, binding, by, *more in body["claims"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BusError(f"malformed claims: {error}") from None


class RingNews(NamedTuple):
    """A decoded RING1. `live` owns slots; `leaving` still hands its clients over; both map worker to socket path.

    `follows`: the epoch of the ring before it; None: a router of an older version does not say.
    """

    epoch: Epoch
    live: dict[str, str]
    leaving: dict[str, str]
    follows: Epoch | None = None


def ring_fields(news: RingNews) -> dict[str, Any]:
    """A ring as JSON object."""
    follows = {} if news.follows is None else {"follows": list(news.follows)}
    return {"epoch": list(news.epoch), "live": news.live, "leaving": news.leaving, **follows}


def _epoch(said: Any) -> Epoch:
    started, counter = said
    return Epoch(int(started), int(counter))


def ring_from_fields(body: dict[str, Any]) -> RingNews:
    """A ring out of its JSON object. Raises BusError."""
    try:
        follows = _epoch(body["follows"]) if "follows" in body else None
        return RingNews(_epoch(body["epoch"]), dict(body["live"]), dict(body["leaving"]), follows)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BusError(f"malformed RING1: {error}") from None


def encode_ring(news: RingNews, kind: bytes = RING1, fence: Sequence[int] = ()) -> list[bytes]:
    """RING1, or NEWS1. `fence`: slots of which all that came back STALE from this worker has been routed again."""
    return encode_control(kind, {**ring_fields(news), **({"fence": fence} if fence else {})})


def fenced_slots(frames: Sequence[bytes]) -> frozenset[int]:
    """The slots of which a RING1 says so. Raises BusError."""
    slots = decode_control(frames).get("fence", [])
    if not isinstance(slots, list) or not all(type(slot) is int for slot in slots):
        raise BusError("fence that is no slots")
    return frozenset(slots)


def decode_ring(frames: Sequence[bytes]) -> RingNews:
    """A RING1 or NEWS1. Raises BusError."""
    return ring_from_fields(decode_control(frames))
