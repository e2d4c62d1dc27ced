"""/v1 and what it should not be sent, and too much of it."""

import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest

from services.api.problems import CODES
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.http_api import Api, make_key
from tests.fleet.processes import wait_until


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(status=True, workers=1, services="group") as started:
        yield started


@pytest.fixture(scope="module")
def api(fleet: Fleet) -> Api:
    return Api(fleet)


GOOD: dict[str, Any] = {"token": "a", "payload": "x"}


@pytest.mark.parametrize(
    "more",
    [
        {"token": 5},
        {"token": None},
        {"token": ""},
        {"token": "a\u0000b"},
        {"token": "a" * 256},
        {"token": "ä" * 128},
        {"tokens": ["a"]},
        {"tokens": []},
        {"user": "u"},
        {"all": True},
        {"payload": 5},
        {"payload": ["x"]},
        {"payload_base64": "eA=="},
        {"ttl": "5"},
        {"ttl": -1},
        {"ttl": 1.5},
        {"ttl": True},
        {"ttl": 10**30},
        {"wait": "forever"},
        {"collapse": ""},
        {"signal": "SUB"},
        {"sub_signal": "NOPE"},
        {"sub_signal": 128},
        {"timeout_ms": 0},
        {"timeout_ms": 60_001},
        {"colour": "red"},
        {"id": "mine"},
    ],
)
def test_wrong_fields(api: Api, more: dict[str, Any]) -> None:
    told = api.push({**GOOD, **more})
    assert told.status == 422
    assert told.code == "invalid"


@pytest.mark.parametrize(
    "body",
    [
        {"payload": "x"},
        {"token": "a"},
        {"tokens": [], "payload": "x"},
        {"tokens": ["a"] * 1001, "payload": "x"},
        {"token": "a", "payload_base64": "?"},
        {"all": False, "payload": "x"},
        {"all": 1, "payload": "x"},
        [],
        "{}",
        5,
    ],
)
def test_wrong_bodies(api: Api, body: Any) -> None:
    assert api.push(body).code == "invalid"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"token": "a", "payload": "\xff"}',
        b'{"token": "a", "payload": "\\ud800"}',
        b'{"token": "a", "payload": "x", "ttl": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_what_is_not_json(api: Api, body: bytes) -> None:
    assert api.push(body).code == "not_json"


def test_other_content_types(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json2", ""):
        assert api.push(GOOD, Content_Type=kind).code == "unsupported_media_type"
    assert api.push(GOOD, Content_Type="application/json; charset=utf-8").status == 200
    assert api("POST", "/v1/pushes/bulk", b"{}\n", Content_Type="application/json").code == "unsupported_media_type"
    assert api.push(GOOD, Content_Type="application/json; charset=latin-1").code == "unsupported_media_type"
    assert api.push(GOOD, Content_Type="application/json; charset=UTF-8").status == 200
    assert api.push(GOOD, Content_Encoding="gzip").code == "unsupported_media_type"
    told = api("POST", "/v1/pushes/bulk", b"{}\n", Content_Type="application/x-ndjson", Idempotency_Key="again")
    assert told.code == "invalid"
    assert told.body["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/nothing", "no_such_path"),
        ("/v1/groups/", "no_such_path"),
        ("/v1/connections//x", "no_such_path"),
        ("/v1/connections/%00", "invalid"),
        ("/v1/connections/%1F", "invalid"),
        ("/v1/connections/%ff", "bad_request"),
        ("/v1/groups/g/members?limit=0", "invalid"),
        ("/v1/groups/g/members?limit=x", "invalid"),
        ("/v1/groups/g/members?colour=red", "invalid"),
        ("/v1/groups/g/members?after=%ff", "bad_request"),
        ("/v1/fleet?x=1", "invalid"),
        (f"/v1/connections/{'x' * 8200}", "uri_too_long"),
    ],
)
def test_wrong_paths_and_parameters(api: Api, path: str, code: str) -> None:
    assert api("GET", path).code == code


def test_wrong_methods(api: Api) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        told = api(method, "/v1/pushes")
        assert told.code == "method_not_allowed"
        assert told.headers["Allow"] == "POST"


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
def test_wrong_idempotency_keys(api: Api, key: str) -> None:
    assert api.push(GOOD, Idempotency_Key=key).code == "invalid"


def test_copies_are_bounded(api: Api) -> None:
    assert api.push({"tokens": ["a"] * 1000, "payload": "x" * 20_000}).code == "too_large"


# --- on the wire


def raw(fleet: Fleet, head: str, body: bytes = b"", seconds: float = 40) -> bytes:
    """All that comes until the other end closes."""
    with socket.create_connection((fleet.host, fleet.api_port), timeout=seconds) as stream:
        stream.sendall(head.replace("\n", "\r\n").encode("latin-1") + body)
        said = b""
        while data := stream.recv(65536):
            said += data
    return said


