"""One push followed from HTTP to its client: by its request id through all logs, by its trace at a collector."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.sender import Sender
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.http_api import Api
from tests.fleet.otlp_receiver import Receiver
from tests.fleet.processes import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture(scope="module")
def fleet(receiver: Receiver) -> Iterator[Fleet]:
    made = Fleet(
        status=True,
        services="",
        log_level="DEBUG",
        log_format="json",
        otel_endpoint=receiver.endpoint,
        slow_consumer_s=1,
    )
    made.environ |= {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    with made as started:
        yield started


def lines(fleet: Fleet, process: str) -> list[dict[str, Any]]:
    """All log lines of a process; each is JSON."""
    return [json.loads(line) for line in fleet.processes[process].log.splitlines()]


def about(fleet: Fleet, request_id: str) -> dict[str, list[dict[str, Any]]]:
    """Those about one push, by logger."""
    found: dict[str, list[dict[str, Any]]] = {}
    for process in ("router-0", "gateway-0", "gateway-1"):
        for line in lines(fleet, process):
            if line.get("request_id") == request_id:
                found.setdefault(line["logger"], []).append(line)
    return found


def test_a_request_id_stands_in_every_log_line_about_a_push(fleet: Fleet) -> None:
    api = Api(fleet)
    with connect("v2", fleet.address) as client:
        client.subscribe("traced-1")
        told = api.push({"tokens": ["traced-1", "nobody"], "payload": "secret"}, X_Request_Id="web/7")
        assert told.headers["X-Request-Id"] == "web/7"
    wait_until(lambda: sorted(map(len, about(fleet, "web/7").values())) == [1, 2], "the lines about it")
    found = about(fleet, "web/7")
    assert {(line["token"], line["outcome"]) for line in found["gateway.pushes"]} == {
        ("traced-1", "SENT"),
        ("nobody", "OFFLINE"),
    }
    assert {line["id"] for line in found["gateway.pushes"]} == {each["id"] for each in told.body["results"]}
    [line] = found["router.pushes"]
    assert (line["to"], line["SENT"], line["OFFLINE"], line["sender"]) == ("token", 1, 1, "api-here")
    assert "secret" not in fleet.logs()


def test_what_is_out_of_the_ordinary_is_told_above_debug(fleet: Fleet) -> None:
    with Sender(fleet.endpoint, name="news") as sender:
        assert sender.push(b"bad\ntoken", "x", request_id="web/8").name == "REFUSED"
    wait_until(lambda: {"router.pushes", "gateway.pushes"} <= about(fleet, "web/8").keys(), "the lines about it")
    found = about(fleet, "web/8")
    assert {line["level"] for logged in found.values() for line in logged} == {"INFO"}
    assert found["gateway.pushes"][0]["token"] == "bad\ntoken"


def test_a_problem_names_its_request(fleet: Fleet) -> None:
    told = Api(fleet).push({"payload": "x"}, X_Request_Id="web/9")
    assert (told.code, told.body["request_id"], told.headers["X-Request-Id"]) == ("invalid", "web/9", "web/9")
    made = Api(fleet).push({"payload": "x"}, X_Request_Id="not an id")
    assert len(made.body["request_id"]) == 16


def test_opens_and_closes_have_a_line_each(fleet: Fleet) -> None:
    with connect("ws_snake", fleet.address) as client:
        client.subscribe("traced-2")

    def told() -> list[dict[str, Any]]:
        found = [line for process in ("gateway-0", "gateway-1") for line in lines(fleet, process)]
        return [line for line in found if line.get("token") == "traced-2" and line["logger"] == "gateway.connections"]

    wait_until(lambda: len(told()) == 2, "both lines")
    opened, closed = sorted(told(), key=lambda line: line["time"])
    assert (opened["message"], opened["protocol"], opened["level"]) == ("opened", "ws_text", "INFO")
    assert (closed["message"], closed["level"]) == ("closed", "INFO")
    assert closed["reason"] in ("peer_closed", "io_error")
    assert (closed["address"], closed["seconds"] >= 0) == (opened["address"], True)


def test_a_push_over_http_is_one_tree_of_spans(fleet: Fleet, receiver: Receiver) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("traced-3")
        Api(fleet).push(
            {"token": "traced-3", "payload": "x"}, X_Request_Id="web/10", traceparent=f"00-{TRACE}-{PARENT}-01"
        )
    names = {"POST /v1/pushes", "push", "route", "deliver"}
    wait_until(lambda: receiver.of(TRACE).keys() == names, "all spans")
    found = receiver.of(TRACE)
    http, push, route, deliver = (found[name] for name in ("POST /v1/pushes", "push", "route", "deliver"))
    assert [each.parent for each in (http, push, route, deliver)] == [PARENT, http.id, push.id, route.id]
    assert [each.service for each in (http, push, route, deliver)] == [
        f"push-gateway-{name}" for name in ("api", "api", "router", "worker")
    ]
    assert deliver.instance in ("here/0", "here/1")
    assert http.attributes["http.response.status_code"] == 200
    assert {each.attributes.get("push.request_id") for each in (http, push, route)} == {"web/10"}
    assert (push.attributes["push.outcomes.sent"], route.attributes["push.outcomes.sent"]) == (1, 1)
    for inner, outer in ((push, http), (route, push), (deliver, route)):
        assert outer.began - 5_000_000 <= inner.began <= inner.ended <= outer.ended + 5_000_000
    assert receiver.paths == {"/v1/traces"}


def test_what_nobody_keeps_makes_no_spans(fleet: Fleet, receiver: Receiver) -> None:
    trace = TRACE.replace("0af", "0bf")
    Api(fleet).push({"token": "nobody", "payload": "x"}, traceparent=f"00-{trace}-{PARENT}-00")
    last = TRACE.replace("0af", "0cf")
    Api(fleet).push({"token": "nobody", "payload": "x"}, traceparent=f"00-{last}-{PARENT}-01")
    wait_until(lambda: len(receiver.of(last)) == 4, "all spans")
    assert receiver.of(trace) == {}


def test_a_client_that_a_push_finds_full_is_closed_with_its_request_id(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client, Sender(fleet.endpoint) as sender:
        client.subscribe("traced-4")
        payload = b"x" * 500_000
        wait_until(lambda: sender.push("traced-4", payload, request_id="web/11").name == "OVERLOADED", "a full buffer")

        def closed() -> list[str]:
            found = [line for process in ("gateway-0", "gateway-1") for line in lines(fleet, process)]
            return [line["detail"] for line in found if line.get("reason") == "slow_consumer"]

        wait_until(closed, "its end")
        assert closed() == ["request_id=web/11"]
