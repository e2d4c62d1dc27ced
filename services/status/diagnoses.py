"""One answer about a token out of what routers, workers, presence service and message cache say of it. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

#: A client that is silent for so much of its heartbeat is about to be closed.
_SILENT_PART = 0.9
#: A client that has come so recently may not be known to the presence service, nor have acknowledged what is stored.
_SETTLED_MS = 5_000
#: Bytes in the kernel that nobody needs to worry about.
_IN_KERNEL = 64 << 10


class Evidence(NamedTuple):
    """What was found out. `routers`: what each said to EXPLAIN1, by endpoint; a text: why it said nothing.

    `presence`, `cached`: likewise. `now_ms`: when it was asked, Unix time.
    """

    token: str
    routers: dict[str, dict[str, Any] | str]
    presence: dict[str, Any] | str
    cached: list[dict[str, Any]] | str
    now_ms: int

    @property
    def answered(self) -> list[dict[str, Any]]:
        """What the routers say that answered."""
        return [said for said in self.routers.values() if isinstance(said, dict)]

    @property
    def workers(self) -> dict[str, dict[str, Any]]:
        """Each worker as a router knows it."""
        return known_workers(self.answered)

    @property
    def holders(self) -> dict[str, dict[str, Any]]:
        """Workers that have a client of the token, and how it stands; the newest binding first."""
        found = {
            name: worker["said"]["connection"]
            for name, worker in self.workers.items()
            if worker["said"] and worker["said"].get("connection")
        }
        rank = {name: (held["binding"], held["bound_by"], held["moves"]) for name, held in found.items()}
        return dict(sorted(found.items(), key=lambda item: rank[item[0]], reverse=True))


def known_workers(routers: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What EXPLAIN1 says of each worker; of several routers one that has its answer."""
    workers: dict[str, dict[str, Any]] = {}
    for router in routers:
        for name, worker in router["workers"].items():
            if name not in workers or (worker["said"] and not workers[name]["said"]):
                workers[name] = worker
    return workers


def explained(evidence: Evidence) -> dict[str, Any]:
    """All of it as one object, with what is wrong in words."""
    holders, routers = evidence.holders, evidence.answered
    holder = next(iter(holders), None)
    return {
        "token": evidence.token,
        "online": holder is not None,
        "worker": holder,
        "slot": next((router["slot"] for router in routers), None),
        "owner": next((router["owner"] for router in routers), None),
        "problems": list(problems(evidence)),
        "connection": holders.get(holder) if holder else None,
        "routers": [
            {"endpoint": endpoint, **({"error": said} if isinstance(said, str) else _without_workers(said))}
            for endpoint, said in evidence.routers.items()
        ],
        "workers": {name: _without_messages(worker) for name, worker in evidence.workers.items()},
        "presence": evidence.presence if isinstance(evidence.presence, dict) else {"error": evidence.presence},
        "cached": evidence.cached if isinstance(evidence.cached, list) else {"error": evidence.cached},
    }


def _without_workers(router: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in router.items() if key not in ("workers", "messages")}


def _without_messages(worker: dict[str, Any]) -> dict[str, Any]:
    said = worker["said"]
    return {**worker, "said": said and {key: value for key, value in said.items() if key != "messages"}}


def problems(evidence: Evidence) -> Iterator[str]:
    """What is wrong, a sentence for each."""
    for endpoint, said in evidence.routers.items():
        if isinstance(said, str):
            yield f"the router at {endpoint} does not answer: {said}"
    yield from _of_ring(evidence.answered)
    yield from _of_workers(evidence)
    holders = evidence.holders
    if len(holders) > 1:
        yield f"bound on {', '.join(holders)}: the first has the newest binding, the others are about to be closed"
    for router in evidence.answered:
        yield from _of_way(router, next(iter(holders), None))
    for name, held in holders.items():
        yield from _of_connection(name, held)
    since = max([held["since"] for held in holders.values()], default=0)
    if evidence.now_ms - since > _SETTLED_MS:
        yield from _of_services(evidence, next(iter(holders), None))


def _of_ring(routers: Sequence[dict[str, Any]]) -> Iterator[str]:
    epochs = {tuple(router["epoch"]) for router in routers}
    if len(epochs) > 1:
        said = ", ".join(f"router {router['router']} {_epoch(router['epoch'])}" for router in routers)
        yield f"the routers follow different rings: {said}"
    deciders = [str(router["router"]) for router in routers if router["role"] == "decides"]
    if len(deciders) > 1:
        yield f"routers {' and '.join(deciders)} both decide on the ring"
    for router in routers:
        if not router["settled"]:
            yield f"router {router['router']} has just started and has no ring yet: pushes wait"
        elif router["owner"] is None:
            yield f"router {router['router']} knows no live worker"
        if router["parked"]:
            yield f"router {router['router']} holds pushes of this slot back until it has changed hands"


