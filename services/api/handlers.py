"""One HTTP connection: gevent.pywsgi's handler, with a time limit on heads and our own words for what is malformed."""

import contextlib
import errno
import logging
import re
from email.message import Message
from http.client import HTTPException
from socket import SHUT_WR
from typing import Any

from gevent import Timeout
from geventwebsocket.handler import WebSocketHandler

from services.api import bodies
from services.api.problems import Problem
from shared.log_limits import LineLimit

logger = logging.getLogger(__name__)

#: Seconds in which the line and the header fields of a request must be here, each.
HEAD_S = 10.0
#: Seconds and reads of 64 KiB for the rest of a body that was refused.
LEFT_S, LEFT_READS = 2.0, 1024
#: Stands in PATH_INFO for %2F, a slash inside of a path's part: tokens and names have no control characters.
SLASH = "\x1f"
#: Slashes, and what stands for them here: a control character in its own right becomes another one.
_ENCODED = re.compile("%([12])F", re.IGNORECASE)


#: Lines a second about requests that are none: a port scanner must not fill the disk.
_malformed = LineLimit("malformed requests", 10)


class TooSlowError(ValueError):
    """A head that does not come to its end."""


class AmbiguousError(ValueError):
    """A head by which a proxy may see another request than we do (RFC 9112, sections 3.2 and 6.3)."""


class Handler(WebSocketHandler):  # type: ignore[misc]  # gevent-websocket has no types
    """pywsgi logs a traceback for some malformed requests, and waits for slow ones as long as they send anything."""

    path: str
    socket: Any
    environ: dict[str, Any]
    close_connection: bool
    #: Clients that have gone, and those that do not read: no bugs, so no tracebacks.
    ignored_socket_errors = (*WebSocketHandler.ignored_socket_errors, errno.ETIMEDOUT, "timed out")

    def read_requestline(self) -> str:
        with Timeout(HEAD_S, False):
            return str(super().read_requestline())
        return ""

    def read_request(self, raw_requestline: str) -> bool:
        with Timeout(HEAD_S, TooSlowError("head")):
            return bool(super().read_request(raw_requestline))

    def MessageClass(self, *arguments: Any) -> Message:
        """The header fields, before pywsgi drops a Content-Length that stands beside Transfer-Encoding."""
        headers: Message = super().MessageClass(*arguments)
        _check_framing(headers)
        return headers

    def handle_one_request(self) -> Any:
        result = super().handle_one_request()
        if isinstance(result, tuple) and result[0] == "414":
            return result[0], Problem("uri_too_long", "the request line has more than 8,192 bytes").whole_answer()
        return result

    def handle_one_response(self) -> None:
        super().handle_one_response()
        if self.close_connection and bodies.was_left(self.environ):
            self._let_go()

    def _let_go(self) -> None:
        """To close with something unread would take the answer back: what comes is thrown away, for a while."""
        with contextlib.suppress(OSError), Timeout(LEFT_S, False):
            self.socket.shutdown(SHUT_WR)
            for _ in range(LEFT_READS):
                if not self.socket.recv(65536):
                    break

    def get_environ(self) -> dict[str, Any]:
        path, mark, query = self.path.partition("?")
        path = _ENCODED.sub(lambda match: "%00" if match[1] == "1" else "%1F", path)
        self.path = path + mark + query
        environ: dict[str, Any] = super().get_environ()
        return environ

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        problem = self._problem(ex)
        if _malformed.allows():
            logger.info("refused a request of %s: %s", self.client_address[0], problem)
        return str(problem.status.value), problem.whole_answer()

    def _problem(self, error: Exception) -> Problem:
        if isinstance(error, TooSlowError):
            return Problem("too_slow", f"the head did not come within {HEAD_S:g} s")
        if isinstance(error, AmbiguousError):
            return Problem("bad_request", str(error))
        if isinstance(error, HTTPException) or self._has_long_line():
            return Problem("too_many_headers", "more than 100 header fields, or one of more than 65,536 bytes")
        if self._content_length().isdecimal():
            return Problem("too_large", "Content-Length says more than can be")
        return Problem("bad_request", "the request line or a header field is malformed")

    def _has_long_line(self) -> bool:
        return getattr(self.headers, "status", "") == "Line too long"

    def _content_length(self) -> str:
        """pywsgi reads it with int(), which refuses more than 4,300 digits, before anybody else can."""
        text = str(self.headers.get("content-length") or "")
        return text if text.isascii() else ""


def _check_framing(headers: Message) -> None:
    """Raises AmbiguousError."""
    # the parser takes the head for ended at a line that is no field, and all behind that for something else
    if headers.defects or headers.get_payload() or any("\n" in value for value in headers.values()):
        raise AmbiguousError("a header field is malformed, has a space before its colon, or goes on in another line")
    lengths, encodings = headers.get_all("content-length", []), headers.get_all("transfer-encoding", [])
    if len(lengths) + len(encodings) > 1:
        raise AmbiguousError("there is more than one Content-Length or Transfer-Encoding")
    if any(not (length.isascii() and length.isdecimal()) for length in lengths):
        raise AmbiguousError("Content-Length is no number")
    if any(encoding.lower() != "chunked" for encoding in encodings):
        raise AmbiguousError("Transfer-Encoding is not chunked")
    if len(headers.get_all("host", [])) > 1:
        raise AmbiguousError("there is more than one Host")
