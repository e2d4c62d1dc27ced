"""One connection to a web server, for posts that have a deadline each, whatever the server does.

The time-outs of urllib3 are for each recv: a byte now and then would keep a post for ever. Here each step has what is
left of the whole. It is looked at before each: names are resolved, and of several addresses each is tried, without it.
"""

import io
import logging
import socket
import time
from collections.abc import Mapping
from functools import partial
from http.client import HTTPResponse, RemoteDisconnected
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: Those that name the URL, whose path and query may be a secret.
_LOGGERS = ("connection", "connectionpool", "poolmanager", "response", "util.retry")


class Deadline:
    """Until when the post that is under way may last."""

    def __init__(self) -> None:
        self._at = 0.0

    def set(self, seconds: float) -> None:
        """A post begins."""
        self._at = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._at

    def allow(self, sock: Any) -> None:
        """The next step on a socket may take what is left. Raises TimeoutError if that is nothing."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time is left")
        sock.settimeout(left)


class _Received(io.RawIOBase):
    """What comes from a socket, within a deadline."""

    def __init__(self, raw: io.RawIOBase, sock: Any, deadline: Deadline) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._deadline.allow(self._sock)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Lines(io.BufferedReader):
    """http.client takes the end of the stream for the end of a head: here it is a fault."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line:
            raise RemoteDisconnected("the answer breaks off")
        return line


class _Answer(HTTPResponse):
    """Read within the deadline, head and body."""

    def __init__(self, deadline: Deadline, sock: Any, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        plain: Any = self.fp
        self.fp = _Lines(_Received(plain.detach(), sock, deadline))


class _Bounded:
    """What both classes of connections have in addition."""

    sock: Any

    def __init__(self, *args: Any, deadline: Deadline, **more: Any) -> None:
        super().__init__(*args, **more)
        self._deadline = deadline
        self.response_class = partial(_Answer, deadline)

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        try:
            self._deadline.allow(made)  # for TLS's handshake
        except TimeoutError:
            made.close()
            raise
        return made

    def send(self, data: Any) -> None:
        if self.sock is not None:  # else connecting comes first, with a time-out of its own
            self._deadline.allow(self.sock)
        super().send(data)  # type: ignore[misc]


class _Http(_Bounded, HTTPConnection):  # type: ignore[misc]
    pass


class _Https(_Bounded, HTTPSConnection):  # type: ignore[misc]
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class Posting:
    """`deadline`: of the post that is under way, its answer's body and all."""

    def __init__(self, url: urllib3.util.Url) -> None:
        """`url`: http or https, with a host."""
        _silence()
        self.deadline = Deadline()
        made = _HttpsPool if url.scheme == "https" else _HttpPool
        port = url.port or (443 if url.scheme == "https" else 80)
        self._pool = made(url.host or "", port, maxsize=1, retries=False, deadline=self.deadline)
        self._target = url.request_uri

    def post(self, body: bytes, headers: Mapping[str, str], seconds: float) -> Any:
        """The answer's head, with a body to be read; see `finish`. Redirects are not followed.

        Raises urllib3's HTTPError, OSError, ValueError.
        """
        self.deadline.set(seconds)
        return self._pool.urlopen(
            "POST",
            self._target,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(total=seconds),
            redirect=False,
            preload_content=False,
        )

    def close(self) -> None:
        """The connection ends."""
        self._pool.close()


def finish(answer: Any, most: int) -> None:
    """Reads a body that is short and comes in time, in order to use the connection again; else closes it."""
    try:
        answer.read(most, decode_content=False)
        is_whole = answer.closed
    except (urllib3.exceptions.HTTPError, OSError):
        is_whole = False
    answer.release_conn() if is_whole else answer.close()


def _silence() -> None:
    for name in _LOGGERS:
        logging.getLogger(f"urllib3.{name}").setLevel(logging.CRITICAL + 1)
