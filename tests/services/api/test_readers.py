"""services/api/readers.py: who may read figures and metrics."""

from pathlib import Path
from typing import Any

import pytest

from services.api.key_files import KeyFile, changing
from services.api.keys import ApiKey, digest_of
from services.api.readers import Guarded, Readers, is_of_this_machine
from services.api.v1.access import Access

HERE = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:8080"}
ELSEWHERE = {"REMOTE_ADDR": "10.0.0.7", "HTTP_HOST": "push.example:8080"}
READ, PUSH = ({"HTTP_AUTHORIZATION": f"Bearer pgk_{scope}"} for scope in ("read", "push"))


@pytest.fixture
def locked(tmp_path: Path) -> Access:
    with changing(tmp_path / "keys.json") as keys:
        keys += [ApiKey(scope, digest_of(f"pgk_{scope}"), frozenset({scope}), "") for scope in ("read", "push")]
    return Access(KeyFile(tmp_path / "keys.json"))


@pytest.fixture
def unlocked(tmp_path: Path) -> Access:
    return Access(KeyFile(tmp_path / "none.json"))


def status(check: Any, environ: dict[str, str], method: str = "GET") -> str:
    """Of the answer to a request."""
    said: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"figures"]

    request = {"REQUEST_METHOD": method, **environ}
    body = b"".join(Guarded(application, check)(request, lambda *told: said.extend(told)))
    if said[0] != "200 OK":
        assert dict(said[1])["Content-Type"] == "application/problem+json"
        assert (len(body) == int(dict(said[1])["Content-Length"])) == (method != "HEAD")
    return str(said[0])[:3]


@pytest.mark.parametrize(
    ("environ", "here"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, True),
        ({"REMOTE_ADDR": "127.8.9.1"}, True),
        ({"REMOTE_ADDR": "::1"}, True),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, True),
        ({"REMOTE_ADDR": "10.0.0.7"}, False),
        ({"REMOTE_ADDR": ""}, False),
        ({}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=10.0.0.7"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_REAL_IP": "10.0.0.7"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_VIA": "1.1 proxy"}, False),
    ],
)
def test_who_is_on_this_machine(environ: dict[str, str], here: bool) -> None:
    assert is_of_this_machine(environ) is here


def test_figures_need_a_key_that_may_read_wherever_one_asks(locked: Access) -> None:
    check = Readers(locked, "open").check
    for where in (HERE, ELSEWHERE):
        assert status(check, where) == "401"
        assert status(check, where, "HEAD") == "401"
        assert status(check, where | PUSH) == "403"
        assert status(check, where | {"HTTP_AUTHORIZATION": "Basic pgk_read"}) == "401"
        assert status(check, where | READ) == "200"


@pytest.mark.parametrize(
    ("setting", "here", "elsewhere"), [("loopback", "200", "401"), ("key", "401", "401"), ("open", "200", "200")]
)
def test_metrics_are_as_open_as_the_setting_says(locked: Access, setting: str, here: str, elsewhere: str) -> None:
    check = Readers(locked, setting).check_metrics
    assert status(check, HERE) == here
    assert status(check, ELSEWHERE) == elsewhere
    assert status(check, HERE | {"HTTP_X_FORWARDED_FOR": "10.0.0.7"}) == elsewhere
    assert status(check, ELSEWHERE | READ) == "200"


def test_pages_and_names_that_lead_here_read_no_metrics(locked: Access) -> None:
    check = Readers(locked, "loopback").check_metrics
    assert status(check, HERE | {"HTTP_HOST": "evil.example"}) == "403"
    assert status(check, HERE | {"HTTP_ORIGIN": "http://evil.example"}) == "403"


def test_an_open_api_shows_figures_to_its_machine(unlocked: Access) -> None:
    check = Readers(unlocked, "loopback").check
    assert status(check, HERE) == "200"
    assert status(check, HERE | {"HTTP_HOST": "evil.example"}) == "403"


def test_a_websocket_to_what_is_none_ends() -> None:
    answer = Guarded(lambda environ, start_response: [b"x"], lambda environ: None)({"wsgi.websocket": object()}, print)
    assert list(answer) == []
