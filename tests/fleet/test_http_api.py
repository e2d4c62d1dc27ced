"""/v1 of a real fleet: every route, from the caller's side to the client's socket."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.http_api import Api, make_key
from tests.fleet.processes import wait_until

#: `make fuzz-api` gives it ten minutes.
SCHEMATHESIS_S = int(os.environ.get("SCHEMATHESIS_S", "20"))
CONFIGURATION = ("--config-file", str(Path(__file__).with_name("schemathesis.toml")))


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(status=True, services="all") as started:
        yield started


@pytest.fixture(scope="module")
def api(fleet: Fleet) -> Api:
    return Api(fleet)


def test_pushes_to_tokens(api: Api, fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("http-1", ids=True)
        told = api.push({"tokens": ["http-1", "nobody"], "payload": "héllo"})
        assert told.status == 200
        first, second = told.body["results"]
        assert (first["token"], first["outcome"], second["outcome"]) == ("http-1", "SENT", "OFFLINE")
        assert told.body["counts"] == {"matched": 2, "sent": 1, "offline": 1}
        arrived = client.read_push()
        assert arrived.body == "héllo".encode()
        assert api.push({"token": "http-1", "payload_base64": base64.b64encode(b"bytes").decode()}).status == 200
        assert client.read_push().body == b"bytes"


def test_push_ids_are_those_that_clients_see(api: Api, fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("http-2", ids=True)
        (told,) = api.push({"token": "http-2", "payload": "x"}).body["results"]
        assert client.read_push().push_id == told["id"]


def test_an_idempotency_key_counts_once(api: Api, fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("http-3")
        first = api.push({"token": "http-3", "payload": "once"}, Idempotency_Key="order/7")
        again = api.push({"token": "http-3", "payload": "once"}, Idempotency_Key="order/7")
        assert first.body == again.body
        assert (
            api.push({"token": "http-3", "payload": "other"}, Idempotency_Key="order/7").code
            == "idempotency_key_reused"
        )
        api.push({"token": "http-3", "payload": "last"})
        assert [client.read_push().body for _ in range(2)] == [b"once", b"last"]


def test_an_idempotency_key_counts_after_a_restart_of_the_api(fleet: Fleet, api: Api) -> None:
    first = api.push({"tokens": ["a", "b"], "payload": "x"}, Idempotency_Key="restart")
    api_process = fleet.processes["status"]
    api_process.send(15)
    assert api_process.wait() == 0
    fleet._start("status", "status")
    fleet.wait_ready()
    assert api.push({"tokens": ["a", "b"], "payload": "x"}, Idempotency_Key="restart").body == first.body


def test_what_is_stored_can_be_seen_and_purged(api: Api) -> None:
    for number in range(3):
        told = api.push({"token": "away/1", "payload": f"m{number}", "ttl": 60, "collapse": f"c{number % 2}"})
        assert told.body["results"][0]["outcome"] == "STORED"
    page = api("GET", "/v1/tokens/away%2F1/messages?limit=1").body
    assert [message["payload"] for message in page["messages"]] == ["m1"]
    page = api("GET", f"/v1/tokens/away%2F1/messages?after={page['next']}").body
    assert ([message["payload"] for message in page["messages"]], page["next"]) == (["m2"], None)
    assert api("DELETE", "/v1/tokens/away%2F1/messages").body == {"purged": 2}
    assert api("GET", "/v1/tokens/away%2F1/messages").body["messages"] == []


def test_bytes_that_are_no_text_are_shown_in_base64(api: Api) -> None:
    api.push({"token": "away-2", "payload_base64": "/w==", "ttl": 60})
    (message,) = api("GET", "/v1/tokens/away-2/messages").body["messages"]
    assert message["payload_base64"] == "/w=="
    assert "payload" not in message


def test_connections_are_found_and_kicked(api: Api, fleet: Fleet) -> None:
    assert api("GET", "/v1/connections/http-4").code == "not_connected"
    assert api("DELETE", "/v1/connections/http-4").code == "not_connected"
    with connect("v2", fleet.address) as client:
        client.subscribe("http-4")
        found = api("GET", "/v1/connections/http-4").body
        assert (found["online"], found["protocol"]) == (True, "v2")
        assert api("DELETE", "/v1/connections/http-4").body == {"kicked": True}
        assert client.read_disconnect()["reason"] == "kicked"
    wait_until(lambda: api("GET", "/v1/connections/http-4").status == 404, "gone")


def everybody(api: Api) -> dict[str, dict[str, Any]]:
    """All pages of GET /v1/connections, by token."""
    found, path = {}, "/v1/connections"
    while True:
        page = api("GET", path).body
        found |= {entry["token"]: entry for entry in page["connections"]}
        if page["next"] is None:
            return found
        path = f"/v1/connections?{urlencode({'after': page['next']})}"


def test_everybody_who_is_connected_is_listed(api: Api, fleet: Fleet) -> None:
    tokens = [f"list/{number}" for number in range(20)]
    with ExitStack() as stack:
        for token in tokens:
            stack.enter_context(connect("v2", fleet.address)).subscribe(token, uid="user-7")
        wait_until(lambda: everybody(api).keys() >= set(tokens), "all are listed")
        entry = everybody(api)[tokens[0]]
        assert (entry["online"], entry["uid"], entry["protocol"]) == (True, "user-7", "v2")
        assert entry["worker"] in ("here/0", "here/1")
    wait_until(lambda: not everybody(api).keys() & set(tokens), "they are gone")


def test_groups(api: Api, fleet: Fleet) -> None:
    path = "/v1/groups/te%2Fam"
    assert api("GET", f"{path}/members").code == "no_such_group"
    assert api.push({"group": "te/am", "payload": "x"}).code == "no_such_group"
    assert api("POST", f"{path}/members", {"tokens": ["a"]}).code == "no_such_group"
    assert api("DELETE", path).code == "no_such_group"
    assert [api("PUT", path).body for _ in range(2)] == [{"created": True}, {"created": False}]
    assert api("POST", f"{path}/members", {"tokens": ["a", "b", "http-5"], "uids": ["u"]}).body == {"joined": 4}
    page = api("GET", f"{path}/members?limit=2").body
    assert page == {"tokens": ["a", "b"], "next": "b"}
    assert api("GET", f"{path}/members?limit=2&after=b").body == {"tokens": ["http-5"], "next": None}
    with connect("v2", fleet.address) as client:
        client.subscribe("http-5")
        wait_until(lambda: api.push({"group": "te/am", "payload": "x"}).body["counts"]["sent"] == 1, "known as member")
        assert client.read_push().body == b"x"
        connections = api("GET", f"{path}/connections").body["connections"]
        assert [entry["token"] for entry in connections if entry["online"]] == ["http-5"]
    assert api("DELETE", f"{path}/members?tokens=a&tokens=zz&uids=u").body == {"left": 2}
    assert api("DELETE", path).body == {"members": 2}


def test_users(api: Api, fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("http-6", uid="user-6")
        (device,) = api("GET", "/v1/users/user-6/devices").body["devices"]
        assert device["token"] == "http-6"
        told = api.push({"user": "user-6", "payload": "x"})
        assert (told.body["results"][0]["outcome"], told.body["counts"]["sent"]) == ("SENT", 1)
        (connection,) = api("GET", "/v1/users/user-6/connections").body["connections"]
        assert (connection["token"], connection["online"]) == ("http-6", True)
    assert api("GET", "/v1/users/user-6/sessions").body == {"sessions": [], "blocked": False}
    assert api("PUT", "/v1/users/user-6/block").body == {"blocked": True}
    assert api("GET", "/v1/users/user-6/sessions").body["blocked"] is True
    assert api("DELETE", "/v1/users/user-6/block").body == {"blocked": False}
    assert api("DELETE", "/v1/users/user-6/sessions").body == {"ended": 0}


def test_everybody(api: Api, fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("http-7")
        told = api.push({"all": True, "payload": "to all"})
        assert told.body["counts"]["sent"] >= 1
        assert client.read_push().body == b"to all"


def test_figures(api: Api) -> None:
    assert sorted(api("GET", "/v1/fleet").body["workers"]) == ["here/0", "here/1"]


def test_the_specification_and_its_page(api: Api, fleet: Fleet) -> None:
    specification = api("GET", "/v1/openapi.json").body
    assert specification["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(specification).validate()
    page = api("GET", "/v1/swagger").body.decode()
    for address in ("swagger/js/swagger-ui-bundle.js", "swagger/css/swagger-ui.css"):
        assert address in page
        assert api("GET", f"/v1/{address}").status == 200
    assert "http://" not in page
    assert "https://" not in page


def bulk(api: Api, body: bytes, query: str = "") -> list[dict[str, object]]:
    told = api("POST", f"/v1/pushes/bulk{query}", body, Content_Type="application/x-ndjson")
    assert told.status == 200
    assert told.body.endswith(b"\n")
    return [json.loads(line) for line in told.body.splitlines()]


def test_a_bulk_push(api: Api, fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("http-8")
        lines = [
            b'{"token": "http-8", "payload": "1"}',
            b'{"token": "away-8", "payload": "x", "ttl": 60}',
            b"",
            b'{"token": "http-8"}',
            b"nonsense",
            b'{"token": "http-8", "payload": "\xff"}',
            b'{"token": "http-8", "payload": "2", "colour": "red"}',
            b'{"token": "nobody", "payload": "x", "timeout_ms": 100.0}',
            b'{"token": "http-8", "payload": "2"}',
        ]
        told = bulk(api, b"\n".join(lines))
        assert [line.get("outcome", "invalid") for line in told[:-1]] == [
            "SENT", "STORED", "invalid", "invalid", "invalid", "invalid", "invalid", "OFFLINE", "SENT",
        ]  # fmt: skip
        assert [line["line"] for line in told[:-1]] == [*range(1, 10)]
        assert told[-1] == {"done": True, "lines": 9, "counts": {"sent": 2, "stored": 1, "offline": 1, "invalid": 5}}
        assert [client.read_push().body for _ in range(2)] == [b"1", b"2"]
        told = bulk(api, b"\n".join(lines), "?report=failures")
        assert [line["line"] for line in told[:-1]] == [3, 4, 5, 6, 7, 8]


def test_a_bulk_push_answers_while_it_is_written(fleet: Fleet) -> None:
    with socket.create_connection((fleet.host, fleet.api_port), timeout=20) as stream:
        head = f"POST /v1/pushes/bulk HTTP/1.1\r\nHost: {fleet.host}\r\nContent-Type: application/x-ndjson\r\n"
        stream.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        answer = stream.makefile("rb")
        for number in range(1, 4):
            line = b'{"token": "nobody", "payload": "x"}\n'
            stream.sendall(b"%x\r\n%b\r\n" % (len(line), line))
            while (text := answer.readline()) and b'"line":%d' % number not in text:
                pass
            assert b"OFFLINE" in text
        stream.sendall(b"0\r\n\r\n")
        assert b'"done":true' in answer.read()


def test_a_bulk_push_that_breaks_off_says_so_and_costs_no_place(api: Api, fleet: Fleet) -> None:
    head = f"POST /v1/pushes/bulk HTTP/1.1\r\nHost: {fleet.host}\r\nContent-Type: application/x-ndjson\r\n"
    for _ in range(12):
        with socket.create_connection((fleet.host, fleet.api_port), timeout=20) as stream:
            stream.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + b'{"token": "nobody", "payload": "x"}\n')
            stream.shutdown(socket.SHUT_WR)
            said = stream.makefile("rb").read()
            assert b'"outcome":"OFFLINE"' in said
            assert b'"done":false' in said
    long = bulk(api, b'{"token": "nobody", "payload": "x"}\n' + b"x" * (3 << 20))
    assert long[-1]["done"] is False
    assert bulk(api, b"")[-1] == {"done": True, "lines": 0, "counts": {}}


def test_a_worker_is_drained_once(api: Api, fleet: Fleet) -> None:
    for name in ("there%2F1", "nonsense", "77", "here%2F77"):
        assert api("POST", f"/v1/workers/{name}/drain").code == "no_such_worker"
    with connect("v2", fleet.address) as client:
        client.subscribe("http-9")
        told = api("POST", "/v1/workers/here%2F1/drain")
        assert (told.status, told.body) == (202, {"worker": "here/1", "state": "leaving"})
        assert api("POST", "/v1/workers/1/drain").code in ("already_leaving", "no_such_worker")
        assert fleet.processes["gateway-1"].wait() == 0
        assert api.push({"token": "http-9", "payload": "still here"}).body["results"][0]["outcome"] == "SENT"
        assert client.read_push().body == b"still here"
    fleet.start_worker(1)
    fleet.wait_ready(2)


@pytest.mark.timeout(SCHEMATHESIS_S + 160)
def test_schemathesis_finds_nothing(fleet: Fleet) -> None:
    """With keys, so that it tries without them too. Not the drain, which would take the fleet apart."""
    key = make_key(fleet, "schemathesis", "push", "read", "admin")
    wait_until(lambda: Api(fleet)("GET", "/v1/fleet").status == 401, "keys are read")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        *CONFIGURATION,
        "run",
        f"http://{fleet.host}:{fleet.api_port}/v1/openapi.json",
    ]
    options = ["--max-time", str(SCHEMATHESIS_S), "--header", f"Authorization: Bearer {key}"]
    environ = {**fleet.environ, "SCHEMATHESIS_HOOKS": "tests.fleet.schemathesis_hooks"}
    done = subprocess.run(
        [*command, *options],
        env=environ,
        cwd=fleet.directory,
        capture_output=True,
        text=True,
        timeout=SCHEMATHESIS_S + 130,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Tested: " in done.stdout
