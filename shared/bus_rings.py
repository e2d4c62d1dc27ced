"""RING1 and NEWS1: which workers own slots and which still hand their clients over."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.bus import RING1, decode_control, encode_control
from shared.errors import BusError
from shared.rings import Epoch


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
