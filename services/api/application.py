"""The WSGI application on api_port: paths in, JSON out (docs/operations.md, section Status service)."""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

import gevent
import ujson

from services.api import bodies
from services.api.logins import LoginRoutes, PostAnswer
from services.status.figures import Figures
from shared.errors import SenderError

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Answer = tuple[HTTPStatus, dict[str, Any]]

#: What is answered to requests whose body is not read to its end.
_UNREAD = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.LENGTH_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Application:
    """GET /health/live, /health/ready and /stats; what `logins` answers to POST.

    `not_ready` may block and runs in a thread. `elsewhere`: paths that others answer, for whoever asks for a wrong one.
    """

    def __init__(
        self,
        figures: Figures,
        not_ready: Callable[[], list[str]],
        logins: LoginRoutes | None = None,
        elsewhere: Sequence[str] = (),
    ) -> None:
        self._logins, self._elsewhere = logins, elsewhere
        self._posts = logins.paths if logins else {}
        self._figures = figures
        self._not_ready = not_ready
        self._answers = {"/health/live": self._live, "/health/ready": self._ready, "/stats": self._stats}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "wsgi.websocket" in environ:
            return []  # there is none here
        status, body, retry_after_s = self._answer_post(environ) or (*self._answer_get(environ), None)
        content = ujson.dumps(body, escape_forward_slashes=False).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "POST" if environ["PATH_INFO"] in self._posts else "GET, HEAD"))
        if retry_after_s is not None:
            headers.append(("Retry-After", str(retry_after_s)))
        if status in _UNREAD or (status == HTTPStatus.BAD_REQUEST and bodies.is_unread(environ["wsgi.input"])):
            bodies.leave_unread(environ)
            headers.append(("Connection", "close"))
        start_response(f"{status.value} {status.phrase}", [*headers, ("Cache-Control", "no-store")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]

    def _answer_post(self, environ: Environ) -> PostAnswer | None:
        """The answer of a route that is for POST; None: it is none."""
        if self._logins is None or environ["PATH_INFO"] not in self._posts:
            return None
        if environ["REQUEST_METHOD"] != "POST":
            return PostAnswer(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only POST"})
        return self._logins.answer(environ)

    def _answer_get(self, environ: Environ) -> Answer:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        answer = self._answers.get(path)
        if path == "/live":
            return HTTPStatus.UPGRADE_REQUIRED, {"error": "/live is a WebSocket"}
        if answer is None:
            known = [*self._answers, "/live", *self._posts, *self._elsewhere]
            return HTTPStatus.NOT_FOUND, {"error": "no such path", "paths": known}
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET and HEAD"}
        return answer()

    def _live(self) -> Answer:
        return HTTPStatus.OK, {"status": "live"}

    def _ready(self) -> Answer:
        lines = gevent.get_hub().threadpool.apply(self._not_ready)
        if lines:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "not ready", "waiting_for": lines}
        return HTTPStatus.OK, {"status": "ready"}

    def _stats(self) -> Answer:
        try:
            return HTTPStatus.OK, self._figures.latest()
        except SenderError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, failure(error)


def failure(error: SenderError) -> dict[str, Any]:
    """Body that stands for figures that could not be had."""
    return {"error": error.code, "message": error.message}
