"""services/metrics: families out of STAT1, read back by Prometheus' own parser."""

from dataclasses import asdict
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.counters import new_counters as worker_counters
from router.counters import FAIL_CODES
from router.counters import new_counters as router_counters
from services.library.statistics import Statistics
from services.message_cache.counters import Counters as CacheCounters
from services.metrics import counters
from services.metrics.families import Answers, families
from shared.durations import Durations

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def worker(**said: Any) -> dict[str, Any]:
    fields = {
        "state": "live", "slots": 1024, "heartbeat_age_s": 0.25, "batches_in_flight": 1, "pushes_waiting": 2,
        "claims": 3, "epoch": [1_700_000_000_000, 5], "connections": {"v0": 7, "unbound": 1},
        "counters": worker_counters(), "durations": {"delivery": Durations().fields()},
        "queues": {"held": 4, "cache": 0},
    }  # fmt: skip
    return fields | said


def stat(**workers: dict[str, Any]) -> dict[str, Any]:
    """As router/statistics.py answers."""
    durations = Durations()
    durations.add(0.003, 10)
    durations.add(60, 2)
    router = {
        "version": "0", "uptime_s": 9.5, "position": 0, "role": "decides", "epoch": [1_700_000_000_000, 5],
        "settled": True, "live": 1, "leaving": 0, "restarting": 0, "lost": 0, "claims": 0, "pushes_parked": 0,
        "unanswered_requests": 0, "unanswered_bytes": 0, "connections": 1, "unanswered_calls": 0,
        "unanswered_call_bytes": 0, "remembered_ids": 0, "remembered_bytes": 0, "counters": router_counters(),
        "durations": {
            name: times.fields()
            for name, times in (
                ("sender", Durations()), ("queue", Durations()), ("worker_answer", Durations()), ("outcome", durations),
            )
        },
    }  # fmt: skip
    service = {
        "window": 64, "outstanding": 1, "queued": 0, "leaving": False, "heartbeat_age_s": 0.1,
        "statistics": asdict(Statistics(calls=8)), "figures": {},
    }  # fmt: skip
    cache = service | {"figures": CacheCounters() | {"stored": 5, "bytes": 640}}
    services = {"group/1": service, "message-cache/2": cache}
    return {"router": router, "workers": workers, "services": services, "totals": {"slots": 4096}}


def read(answers: Answers) -> tuple[Samples, dict[str, tuple[str, str]]]:
    """Samples by name and labels; (type, help) by family."""

    class Fixed(Collector):
        def collect(self) -> Any:
            return families(answers)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fixed())
    found = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert len({family.name for family in found}) == len(found)
    samples = {(one.name, tuple(sorted(one.labels.items()))): one.value for family in found for one in family.samples}
    return samples, {family.name: (family.type, family.documentation) for family in found}


def test_names_are_those_of_the_counters() -> None:
    for plain, labelled, new in (
        (counters.WORKER, counters.WORKER_FAMILIES, worker_counters()),
        (counters.ROUTER, counters.ROUTER_FAMILIES, router_counters()),
    ):
        in_families = {prefix + value for prefix, (_, _, values, _) in labelled.items() for value in values}
        assert {*plain} | in_families == {*new}
    assert counters.FAIL_CODES == FAIL_CODES
    assert {*counters.SERVICE} == {*asdict(Statistics())}
    assert {*counters.MESSAGE_CACHE, *counters.MESSAGE_CACHE_GAUGES} == {*CacheCounters()}


def test_zeros_show_from_the_start() -> None:
    samples, _ = read({0: stat(**{"here/0": worker()})})
    who = ("worker", "here/0")
    assert samples["push_gateway_worker_accepted_total", (who,)] == 0
    assert samples["push_gateway_connections_closed_total", (("reason", "slow_consumer"), who)] == 0
    assert samples["push_gateway_worker_pushes_total", (("outcome", "expired"), who)] == 0
    assert samples["push_gateway_router_failures_total", (("code", "overloaded"), ("router", "0"))] == 0
    assert samples["push_gateway_connections", (("protocol", "ws_text"), who)] == 0
    assert samples["push_gateway_worker_delivery_seconds_count", (who,)] == 0


def test_values_and_units() -> None:
    samples, _ = read({0: stat(**{"here/0": worker(counters=worker_counters() | {"close_kicked": 4})})})
    who, router = ("worker", "here/0"), ("router", "0")
    assert samples["push_gateway_connections_closed_total", (("reason", "kicked"), who)] == 4
    assert samples["push_gateway_worker_ring_share_ratio", (who,)] == 0.25
    assert samples["push_gateway_worker_held_pushes", (who,)] == 4
    assert samples["push_gateway_worker_ring_epoch_start_timestamp_seconds", (who,)] == 1_700_000_000
    assert samples["push_gateway_worker_state", (("state", "live"), who)] == 1
    assert samples["push_gateway_worker_state", (("state", "lost"), who)] == 0
    assert samples["push_gateway_push_outcome_seconds_bucket", (("le", "0.0025"), router)] == 0
    assert samples["push_gateway_push_outcome_seconds_bucket", (("le", "0.005"), router)] == 10
    assert samples["push_gateway_push_outcome_seconds_bucket", (("le", "+Inf"), router)] == 12
    assert samples["push_gateway_push_queue_seconds_count", (router,)] == 0
    assert samples["push_gateway_push_outcome_seconds_sum", (router,)] == pytest.approx(120.03)


def test_what_services_count_of_themselves() -> None:
    samples, known = read({0: stat()})
    cache = (("service", "message-cache/2"),)
    assert samples["push_gateway_service_calls_total", (("service", "group/1"),)] == 8
    assert samples["push_gateway_message_cache_stored_total", cache] == 5
    assert samples["push_gateway_message_cache_replayed_total", cache] == 0
    assert samples["push_gateway_message_cache_bytes", cache] == 640
    assert known["push_gateway_message_cache_bytes"][0] == "gauge"
    assert not [name for name, who in samples if "message_cache" in name and who != cache]


def test_a_silent_router_is_down_and_has_no_zeros() -> None:
    samples, known = read({0: None, 1: stat()})
    assert samples["push_gateway_router_up", (("router", "0"),)] == 0
    assert samples["push_gateway_router_up", (("router", "1"),)] == 1
    assert ("push_gateway_router_requests_total", (("router", "0"),)) not in samples
    assert ("push_gateway_router_requests_total", (("router", "1"),)) in samples
    assert "push_gateway_connections_closed" in known


def test_a_worker_that_has_not_said_anything_has_no_counters() -> None:
    samples, _ = read({0: stat(**{"here/0": worker(counters={}, connections={})})})
    assert not [name for name, labels in samples if name.endswith("accepted_total")]


def test_every_family_says_what_it_is_and_its_unit() -> None:
    _, known = read({0: None})
    for name, (kind, text) in known.items():
        assert len(text) > 10, name
        assert not name.endswith(("_s", "_ms", "_total")), name
        if kind == "histogram":
            assert name.endswith("_seconds")
