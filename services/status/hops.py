"""Messages of late, hop by hop, out of what routers and workers tell of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from shared.places import host_of

#: Of hops at the same moment, this comes first.
_ORDER = {
    "received by router": 0,
    "waits for": 1,
    "given to": 1,
    "received": 2,
    "replayed": 3,
    "written as": 3,
    "done": 4,
    "settled": 5,
    "counted": 5,
    "acknowledged": 6,
    "answered": 7,
    "answered later": 8,
}
#: What a router and a worker call a hop, and what it is called here.
_OF_ROUTER = {
    "received": "received by router",
    "given": "given to",
    "waits": "waits for",
    "answered": "answered",
    "settled": "answered later",
}
_OF_WORKER = {"shown": "written as"}


def joined(
    routers: Iterable[Mapping[str, Any]], workers: Mapping[str, Mapping[str, Any]], asked_us: int
) -> list[dict[str, Any]]:
    """All messages, the oldest first, each with `hops`: `at` (Unix us), `where`, `what`, `more`, in their order.

    `workers`: what each said. `asked_us`: when they were asked. `outcome`: the last that was told; None: none yet.
    """
    offsets = {host_of(name): said["unix_us"] - said["clock"] * 1e6 for name, said in workers.items()}
    messages: dict[tuple[str, str | None], dict[str, Any]] = {}
    for router in routers:
        # Processes of one host have one clock; of a host without workers nobody says how it stands to others'.
        offset = offsets.get(router["host"], asked_us - router["clock"] * 1e6)
        _add(messages, f"router {router['router']}", router["messages"], offset, _OF_ROUTER)
    for name, said in workers.items():
        _add(messages, name, said["messages"], offsets[host_of(name)], _OF_WORKER)
    for message in messages.values():
        message["hops"].sort(key=lambda hop: (hop["at"], _ORDER.get(hop["what"], 9)))
        message["outcome"] = _outcome(message["hops"])
    return sorted(messages.values(), key=lambda message: message["hops"][0]["at"])


def _add(
    messages: dict[tuple[str, str | None], dict[str, Any]],
    where: str,
    told: Sequence[Mapping[str, Any]],
    offset: float,
    names: Mapping[str, str],
) -> None:
    for each in told:  # `token` is null of a push to many
        known = messages.setdefault((each["id"], each["token"]), {**each, "hops": []})
        known["request_id"] = known["request_id"] or each["request_id"]
        known["hops"] += [
            {"at": round(offset + at * 1e6), "where": where, "what": names.get(what, what), "more": more}
            for at, what, more in each["hops"]
        ]


def _outcome(hops: Sequence[Mapping[str, Any]]) -> str | None:
    """What the router told last; where that is not known, the worker."""
    for whats in (("answered", "answered later"), ("done", "settled")):
        told = [hop["more"] for hop in hops if hop["what"] in whats]
        if told:
            return str(told[-1])
    return None


def as_lines(message: Mapping[str, Any], clock: str) -> Iterator[str]:
    """A message, and a line for each hop. `clock`: the time of its first one."""
    request = f", request {message['request_id']}" if message["request_id"] else ""
    yield f"    {message['id']} to {message['token'] or message['to']}: {message['bytes']} bytes{request}, at {clock}"
    first = message["hops"][0]["at"]
    for hop in message["hops"]:
        more = f" {hop['more']}" if hop["more"] != "" else ""
        yield f"      +{(hop['at'] - first) / 1000:.3f} ms  {hop['where']}: {hop['what']}{more}"
