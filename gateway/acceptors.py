"""Accepting connections: from the client port and from the nginx socket. Runs in the hub."""

import errno
import logging
import os
import socket
from typing import Any

import gevent

from gateway.client_loop import ClientLoop
from gateway.connections import Connection, address_text
from gateway.streams import PROXY_ALLOWED, PROXY_DONE, PROXY_REQUIRED, Network, is_trusted

logger = logging.getLogger(__name__)

_ACCEPTS_PER_TURN = 64
_WARN_EVERY_TICKS = 60
#: The peer has gone before it was accepted. Anything else (no descriptor, no memory) is tried again at the next tick.
_PEER_GONE = (errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET)


class Acceptor:
    """Accepts in bounded turns; pauses when descriptors run out and tries again at the next tick."""

    def __init__(self, clients: ClientLoop, hello_timeout_s: int, proxies: list[Network]) -> None:
        self._clients = clients
        self._hello_timeout_s = hello_timeout_s
        self._proxies = proxies
        self._listeners: list[tuple[socket.socket, bool, Any]] = []
        self._stopped: list[tuple[socket.socket, bool, Any]] = []
        self._paused = False
        self._warned_at = -_WARN_EVERY_TICKS
        clients.each_tick(self._resume)

    def listen(self, listener: socket.socket, proxied: bool) -> None:
        """Accept from a non-blocking listener; `proxied`: each connection must begin with a PROXY header."""
        watcher = gevent.get_hub().loop.io(listener.fileno(), 1)
        self._listeners.append((listener, proxied, watcher))
        watcher.start(self._clients.guarded, self._accept, listener, proxied)

    def empty(self, listener: socket.socket) -> None:
        """Accept what is in the queue of one listener now."""
        for other, proxied, _ in list(self._listeners):
            if other is listener:
                self._accept_all(other, proxied)

    def ignore(self, listener: socket.socket) -> None:
        """Accept no more from this one."""
        for entry in [entry for entry in self._listeners if entry[0] is listener]:
            entry[2].stop()
            self._listeners.remove(entry)

    def stop(self) -> None:
        """Accept no more; the listeners stay open with their parent."""
        for _, _, watcher in self._listeners:
            watcher.stop()
        self._stopped, self._listeners = self._listeners, []

    def go_on(self) -> None:
        """Accept again from those of `stop`."""
        for listener, proxied, _ in self._stopped:
            self.listen(listener, proxied)
        self._stopped = []

    def sweep(self) -> None:
        """Accept what is in the queues now."""
        for listener, proxied, _ in list(self._listeners):
            self._accept_all(listener, proxied)

    def _accept_all(self, listener: socket.socket, proxied: bool) -> None:
        while self._accept(listener, proxied):
            pass

    def _accept(self, listener: socket.socket, proxied: bool) -> bool:
        """One turn's; whether there may be more."""
        for _ in range(_ACCEPTS_PER_TURN):
            if self._clients.is_full:
                self._pause(f"{self._clients.table.count} connections held")
                return False
            try:
                # socket.accept() would build a socket object for each connection; this is the call below it
                fd, peer = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _PEER_GONE:
                    continue
                self._pause(os.strerror(error.errno or 0).lower())
                return False
            os.set_blocking(fd, False)
            self._clients.counters["accepted"] += 1
            # one tick more: the present one may be over at once
            self._clients.adopt(self._connection(fd, peer, proxied), self._hello_timeout_s + 1)
        return True

    def _connection(self, fd: int, peer: Any, proxied: bool) -> Connection:
        inet = isinstance(peer, tuple)
        connection = Connection(fd, address_text(peer[0], peer[1]) if inet else "unix")
        if proxied:
            connection.proxied = PROXY_REQUIRED
        elif inet and self._proxies and is_trusted(peer[0], self._proxies):
            connection.proxied = PROXY_ALLOWED
        else:
            connection.proxied = PROXY_DONE
        return connection

    def _pause(self, why: str) -> None:
        self._paused = True
        self._clients.counters["accept_pauses"] += 1
        for _, _, watcher in self._listeners:
            watcher.stop()
        if self._clients.wheel.tick - self._warned_at >= _WARN_EVERY_TICKS:
            self._warned_at = self._clients.wheel.tick
            logger.warning("accepting pauses: %s", why)

    def _resume(self, tick: int) -> None:
        if self._paused:
            self._paused = False
            for listener, proxied, watcher in self._listeners:
                watcher.start(self._clients.guarded, self._accept, listener, proxied)
