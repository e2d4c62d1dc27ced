"""How many connections the HTTP API has: those over the bound are told so at once."""

import contextlib
import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from services.api.handlers import Handler
from services.api.problems import Problem

logger = logging.getLogger(__name__)

#: Longest silence (seconds) within a request, and longest wait for a watcher that does not read.
SILENCE_S = 10.0
#: Seconds in which whoever was turned away may read why.
_FAREWELL_S = 1.0
#: So many at a time; the others are closed without a word.
_FAREWELLS_MAX = 8192
_ANSWER = Problem("overloaded", "too many connections").whole_answer()


class Server(WSGIServer):  # type: ignore[misc]  # gevent.pywsgi has no types
    """pywsgi with a bound on connections and a time limit on each. It never stops accepting."""

    def __init__(self, listener: Any, application: Callable[..., Any], connections_max: int) -> None:
        super().__init__(
            listener,
            application,
            handler_class=Handler,
            spawn=Pool(None),
            log=None,
            error_log=logging.getLogger(__name__),
        )
        self._most = connections_max
        self._turned_away = Pool(None)
        self.refused = 0
        self._told_at = -60.0

    def do_handle(self, sock: Any, address: Any) -> None:
        if len(self.pool) < self._most:
            super().do_handle(sock, address)
            return
        self.refused += 1
        self._tell()
        if len(self._turned_away) < _FAREWELLS_MAX:
            self._turned_away.spawn(_turn_away, sock)
        else:
            sock.close()

    def handle(self, sock: Any, address: Any) -> None:
        sock.settimeout(SILENCE_S)
        # pywsgi sends head and body apart: Nagle would hold the body until the head's acknowledgement, 40 ms later.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle(sock, address)

    def _tell(self) -> None:
        """Once a minute at most."""
        if monotonic() - self._told_at >= 60.0:
            self._told_at = monotonic()
            logger.warning("more than %d connections (api_connections_max): %d turned away", self._most, self.refused)


def _turn_away(sock: Any) -> None:
    """Reads until the other end has closed, or a little: to close with something unread would take the answer back."""
    with contextlib.suppress(OSError), gevent.Timeout(_FAREWELL_S, False):
        sock.sendall(_ANSWER)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    sock.close()
