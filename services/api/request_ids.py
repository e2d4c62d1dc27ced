"""The request id of each HTTP request, told in the answer, and the trace that it belongs to."""

import os
from collections.abc import Iterable

from werkzeug.wsgi import ClosingIterator

from services.api.gates import GIVEN, REQUEST_ID, TRACEPARENT, Application, Environ, StartResponse
from shared.origins import is_request_id, known_traceparent
from shared.spans import Span, Spans

HEADER = "X-Request-Id"
#: Where the route of a request is in its environ, once it is known.
ROUTE = "push.route"


class RequestIds:
    """An application whose requests have ids: those that they came with, unless these are none (docs/logs.md).

    `spans`: where each request is told as a span.
    """

    def __init__(self, application: Application, spans: Spans | None = None) -> None:
        self._application, self._spans = application, spans

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        said = environ.get("HTTP_X_REQUEST_ID", "")
        environ[GIVEN] = given = is_request_id(said)
        environ[REQUEST_ID] = request_id = said if given else os.urandom(8).hex()
        environ[TRACEPARENT] = parent = known_traceparent(environ.get("HTTP_TRACEPARENT", ""))
        answered = Answered("", start_response, request_id)
        if self._spans is None:
            return self._application(environ, answered.start)
        method = str(environ.get("REQUEST_METHOD", ""))
        told = {"http.request.method": method, "push.request_id": request_id}
        span = self._spans.start(method, parent, "server", told)
        if span.is_kept:
            environ[TRACEPARENT] = span.traceparent
        try:
            body = self._application(environ, answered.start)
        except BaseException:
            _end(span, environ, "500")
            raise
        return ClosingIterator(body, lambda: _end(span, environ, answered.status))


class Answered:
    """Adds the request id to an answer, and knows its status."""

    def __init__(self, status: str, start_response: StartResponse, request_id: str) -> None:
        self.status, self._start_response, self._request_id = status, start_response, request_id

    def start(self, status: str, headers: list[tuple[str, str]], *more: object) -> object:
        self.status = status[:3]
        return self._start_response(status, [*headers, (HEADER, self._request_id)], *more)


def _end(span: Span, environ: Environ, status: str) -> None:
    """Named by its route, not by its path: of those there are too many."""
    route = environ.get(ROUTE, "")
    if route:
        span.rename(f"{environ.get('REQUEST_METHOD', '')} {route}")
    told = {"http.response.status_code": int(status) if status.isdecimal() else 0, "http.route": route}
    span.end(told, status if status.startswith("5") else "")
