"""The ways of pushes as spans of traces: one of the router, and below it one for each batch in a worker.

Workers say when a batch was delivered; the router tells it in their name, so they need no thread for that. Pure.
"""

from router.journeys import Arrival, Hop
from shared.spans import Attributes, Spans


def tell(spans: Spans, arrival: Arrival, now_ns: int) -> None:
    """A request with a trace has been answered. `now_ns`: Unix time in nanoseconds, the same as `arrival.now`."""
    journey = arrival.journey
    if not journey.origin.sampled:
        return
    began_ns = now_ns - int((arrival.now - journey.since) * 1e9)
    parent = spans.record("route", journey.origin.traceparent, "server", _attributes(arrival), began_ns, now_ns)
    for hop in journey.hops:
        told: Attributes = {"push.count": hop.pushes, "push.bus_ms": _bus_ms(hop)}
        spans.record("deliver", parent, "consumer", told, hop.began_us * 1000, hop.ended_us * 1000, hop.worker)


def _attributes(arrival: Arrival) -> Attributes:
    journey = arrival.journey
    found: dict[str, str | int | float | bool] = {"push.to": journey.kind, "push.sender": journey.sender}
    if journey.origin.request_id:
        found["push.request_id"] = journey.origin.request_id
    if arrival.fault:
        found["push.fault"] = arrival.fault
    if arrival.repeat:
        found["push.repeat"] = arrival.repeat
    return found | {f"push.outcomes.{name.lower()}": count for name, count in arrival.counts().items()}


def _bus_ms(hop: Hop) -> float:
    """From the batch's leave to its answer, without what the worker took for it."""
    return round(max(0.0, (hop.answered_at - hop.sent_at) * 1000 - (hop.ended_us - hop.began_us) / 1000), 3)
