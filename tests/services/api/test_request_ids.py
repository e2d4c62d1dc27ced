from types import SimpleNamespace

import pytest

from services.api.gates import Gate
from services.api.request_ids import RequestIds


def ask(application, **headers):
    """(headers, body) of the answer."""
    told = {}
    source = SimpleNamespace(content_length=0, chunked_input=False, position=0)
    environ = {"PATH_INFO": "/v1/x", "wsgi.input": source, **headers}
    body = b"".join(RequestIds(application)(environ, lambda status, found, *more: told.update(found)))
    return told, body


def echo(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [environ["push.request_id"].encode()]


def test_one_that_is_good_is_kept_and_told():
    told, body = ask(echo, HTTP_X_REQUEST_ID="web/7")
    assert (told, body) == ({"Content-Length": "0", "X-Request-Id": "web/7"}, b"web/7")


@pytest.mark.parametrize("said", ["", "x" * 65, "a b", "a\r\nSet-Cookie: x", "\xff", "<script>"])
def test_in_place_of_others_there_is_a_new_one(said):
    first, second = (ask(echo, HTTP_X_REQUEST_ID=said)[0]["X-Request-Id"] for _ in range(2))
    assert len(first) == len(second) == 16
    assert first != second


def test_a_problem_names_it():
    gate = Gate(echo, 0)
    told, body = ask(gate, HTTP_X_REQUEST_ID="web/7", HTTP_TRANSFER_ENCODING="gzip")
    assert told["X-Request-Id"] == "web/7"
    assert b'"request_id":"web/7"' in body
