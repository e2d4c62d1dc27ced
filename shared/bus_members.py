"""MEMBERS1: which groups and users have clients on a worker."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ujson

from shared.bus import MEMBERS1, decode_control
from shared.errors import BusError
from shared.rings import Epoch


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