def _of_workers(evidence: Evidence) -> Iterator[str]:
    concerned = {router["owner"] for router in evidence.answered} | {
        router["claim"]["worker"] for router in evidence.answered if router["claim"]
    }
    for name, worker in evidence.workers.items():
        said = worker["said"]
        role = "the owner" if name in concerned else "a worker"
        if worker["state"] in ("restarting", "lost"):
            yield f"{name}, {role}, is {worker['state']}"
        elif said is None and not worker["explains"]:
            yield f"{name} is of version {worker['version']} and cannot tell what it knows"
        elif said is None:
            yield f"{name}, {role}, does not answer"
        else:
            yield from _of_worker(name, said, evidence)


def _of_worker(name: str, said: dict[str, Any], evidence: Evidence) -> Iterator[str]:
    for router in evidence.answered:
        if router["router"] not in said["routers"]:
            yield f"{name} does not hear router {router['router']}"
        if tuple(said["epoch"]) != tuple(router["epoch"]):
            yield f"{name} follows ring {_epoch(said['epoch'])}, router {router['router']} {_epoch(router['epoch'])}"
    if said["owner"] == name and not said["settled"] and not said["connection"]:
        yield f"{name} waits for clients that move: {', '.join(said['awaited'])} may have this one"
    if said["moving"]:
        yield f"{name} is handing the client over"
    if said["held"]:
        yield f"{said['held']} pushes wait in {name}"
    if said["storing"] and not said["cache"]:
        yield f"{said['storing']} pushes wait in {name} for the message cache, which is away"
    if said["claim"] and not said["claim"]["confirmed"]:
        yield f"{name} has claimed the token, but not all routers have confirmed it"
    if said["claim"] and said["claim"]["lost"]:
        yield f"{name} has claimed the token, but another worker has a newer client for it"
    if said["claim"] and not said["connection"] and not said["moving"]:
        yield f"{name} claims the token and has no client for it"


def _of_way(router: dict[str, Any], holder: str | None) -> Iterator[str]:
    """Whether a router sends to whoever has the client."""
    position, claim = router["router"], router["claim"]
    target = claim["worker"] if claim else router["owner"]
    if holder is None:
        if claim:
            yield f"router {position} has a claim of {claim['worker']}, which has no client of this token"
        return
    if target == holder or not router["settled"]:
        return
    if claim is None:
        yield f"bound on {holder}, but router {position} has no claim and sends to the owner, {target}"
    else:
        yield f"bound on {holder}, but router {position} sends to {target} by its claim"


def _of_connection(name: str, held: dict[str, Any]) -> Iterator[str]:
    silent, heartbeat = held["silent_s"], held["heartbeat_s"]
    if silent is not None and silent > heartbeat * _SILENT_PART:
        yield f"the client has been silent for {silent} s; at {heartbeat} s {name} closes it"
    if held["output_bytes"]:
        full = f", for {held['full_s']} s over the bound" if held["full_s"] else ""
        yield f"the client's socket is full: {held['output_bytes']} bytes wait in {name}{full}"
    elif (held["unacknowledged_bytes"] or 0) > _IN_KERNEL:
        yield f"the client's machine has not acknowledged {held['unacknowledged_bytes']} bytes that its socket holds"
    if held["unacknowledged"] >= held["window"]:
        yield f"the client acknowledges nothing: {held['unacknowledged']} of {held['window']} pushes are unacknowledged"
    if held["paused"]:
        yield f"{name} does not read from the client: it sends too much"
    stored = held["stored"]
    if stored and not stored["live"]:
        yield f"the client is still being sent what was stored ({stored['sent_up_to']} of {stored['newest']})"


def _of_services(evidence: Evidence, holder: str | None) -> Iterator[str]:
    presence, cached = evidence.presence, evidence.cached
    if isinstance(presence, dict):
        there = presence.get("worker") if presence["online"] else None
        if holder and not there:
            yield f"bound on {holder}, but the presence service does not know it"
        elif there and not holder:
            yield f"the presence service has it on {there}, but no worker has it"
        elif there != holder:
            yield f"bound on {holder}, but the presence service has it on {there}"
    if isinstance(cached, list) and cached and holder:
        yield f"{len(cached)} stored messages are not acknowledged, though the client is connected"


def _epoch(epoch: Sequence[int]) -> str:
    return f"{epoch[0]}.{epoch[1]}"
