"""GET /metrics of a real fleet."""

import http.client
import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.clients.kinds import connect
from tests.docs.documents import ROOT
from tests.fleet.fleet_process import Fleet
from tests.fleet.http_api import Api
from tests.fleet.processes import wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(status=True, workers=2, routers=2, services="message-cache") as started:
        yield started


def scrape(fleet: Fleet) -> Samples:
    told = Api(fleet)("GET", "/metrics")
    assert told.status == 200
    assert told.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = text_string_to_metric_families(told.body.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in found for one in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of all samples with these labels, the sum. KeyError: there is none."""
    found = [number for (called, said), number in samples.items() if called == name and labels.items() <= set(said)]
    if not found:
        raise KeyError(name)
    return sum(found)


def push(fleet: Fleet, token: str, times: int) -> None:
    for _ in range(times):
        assert Api(fleet).push({"token": token, "payload": "x"}).body["results"][0]["outcome"] == "SENT"


def test_zeros_are_there_before_anything_happens(fleet: Fleet) -> None:
    samples = scrape(fleet)
    for worker in ("here/0", "here/1"):
        assert value(samples, "push_gateway_connections_closed_total", worker=worker, reason="slow_consumer") == 0
        assert value(samples, "push_gateway_worker_pushes_total", worker=worker, outcome="overloaded") == 0
    for router in ("0", "1"):
        assert value(samples, "push_gateway_router_up", router=router) == 1
        assert value(samples, "push_gateway_pushes_total", router=router, outcome="sent") == 0
    assert value(samples, "push_gateway_api_turned_away_total", bound="requests") == 0
    assert value(samples, "push_gateway_worker_ring_share_ratio") == pytest.approx(1)


def test_pushes_are_counted_once_and_timed(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("counted")
        before = scrape(fleet)
        push(fleet, "counted", 7)

        def grown(name: str, **labels: str) -> float:
            return value(scrape(fleet), name, **labels) - value(before, name, **labels)

        wait_until(lambda: grown("push_gateway_worker_pushes_total", outcome="sent") == 7, "workers have told")
        assert grown("push_gateway_pushes_total", outcome="sent") == 7
        assert grown("push_gateway_push_outcome_seconds_count") == 7
        assert grown("push_gateway_push_queue_seconds_count") == 7
        assert grown("push_gateway_sender_to_router_seconds_count") == 7  # requests of one push each
        assert 0 < grown("push_gateway_sender_to_router_seconds_sum") < 60
        assert grown("push_gateway_router_sender_clock_off_total") == 0
        assert grown("push_gateway_api_push_seconds_count") == 7
        assert grown("push_gateway_api_push_seconds_sum") > 0
        assert grown("push_gateway_worker_answer_seconds_count") == 7
        wait_until(lambda: grown("push_gateway_worker_delivery_seconds_count") == 7, "deliveries have been told")
        assert grown("push_gateway_api_requests_total", status="200") >= 7
        wait_until(lambda: value(scrape(fleet), "push_gateway_connections", protocol="v2") == 1, "it is counted")


def test_what_the_message_cache_does_is_counted(fleet: Fleet) -> None:
    cache = "push_gateway_message_cache_"
    wait_until(lambda: any(name == f"{cache}stored_total" for name, _ in scrape(fleet)), "the cache has told")
    assert value(scrape(fleet), f"{cache}stored_total") == 0
    for collapse in ("score", "score", None):
        said = {"token": "away", "payload": "x", "ttl": 60} | ({"collapse": collapse} if collapse else {})
        assert Api(fleet).push(said).body["results"][0]["outcome"] == "STORED"
    wait_until(lambda: value(scrape(fleet), f"{cache}stored_total") == 3, "it is told")
    assert value(scrape(fleet), f"{cache}collapsed_total") == 1
    assert value(scrape(fleet), "push_gateway_service_calls_total") > 0
    wait_until(lambda: value(scrape(fleet), f"{cache}messages") == 2, "it has been counted")
    with connect("v2", fleet.address) as client:
        client.subscribe("away", ack=True)
        for _ in range(2):
            client.acknowledge(client.read_push().message_id)
        wait_until(lambda: value(scrape(fleet), f"{cache}acknowledged_total") == 2, "it is told")
        times = "push_gateway_push_acknowledgement_seconds_count"
        wait_until(lambda: value(scrape(fleet), times) == 2, "the worker has told")
        assert value(scrape(fleet), f"{cache}replayed_total") >= 2
        assert value(scrape(fleet), "push_gateway_worker_held_pushes") == 0


def test_workers_counters_never_fall_when_they_are_killed(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("kept")
        push(fleet, "kept", 3)
        wait_until(lambda: value(scrape(fleet), "push_gateway_worker_accepted_total") > 0, "they have told")
        before = scrape(fleet)
        fleet.kill_worker(0)
        fleet.kill_worker(1)
        fallen = set()

        def all_back() -> bool:
            samples = scrape(fleet)
            for key, count in before.items():
                if key[0].startswith(("push_gateway_worker_", "push_gateway_conn")) and key[0].endswith("_total"):
                    fallen.update({key} if samples.get(key, count) < count else ())
            return value(samples, "push_gateway_worker_taken_again_total") > 0

        wait_until(all_back, "workers have taken the client again", 20)
        assert not fallen


def test_a_silent_router_is_down_and_costs_no_error(fleet: Fleet) -> None:
    fleet.kill_router(1)
    wait_until(lambda: value(scrape(fleet), "push_gateway_router_up", router="1") == 0, "it is told", 20)
    samples = scrape(fleet)
    assert value(samples, "push_gateway_router_up", router="0") == 1
    with pytest.raises(KeyError):
        value(samples, "push_gateway_router_requests_total", router="1")
    fleet.start_router(1)
    wait_until(lambda: value(scrape(fleet), "push_gateway_router_up", router="1") == 1, "it is back", 20)


def test_only_reading(fleet: Fleet) -> None:
    assert Api(fleet)("POST", "/metrics").status == 405
    assert Api(fleet)("GET", "/metrics/more").status == 404
    connection = http.client.HTTPConnection(fleet.host, fleet.api_port, timeout=10)
    connection.request("HEAD", "/metrics")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.close()


def test_grafanas_dashboard_names_what_there_is(fleet: Fleet) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/push-gateway.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 15
    there = {name for name, _ in scrape(fleet)}
    for expression in expressions:
        named = re.findall(r"push_gateway_\w+", expression)
        assert named, expression
        assert set(named) <= there, expression
