"""Bodies of requests, out of gevent.pywsgi."""

from typing import Any

from gevent import Timeout


def read(source: Any, length: int, seconds: float) -> bytes | None:
    """So many bytes of `wsgi.input`; None: they have not come in this time, or never will."""
    with Timeout(seconds, False):
        try:
            return bytes(source.read(length))
        except OSError:
            return None
    return None


def leave_unread(source: Any) -> None:
    """Nothing more is read of `wsgi.input`. pywsgi would read all of it, to use the connection for another request."""
    source.content_length, source.chunked_input = 0, False
