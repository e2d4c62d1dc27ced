"""services/api/application.py, called as a WSGI server calls it."""

import json
from typing import Any

import pytest

from services.api.application import Application
from services.status.figures import Figures
from shared.errors import SenderError


def ask() -> dict[str, Any]:
    return {"router": {"live": 2}}


def silent() -> dict[str, Any]:
    raise SenderError("timed_out", "no router answered within 1 s")


def call(application: Application, path: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    """(status line, headers, body) of an answer."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        started.extend((status, dict(headers)))

    body = b"".join(application({"REQUEST_METHOD": method, "PATH_INFO": path}, start_response))
    return started[0], started[1], body


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/health/live", "200 OK", {"status": "live"}),
        ("/health/ready", "200 OK", {"status": "ready"}),
        ("/stats", "200 OK", {"router": {"live": 2}}),
        ("/live", "426 Upgrade Required", {"error": "/live is a WebSocket"}),
    ],
)
def test_paths(path: str, status: str, body: dict[str, Any]) -> None:
    said, headers, content = call(Application(Figures(ask), list), path)
    assert (said, json.loads(content)) == (status, body)
    assert headers["Content-Length"] == str(len(content))


def test_unknown_path_names_the_known_ones() -> None:
    status, _, body = call(Application(Figures(ask), list), "/")
    assert status == "404 Not Found"
    assert json.loads(body)["paths"] == ["/health/live", "/health/ready", "/stats", "/live"]
    _, _, body = call(Application(Figures(ask), list, elsewhere=("/v1",)), "/nothing")
    assert json.loads(body)["paths"][-1] == "/v1"


def test_only_reading() -> None:
    status, headers, _ = call(Application(Figures(ask), list), "/stats", "POST")
    assert (status, headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")
    status, headers, body = call(Application(Figures(ask), list), "/stats", "HEAD")
    assert (status, body) == ("200 OK", b"")
    assert int(headers["Content-Length"]) > 0


def test_silent_router() -> None:
    status, _, body = call(Application(Figures(silent), list), "/stats")
    assert status == "503 Service Unavailable"
    assert json.loads(body) == {"error": "timed_out", "message": "no router answered within 1 s"}


def test_not_ready() -> None:
    status, _, body = call(Application(Figures(ask), lambda: ["router: silent"]), "/health/ready")
    assert status == "503 Service Unavailable"
    assert json.loads(body) == {"status": "not ready", "waiting_for": ["router: silent"]}