def problem_in(said: bytes) -> str:
    head, _, body = said.partition(b"\r\n\r\n")
    fields = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % CODES[fields["code"]][0])
    assert b"application/problem+json" in head
    assert b"connection: close" in head.lower()
    return str(fields["code"])


POST = "POST /v1/pushes HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json\n"


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (f"{POST}Content-Length: 5000000\n\n", "too_large"),
        (f"{POST}Content-Length: {'9' * 30}\n\n", "too_large"),
        (f"{POST}Content-Length: {'9' * 5000}\n\n", "too_large"),
        (f"{POST}Content-Length: -5\n\n", "bad_request"),
        (f"{POST}Content-Length: five\n\n", "bad_request"),
        (f"{POST}Transfer-Encoding: gzip\n\n", "bad_request"),
        ("GET /v1/fleet HTTP/1.1\n" + "".join([f"X-{n}: y\n" for n in range(200)]) + "\n", "too_many_headers"),
        (f"GET /v1/fleet HTTP/1.1\nX-Long: {'y' * 70_000}\n\n", "too_many_headers"),
        ("NONSENSE\n\n", "bad_request"),
    ],
)
def test_heads(fleet: Fleet, head: str, code: str) -> None:
    assert problem_in(raw(fleet, head)) == code


def test_a_body_in_chunks_has_its_bound(fleet: Fleet) -> None:
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    assert problem_in(raw(fleet, f"{POST}Transfer-Encoding: chunked\n\n", chunk * 5)) == "too_large"
    good = json.dumps(GOOD).encode()
    said = raw(
        fleet, f"{POST}Connection: close\nTransfer-Encoding: chunked\n\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(good), good)
    )
    assert b"OFFLINE" in said


def test_slow_heads_and_bodies_are_ended(fleet: Fleet) -> None:
    """Both drip, so that a limit on silence alone would not end them."""

    def drip(head: str) -> tuple[bytes, float]:
        began = time.monotonic()
        with gevent.socket.create_connection((fleet.host, fleet.api_port), timeout=60) as stream:
            stream.sendall(head.replace("\n", "\r\n").encode())
            reader = gevent.spawn(stream.makefile("rb").read)
            while not reader.ready() and time.monotonic() - began < 60:
                try:
                    stream.sendall(b"x")
                except OSError:
                    break
                gevent.sleep(0.5)
            return reader.get(timeout=10), time.monotonic() - began

    body, head = gevent.spawn(drip, f"{POST}Content-Length: 5000\n\n"), gevent.spawn(drip, f"{POST}X-Slow: ")
    gevent.joinall([body, head], raise_error=True)
    assert problem_in(head.value[0]) == "too_slow"
    assert problem_in(body.value[0]) == "too_slow"
    assert max(head.value[1], body.value[1]) < 60


def test_a_bulk_push_that_nobody_reads_is_ended(fleet: Fleet, api: Api) -> None:
    """Its answer fills the sockets' buffers, then nothing more of it is read, and after a silence it is cut off."""
    head = "POST /v1/pushes/bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
    lines = b'{"token": "nobody", "payload": "x"}\n' * 1000
    written = 0
    with socket.create_connection((fleet.host, fleet.api_port), timeout=60) as stream:
        stream.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            while written < 1 << 30:
                stream.sendall(b"%x\r\n%b\r\n" % (len(lines), lines))
                written += len(lines)
    assert written < 1 << 30
    assert api.push(GOOD).status == 200


# --- keys


def test_keys_and_scopes(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1, services="group")
    assert Api(fleet)("GET", "/v1/fleet").status == 200
    pushing, reading = Api(fleet, make_key(fleet, "pushing", "push")), Api(fleet, make_key(fleet, "reading", "read"))
    wait_until(lambda: Api(fleet)("GET", "/v1/fleet").status == 401, "keys are read")
    told = Api(fleet)("GET", "/v1/fleet")
    assert (told.code, told.headers["WWW-Authenticate"]) == ("unauthorized", "Bearer")
    assert Api(fleet, "pgk_wrong").push(GOOD).code == "unauthorized"
    assert Api(fleet).push(GOOD, Authorization="Basic YTpi").code == "unauthorized"
    assert pushing.push(GOOD).status == 200
    assert reading.push(GOOD).code == "insufficient_scope"
    assert pushing("GET", "/v1/fleet").code == "insufficient_scope"
    assert reading("GET", "/v1/fleet").status == 200
    assert reading("PUT", "/v1/groups/g").code == "insufficient_scope"
    for path in ("/health/live", "/health/ready", "/metrics", "/v1/openapi.json", "/v1/swagger"):
        assert Api(fleet)("GET", path).status == 200
    assert (Api(fleet)("GET", "/stats").status, reading("GET", "/stats").status) == (401, 200)
    # The same Idempotency-Key of two users is two.
    other = Api(fleet, make_key(fleet, "other", "push"))
    wait_until(lambda: other.push(GOOD).status == 200, "the new key is read")
    assert (
        pushing.push(GOOD, Idempotency_Key="k").body["results"][0]["id"]
        != (other.push(GOOD, Idempotency_Key="k").body["results"][0]["id"])
    )
    path = fleet.data_dir / "state" / "api_keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "pgk_" not in path.read_text()
    path.unlink()
    wait_until(lambda: pushing.push(GOOD).status == 401, "a file that is gone lets nobody in")
    assert Api(fleet).push(GOOD).status == 401


