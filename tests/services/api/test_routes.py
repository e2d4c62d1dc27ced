"""services/api/routes.py and gates.py, called as a WSGI server calls them."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest

from services.api.gates import Gate
from services.api.routes import Routes


class Input:
    """`wsgi.input` of gevent.pywsgi."""

    def __init__(self, body: bytes) -> None:
        self._body = io.BytesIO(body)
        self.position, self.content_length = 0, len(body)
        self.chunked_input, self.chunk_length = False, -1

    def read(self, length: int) -> bytes:
        self.position += length
        return self._body.read(length)


def environ(path: str = "/", body: bytes = b"", **more: str) -> dict[str, Any]:
    return {"PATH_INFO": path, "QUERY_STRING": "", "wsgi.input": Input(body), **more}


def named(name: str) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [name.encode()]

    return application


class Answer:
    """What came of a call."""

    def __init__(self, application: Any, asked: dict[str, Any]) -> None:
        self.status, self.headers = "", {}  # type: ignore[var-annotated]

        def start(status: str, headers: list[tuple[str, str]]) -> None:
            self.status, self.headers = status, dict(headers)

        self.result = application(asked, start)
        self.body = b"".join(self.result)

    def close(self) -> None:
        self.result.close()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1", b"one"),
        ("/v1/x", b"one"),
        ("/v1/more", b"more"),
        ("/v1/more/x", b"more"),
        ("/v1/moreover", b"one"),
        ("/v12", b"others"),
        ("/", b"others"),
    ],
)
def test_paths_belong_to_groups(path: str, name: bytes) -> None:
    routes = Routes({"/v1": named("one"), "/v1/more": named("more")}, named("others"))
    assert Answer(routes, environ(path)).body == name


def test_so_many_requests_at_a_time() -> None:
    gate = Gate(named("x"), 2)
    first, second = Answer(gate, environ()), Answer(gate, environ())
    third = Answer(gate, environ())
    assert (first.status, second.status, third.status[:3]) == ("200 OK", "200 OK", "503")
    assert json.loads(third.body)["code"] == "overloaded"
    assert third.headers["Retry-After"] == "1"
    first.close()
    assert gate.under_way == 1
    assert Answer(gate, environ()).status == "200 OK"


def test_a_failure_gives_its_place_back() -> None:
    def fails(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise ZeroDivisionError

    gate = Gate(fails, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            Answer(gate, environ())
    assert gate.under_way == 0


def test_a_body_that_nobody_reads_ends_the_connection() -> None:
    asked = environ(body=b"12345")
    assert Answer(Gate(named("x"), 1), asked).headers["Connection"] == "close"
    assert asked["wsgi.input"].content_length == 0
    assert "Connection" not in Answer(Gate(named("x"), 1), environ()).headers


@pytest.mark.parametrize(
    "asked",
    [
        environ("/\xff"),
        {**environ(), "QUERY_STRING": "a=%ff"},
        environ(HTTP_TRANSFER_ENCODING="gzip, chunked"),
    ],
)
def test_what_would_be_read_in_other_ways_is_refused(asked: dict[str, Any]) -> None:
    answer = Answer(Gate(named("x"), 1), asked)
    assert answer.status == "400 Bad Request"
    assert json.loads(answer.body)["code"] == "bad_request"
