"""In front of the applications: how many requests are under way, and what none of them should see."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.wsgi import ClosingIterator

from services.api import bodies
from services.api.problems import Problem

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

#: Where the id of a request is in its environ, whether it came with it, and its trace (services.api.request_ids).
REQUEST_ID, GIVEN, TRACEPARENT = "push.request_id", "push.request_id_given", "push.traceparent"


class Gate:
    """Lets at most so many requests in; the others are told so at once."""

    def __init__(self, application: Application, requests_max: int) -> None:
        self._application, self._most = application, requests_max
        self.under_way = self.turned_away = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start = _closing(environ, start_response)
        if self.under_way >= self._most:
            self.turned_away += 1
            return _answer(Problem("overloaded", "too many requests are under way"), environ, start)
        if fault := _fault(environ):
            return _answer(Problem("bad_request", fault), environ, start)
        self.under_way += 1
        try:
            found = self._application(environ, start)
        except BaseException:
            self._leave()
            raise
        return ClosingIterator(found, self._leave)

    def _leave(self) -> None:
        self.under_way -= 1


def _closing(environ: Environ, start_response: StartResponse) -> StartResponse:
    """Ends the connection with an answer to a request whose body nobody has read: else pywsgi would read all of it."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        if "push.streams" not in environ and (_is_odd(environ) or bodies.is_unread(environ["wsgi.input"])):
            bodies.leave_unread(environ)
            headers = [*[header for header in headers if header[0].lower() != "connection"], ("Connection", "close")]
        return start_response(status, headers, *more)

    return start


def _is_odd(environ: Environ) -> bool:
    """Nobody knows where the body of such a request ends."""
    return bool(environ.get("HTTP_TRANSFER_ENCODING", "chunked").lower() != "chunked")


def _fault(environ: Environ) -> str:
    """What is wrong with a request that werkzeug would read in its own way."""
    if _is_odd(environ):
        return "Transfer-Encoding is not chunked"
    try:
        environ["PATH_INFO"].encode("latin-1").decode()
        unquote_to_bytes(environ.get("QUERY_STRING", "").encode("latin-1")).decode()
    except UnicodeError:
        return "the path is not UTF-8"
    return ""


def _answer(problem: Problem, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    content = problem.content(environ.get(REQUEST_ID, ""))
    headers = [*problem.headers(), ("Content-Length", str(len(content)))]
    start_response(f"{problem.status.value} {problem.status.phrase}", headers)
    return [content]
