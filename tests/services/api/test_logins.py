"""services/api/logins.py, called as a WSGI server calls it."""

import io
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgpack
import pytest

from services.api.logins import BODY_MAX, LoginRoutes, PostAnswer


class Service:
    """Answers calls, and keeps the last."""

    def __init__(self, code: int = 0, **answer: Any) -> None:
        self.code, self.answer, self.asked = code, answer or {"code": 0, "message": "success"}, {}  # type: ignore[var-annotated]

    def __call__(self, topic: Sequence[int], body: bytes, key: str) -> tuple[int, bytes]:
        assert list(topic) == [0, 5]
        self.asked = msgpack.unpackb(body)
        return self.code, msgpack.packb(self.answer)


def post(service: Service, body: bytes, path: str = "/login", proxies: str = "", **environ: str) -> PostAnswer:
    said = {
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "REMOTE_ADDR": "10.0.0.9",
    }
    return LoginRoutes(service, proxies).answer({**said, **environ})


@pytest.mark.parametrize("mobile", [13900000001, "13900000001"])
def test_a_login_is_passed_on(mobile: Any):
    service = Service()
    service.answer = {"code": 0, "message": "success", "result": {"userId": "u"}}
    body = json.dumps({"mobile": mobile, "code": 556677, "clientId": "c", "more": [1]}).encode()
    assert post(service, body) == (HTTPStatus.OK, service.answer, None)
    assert service.asked == {"op": "login", "address": "10.0.0.9", "mobile": mobile, "code": 556677, "clientId": "c"}
    post(service, b'{"mobile": 1}', "/send_code")
    assert service.asked["op"] == "send_code"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"mobile": 1%s}' % (b"0" * 30), 400),
        (b'{"clientId": "\\ud800"}', 400),
        (b"x" * (BODY_MAX + 1), 413),
    ],
)
def test_bad_bodies(body: bytes, status: int):
    answer = post(Service(), body)
    assert answer.status == status
    assert answer.body["code"] == 1


@pytest.mark.parametrize("length", ["9" * 19, "9" * 5000, f"{BODY_MAX + 1}", "0" * 5000 + "99999"])
def test_lengths_of_many_digits(length: str):
    assert post(Service(), b"{}", CONTENT_LENGTH=length).status == 413


def test_zeros_before_a_length():
    assert post(Service(), b"{}", CONTENT_LENGTH="0" * 5000 + "2").status == 200


def test_no_length():
    assert post(Service(), b"{}", CONTENT_LENGTH="").status == 411


@pytest.mark.parametrize("code", [0xF0, 0xF1, 0xF3, 1])
def test_a_service_that_does_not_answer(code: int):
    answer = post(Service(code), b"{}")
    assert (answer.status, answer.retry_after_s) == (503, 1)


def test_too_many_tries():
    service = Service()
    service.answer = {"code": 1, "message": "later", "retry_after_s": 300}
    assert post(service, b"{}") == (429, {"code": 1, "message": "later"}, 300)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [("", "1.2.3.4", "10.0.0.9"), ("10.0.0.0/8", "9.9.9.9, 1.2.3.4", "1.2.3.4"), ("10.0.0.0/8", "", "10.0.0.9")],
)
def test_who_asks_behind_a_proxy(proxies: str, forwarded: str, address: str):
    service = Service()
    post(service, b"{}", proxies=proxies, HTTP_X_FORWARDED_FOR=forwarded)
    assert service.asked["address"] == address
