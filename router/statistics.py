"""STAT1: the fleet's figures (docs/sender-protocol.md, section Figures)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from router.members import Worker, WorkerState
from router.parts import Parts
from router.service_members import Service
from shared import __version__
from shared.durations import BOUNDS_S, checked_durations
from shared.tokens import SLOTS


def figures(parts: Parts, now: float) -> dict[str, Any]:
    """The object that answers STAT1.

    `router`: `version`, `uptime_s`, `position` in the list of routers, `role` (decides, follows), `epoch`
        [ms, counter], `settled` (whether there has been a ring), `live`, `leaving`, `restarting` and `lost` (numbers
        of workers), `claims`, `pushes_parked`, `unanswered_requests`, `unanswered_bytes`, `unanswered_calls` and
        `unanswered_call_bytes` (to services), `connections` (senders remembered), `remembered_ids`,
        `remembered_bytes`, `counters` (router.counters), `durations` (shared.durations) of `sender`, from a request's
        leave of its sender to its coming, `queue`, from a request to its pushes' leave for a worker, `worker_answer`,
        from a batch's leave to its answer, and `outcome`, from a request to its pushes' outcomes.
    `workers`: by name: `state` (one of those four), `slots` owned, `heartbeat_age_s`, `pid`, `version`,
        `batches_in_flight`, `pushes_waiting` in the router, `claims` in force, `routers` (positions) that it hears,
        `epoch` it knows, `connections` by protocol, `counters` and `durations` of `delivery`, a batch's way through
        it, and `acknowledgement`, from a push's write to its PUB_ACK, `queues` (pushes `held` for clients on their way,
        operations that no message `cache` has answered), the last six as it said last.
    `services`: by name/instance: `topics` [[signal, sub_signal], ...], `window`, `outstanding` calls, `queued` ones
        that wait for this instance, `leaving`, `heartbeat_age_s`, and as it said last `statistics` of its calls and
        `figures` of its own.
    `totals`: `connections`, by protocol and `all`, and `counters`, each summed over the workers; `slots`;
        `duration_bounds_s` of all `durations`.
    """
    membership = parts.membership
    slots = Counter(membership.owners)
    waiting = parts.pushes.waiting()
    workers = {
        worker.name: _worker(parts, worker, slots[worker.name], waiting.get(worker.name, 0), now)
        for worker in membership.workers.values()
    }
    connections = _sum(worker["connections"] for worker in workers.values())
    return {
        "router": _router(parts, now),
        "workers": workers,
        "services": {service.full_name: _service(service, now) for service in parts.services.services.values()},
        "totals": {
            "connections": {**connections, "all": sum(connections.values())},
            "counters": _sum(worker["counters"] for worker in workers.values()),
            "slots": SLOTS,
            "duration_bounds_s": BOUNDS_S,
        },
    }


def _router(parts: Parts, now: float) -> dict[str, Any]:
    membership = parts.membership
    states = Counter(worker.state for worker in membership.workers.values())
    return {
        "version": __version__,
        "uptime_s": round(now - parts.started, 3),
        "position": membership.position,
        "role": "decides" if membership.decides else "follows",
        "epoch": list(membership.epoch),
        "settled": membership.settled,
        **{state.value: states[state] for state in WorkerState},
        "claims": len(parts.claims.by_token),
        "pushes_parked": parts.pushes.parked,
        "unanswered_requests": parts.admission.requests,
        "unanswered_bytes": parts.admission.bytes,
        "connections": len(parts.connections),
        "unanswered_calls": len(parts.services.unanswered),
        "unanswered_call_bytes": parts.services.bytes,
        "remembered_ids": len(parts.repeats),
        "remembered_bytes": parts.repeats.bytes,
        "counters": parts.counters,
        "durations": {
            "sender": parts.sender_times.times.fields(),
            "queue": parts.pushes.queue_times.fields(),
            "worker_answer": parts.pushes.answer_times.fields(),
            "outcome": parts.pushes.outcome_times.fields(),
        },
    }


def _worker(parts: Parts, worker: Worker, slots: int, waiting: int, now: float) -> dict[str, Any]:
    return {
        "state": worker.state.value,
        "slots": slots,
        "heartbeat_age_s": round(now - worker.last_heard, 3),
        "pid": worker.pid,
        "version": worker.version,
        "batches_in_flight": len(worker.in_flight),
        "pushes_waiting": waiting,
        "claims": parts.claims.count_of(worker),
        "routers": worker.routers,
        "epoch": worker.figures.get("epoch", [0, 0]),
        "connections": _whole_numbers(worker.figures.get("connections")),
        "counters": _whole_numbers(worker.figures.get("counters")),
        "queues": _whole_numbers(worker.figures.get("queues")),
        "durations": {
            "delivery": checked_durations(worker.figures.get("delivery_times")),
            "acknowledgement": checked_durations(worker.figures.get("acknowledgement_times")),
        },
    }


def _service(service: Service, now: float) -> dict[str, Any]:
    return {
        "topics": [list(topic) for topic in sorted(service.topics)],
        "window": service.window,
        "outstanding": len(service.calls),
        "queued": service.queued,
        "leaving": service.leaving,
        "heartbeat_age_s": round(now - service.last_heard, 3),
        "statistics": service.statistics,
        "figures": service.figures,
    }


def _whole_numbers(said: object) -> dict[str, int]:
    """What of a worker's figures are numbers by name; it may say anything."""
    return {key: value for key, value in said.items() if type(value) is int} if isinstance(said, Mapping) else {}


def _sum(many: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in many:
        total.update(each)
    return dict(total)
