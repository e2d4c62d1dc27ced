"""Bodies of requests, out of gevent.pywsgi."""

from typing import Any

from gevent import Timeout

_LEFT = "push.left_unread"


class BrokenBodyError(ValueError):
    """A body that ends before its end, or whose chunks are none."""


def read(source: Any, length: int, seconds: float) -> bytes | None:
    """So many bytes of `wsgi.input`; None: they have not come in this time. Raises BrokenBodyError."""
    with Timeout(seconds, False):
        try:
            return bytes(source.read(length))
        except TimeoutError:  # the socket's own: nothing has come for long
            return None
        except OSError as error:
            raise BrokenBodyError(str(error)) from None
    return None


def announced(length: str, most: int) -> int:
    """A Content-Length of decimal digits, at most `most` + 1: int() refuses more than 4,300 digits."""
    digits = length.lstrip("0")
    return most + 1 if len(digits) > len(str(most)) else min(int(digits or "0"), most + 1)


def is_unread(source: Any) -> bool:
    """Whether a request has a body of which something is left."""
    if source.chunked_input:
        return bool(source.chunk_length)  # -1 before the first
    return bool(source.position < (source.content_length or 0))


def leave_unread(environ: dict[str, Any]) -> None:
    """Nothing more is read of `wsgi.input`. pywsgi would read all of it, to use the connection for another request."""
    source = environ["wsgi.input"]
    source.content_length, source.chunked_input = 0, False
    environ[_LEFT] = True


def was_left(environ: dict[str, Any]) -> bool:
    """Whether that was done."""
    return _LEFT in environ
