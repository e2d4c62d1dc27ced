"""From the figures of STAT1 to families of metrics (docs/metrics.md). Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from services.metrics import counters
from shared.durations import BOUNDS_S

Figures = Mapping[str, Any]
#: By a router's place among those of this host; None: it is silent.
Answers = Mapping[int, Figures | None]

PREFIX = "push_gateway_"
_STATES = ("live", "leaving", "restarting", "lost")
_PROTOCOLS = ("v0", "v1", "v2", "ws_text", "ws_binary", "unbound")

#: Field of STAT1's `workers`: (metric, help).
_WORKER_GAUGES = {
    "slots": ("worker_slots", "Slots of the ring that the worker owns."),
    "heartbeat_age_s": ("worker_heartbeat_age_seconds", "Since the router has heard of the worker."),
    "batches_in_flight": ("worker_batches_in_flight", "Batches that the worker has not answered."),
    "pushes_waiting": ("worker_pushes_waiting", "Pushes that wait in the router for the worker."),
    "claims": ("worker_claims", "Clients that are with the worker, and not with their owner."),
}
#: Field of these `queues`.
_WORKER_QUEUES = {
    "held": ("worker_held_pushes", "Pushes that wait in the worker for clients on their way, or behind a replay."),
    "cache": ("worker_cache_operations", "Operations of the worker that no message cache has answered."),
}
#: Field of STAT1's `router`.
_ROUTER_GAUGES = {
    "uptime_s": ("router_uptime_seconds", "Since the router has started."),
    "settled": ("router_settled", "1 when there has been a ring."),
    "claims": ("router_claims", "Tokens whose clients are not with their owners."),
    "pushes_parked": ("router_pushes_waiting_parked", "Pushes that wait until slots have changed hands."),
    "unanswered_requests": ("router_unanswered_requests", "Requests of senders that are owed an answer."),
    "unanswered_bytes": ("router_unanswered_bytes", "Bytes of these."),
    "unanswered_calls": ("router_unanswered_calls", "Calls to services that are not answered."),
    "unanswered_call_bytes": ("router_unanswered_call_bytes", "Bytes of these."),
    "connections": ("router_senders", "Connections of senders that are remembered."),
    "remembered_ids": ("router_remembered_requests", "Requests that are remembered by their id."),
    "remembered_bytes": ("router_remembered_bytes", "Bytes of these."),
}
#: Field of STAT1's `services`.
_SERVICE_GAUGES = {
    "window": ("service_window_calls", "Calls that the instance takes at a time."),
    "outstanding": ("service_outstanding_calls", "Calls that the instance has not answered."),
    "queued": ("service_queued_calls", "Calls that wait for the instance."),
    "leaving": ("service_leaving", "1 when the instance is about to end."),
    "heartbeat_age_s": ("service_heartbeat_age_seconds", "Since the router has heard of the instance."),
}
_ROUTER_DURATIONS = {
    "sender": (
        "sender_to_router_seconds",
        "From a request's leave of its sender, by whose clock, to the router that takes it in; of those that say it.",
    ),
    "queue": ("push_queue_seconds", "From a request to the leave of each of its pushes for a worker."),
    "worker_answer": ("worker_answer_seconds", "From a batch's leave for a worker to its answer, for each push."),
    "outcome": ("push_outcome_seconds", "From a request to the outcome of each of its pushes, in the router."),
}
_WORKER_DURATIONS = {
    "delivery": ("worker_delivery_seconds", "A batch's way through a worker, for each push."),
    "acknowledgement": (
        "push_acknowledgement_seconds",
        "From the write of a push to its PUB_ACK, of those that are stored or whose sender waits for it.",
    ),
}


def families(answers: Answers) -> Iterator[Metric]:
    """Every family, also those of which there is no sample. Workers and services are as the first router says."""
    routers = {str(place): figures["router"] for place, figures in answers.items() if figures}
    first: Figures = next(filter(None, answers.values()), {})
    workers, services = first.get("workers", {}), first.get("services", {})
    yield _gauge(
        "router_up", "1 when the router answers.", ["router"], [([str(p)], bool(f)) for p, f in answers.items()]
    )
    yield from _fields(_ROUTER_GAUGES, "router", routers)
    yield from _epochs("router", routers)
    yield _members(routers)
    yield from _counters("router", counters.ROUTER, counters.ROUTER_FAMILIES, routers)
    for field, (name, text) in _ROUTER_DURATIONS.items():
        yield _histogram(name, text, "router", routers, field)
    yield from _fields(_WORKER_GAUGES, "worker", workers)
    yield from _fields(_WORKER_QUEUES, "worker", {who: said.get("queues", {}) for who, said in workers.items()})
    yield from _of_workers(workers, int(first.get("totals", {}).get("slots", 0)))
    yield from _counters("worker", counters.WORKER, counters.WORKER_FAMILIES, workers)
    for field, (name, text) in _WORKER_DURATIONS.items():
        yield _histogram(name, text, "worker", workers, field)
    yield from _fields(_SERVICE_GAUGES, "service", services)
    yield from _of_services(services)


def _fields(table: Mapping[str, tuple[str, str]], label: str, things: Figures) -> Iterator[Metric]:
    for field, (name, text) in table.items():
        yield _gauge(name, text, [label], [([who], said[field]) for who, said in things.items() if field in said])


def _epochs(label: str, things: Figures) -> Iterator[Metric]:
    """An epoch is a pair of a start and a number."""
    epochs = [([who], said["epoch"]) for who, said in things.items()]
    whose = "which the router follows" if label == "router" else "which the worker follows"
    name, text = f"{label}_ring_epoch", f"Number of the ring's epoch {whose}."
    yield _gauge(name, text, [label], [(who, epoch[1]) for who, epoch in epochs])
    name = f"{label}_ring_epoch_start_timestamp_seconds"
    yield _gauge(
        name, "Start of the router that counts the epochs.", [label], [(who, e[0] / 1000) for who, e in epochs]
    )


def _members(routers: Figures) -> Metric:
    samples = [([who, state], said[state]) for who, said in routers.items() for state in _STATES]
    return _gauge("router_workers", "Workers by state, as the router sees them.", ["router", "state"], samples)


def _of_workers(workers: Figures, slots: int) -> Iterator[Metric]:
    shares = [([who], said["slots"] / slots if slots else 0) for who, said in workers.items()]
    yield _gauge("worker_ring_share_ratio", "Part of the ring that the worker owns.", ["worker"], shares)
    yield from _epochs("worker", workers)
    states = [([who, state], said["state"] == state) for who, said in workers.items() for state in _STATES]
    yield _gauge("worker_state", "1 for the state that the worker is in.", ["worker", "state"], states)
    samples = [
        ([who, protocol], said["connections"].get(protocol, 0))
        for who, said in workers.items()
        for protocol in _PROTOCOLS
    ]
    yield _gauge("connections", "Connections of clients, by protocol.", ["worker", "protocol"], samples)


def _of_services(services: Figures) -> Iterator[Metric]:
    yield from _counters("service", counters.SERVICE, {}, _called(services, "statistics"))
    caches = {who: said for who, said in services.items() if who.rpartition("/")[0] == "message-cache"}
    figures = _called(caches, "figures")
    yield from _counters("message_cache", counters.MESSAGE_CACHE, {}, figures, "service")
    gauges = {field: (f"message_cache_{name}", text) for field, (name, text) in counters.MESSAGE_CACHE_GAUGES.items()}
    yield from _fields(gauges, "service", {who: said["counters"] for who, said in figures.items()})
    delivering = _called({who: said for who, said in services.items() if who.startswith("events/")}, "figures")
    yield from _counters("events", counters.EVENTS, {}, delivering, "service")
    gauges = {field: (f"events_{name}", text) for field, (name, text) in counters.EVENTS_GAUGES.items()}
    yield from _fields(gauges, "service", {who: said["counters"] for who, said in delivering.items()})


def _called(services: Figures, field: str) -> dict[str, Figures]:
    """Their counters, where one looks for those of workers."""
    return {who: {"counters": said.get(field, {})} for who, said in services.items()}


def _counters(
    kind: str,
    plain: Mapping[str, str],
    labelled: Mapping[str, tuple[str, str, list[str], str]],
    things: Figures,
    label: str = "",
) -> Iterator[Metric]:
    label = label or kind
    # Who has not said anything yet has no samples: a zero would look as if it had begun anew.
    said = {who: thing["counters"] for who, thing in things.items() if thing["counters"]}
    for name, text in plain.items():
        yield _counter(f"{kind}_{name}", text, [label], [([who], counts.get(name, 0)) for who, counts in said.items()])
    for prefix, (name, key, values, text) in labelled.items():
        samples = [([who, value], counts.get(prefix + value, 0)) for who, counts in said.items() for value in values]
        yield _counter(name, text, [label, key], samples)


def _histogram(name: str, text: str, label: str, things: Figures, field: str) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text, labels=[label])
    for who, said in things.items():
        durations = said.get("durations", {}).get(field)
        if durations:
            family.add_metric([who], buckets(durations), durations["total_s"])
    return family


def buckets(durations: Figures) -> list[tuple[str, int]]:
    """Of `durations` as STAT1 has them: each bound with how many took so long at most."""
    return list(zip([*map(str, BOUNDS_S), "+Inf"], accumulate(durations["counts"]), strict=True))


_Samples = Sequence[tuple[Sequence[str], float]]


def _gauge(name: str, text: str, labels: list[str], samples: _Samples) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: list[str], samples: _Samples) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