def test_a_body_without_a_key_is_not_read(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1)
    make_key(fleet, "one", "push")
    wait_until(lambda: Api(fleet).push(GOOD).status == 401, "keys are read")
    assert problem_in(raw(fleet, f"{POST}Content-Length: 4000000\n\n", seconds=5)) == "unauthorized"


@pytest.mark.parametrize("made", [False, True])
def test_an_address_that_others_reach_needs_a_key(made: bool, tmp_path: Path) -> None:
    fleet = Fleet(status=True, workers=1, api_host="0.0.0.0")
    if made:
        make_key(fleet, "one", "push")
    try:
        fleet.start()
        if made:
            fleet.wait_ready()
        else:
            assert fleet.processes["status"].wait() == 2
            assert "api_keys_file: " in fleet.log("status")
            assert "holds no key" in fleet.log("status")
    finally:
        fleet.stop()


def test_pages_from_elsewhere_do_not_use_an_open_api(api: Api, fleet: Fleet) -> None:
    here = f"{fleet.host}:{fleet.api_port}"
    assert api.push(GOOD, Origin="http://evil.example").code == "foreign_page"
    assert api.push(GOOD, Origin="null").code == "foreign_page"
    assert api.push(GOOD, Host="evil.example").code == "foreign_page"
    assert api.push(GOOD, Host="[").code == "foreign_page"
    assert api.push(GOOD, Host=here, Origin=f"http://{here}").status == 200


# --- too much


def test_ten_thousand_requests_at_once(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1)
    body = json.dumps(GOOD)
    request = f"{POST}Connection: close\nContent-Length: {len(body)}\n\n".replace("\n", "\r\n").encode() + body.encode()
    address = (fleet.host, fleet.api_port)
    codes: Counter[int] = Counter()

    def ask() -> None:
        try:
            with gevent.socket.create_connection(address, timeout=90) as stream:
                stream.sendall(request)
                codes[int((stream.makefile("rb").readline().split() or [b"0", b"0"])[1])] += 1
        except OSError:
            codes[0] += 1

    gevent.joinall([gevent.spawn(ask) for _ in range(10_000)])
    assert sum(codes.values()) == 10_000
    assert set(codes) <= {200, 503, 0}, codes
    assert codes[200] > 0
    assert codes[0] < 1000, codes
    assert Api(fleet).push(GOOD).status == 200
    assert fleet.processes["status"].running


def test_requests_under_way_are_bounded(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1, api_requests_max=4, api_connections_max=12)
    held = [socket.create_connection((fleet.host, fleet.api_port)) for _ in range(4)]
    for stream in held:
        stream.sendall(f"{POST}Content-Length: 100\n\n".replace("\n", "\r\n").encode())
    api = Api(fleet)
    wait_until(lambda: api.push(GOOD).status == 503, "four are under way")
    assert api.push(GOOD).code == "overloaded"
    assert api("GET", "/health/live").status == 200
    more = [socket.create_connection((fleet.host, fleet.api_port)) for _ in range(8)]
    wait_until(lambda: api("GET", "/health/live").status == 503, "twelve are connected")
    for stream in [*held, *more]:
        stream.close()
    wait_until(lambda: api.push(GOOD).status == 200, "they are gone")


def test_a_silent_router_is_said_at_once(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1)
    api = Api(fleet)
    fleet.stop_router()
    wait_until(lambda: api.push(GOOD).status == 503, "noticed")
    assert api.push(GOOD).code == "unavailable"
    assert api("GET", "/v1/fleet").code == "unavailable"
    assert api("PUT", "/v1/groups/g").code == "unavailable"
    fleet.start_router()
    fleet.wait_ready()
    wait_until(lambda: api.push(GOOD).status == 200, "it is back")
