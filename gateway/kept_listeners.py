"""Listeners of workers that have left, kept for their successors.

A listener that is closed takes along whoever waits in its queue: they would see a reset. So a worker that leaves passes
its listeners to another of its host, which accepts from them and gives them to the successor when that starts and asks
(`gateway.listeners.fetch_listeners`), over a socket of their own (Unix, SOCK_SEQPACKET, in the directory of the
hand-over sockets).
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent

from gateway.acceptors import Acceptor
from gateway.hand_overs import index_of
from gateway.ledgers import Ledger
from gateway.peers import peer_uid

logger = logging.getLogger(__name__)

_READ = 1
#: Of the two listeners, which one's connections begin with a PROXY header.
_PROXIED = (False, True)


class KeptListeners:
    """By index of the worker that has left. `path_of(index)`: where its successor asks."""

    def __init__(self, acceptor: Acceptor, ledger: Ledger, path_of: Callable[[int], Path]) -> None:
        self._acceptor = acceptor
        self._ledger = ledger
        self._path_of = path_of
        self._kept: dict[int, _Kept] = {}

    def keep(self, worker: str, descriptors: Sequence[int]) -> bool:
        """Accept from a worker's listeners from now on; False if these are not the two."""
        index = index_of(worker)
        for descriptor in descriptors:
            self._ledger.keep_listener(descriptor, index)
        if not self.go_on(index, descriptors):
            return False
        logger.info("accepting for worker %s, which has left", worker)
        return True

    def go_on(self, index: int, descriptors: Sequence[int]) -> bool:
        """The same, for those that a predecessor of this process kept. It may have died before it had both."""
        if len(descriptors) != len(_PROXIED):
            for descriptor in descriptors:
                self._ledger.leave(descriptor)
                os.close(descriptor)
            return False
        self.drop(index)
        listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for listener, proxied in zip(listeners, _PROXIED, strict=True):
            listener.setblocking(False)
            self._acceptor.listen(listener, proxied)
        self._kept[index] = _Kept(self._path_of(index), listeners, lambda: self._given(index))
        return True

    def _given(self, index: int) -> None:
        """The successor has them."""
        self._forget(index)
        logger.info("listeners of worker %d given to its successor", index)

    def drop(self, index: int) -> None:
        """Accept no more from those of worker `index`, after whoever waits there."""
        if index in self._kept:
            for listener in self._kept[index].listeners:
                self._acceptor.empty(listener)
            self._forget(index)

    def _forget(self, index: int) -> None:
        kept = self._kept.pop(index)
        kept.stop()
        for listener in kept.listeners:
            self._acceptor.ignore(listener)
            self._ledger.leave(listener.fileno())
            listener.close()

    def take_all(self) -> list[tuple[int, list[int]]]:
        """(index, descriptors) of all that are kept, for another worker to keep: this one leaves."""
        for kept in self._kept.values():
            kept.stop()  # the path is the next one's
        return [(index, [listener.fileno() for listener in kept.listeners]) for index, kept in self._kept.items()]

    def close(self) -> None:
        """Keep nothing any more."""
        for index in list(self._kept):
            self.drop(index)


class _Kept:
    """Two listeners, and the socket at which their worker's successor asks for them."""

    def __init__(self, path: Path, listeners: list[socket.socket], given: Callable[[], None]) -> None:
        self.listeners = listeners
        self._path, self._given = path, given
        self._open = True
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._watcher: Any = gevent.get_hub().loop.io(self._socket.fileno(), _READ)
        self._watcher.start(self._asked)

    def _asked(self) -> None:
        try:
            asker, _ = self._socket.accept()
        except OSError:
            return  # it has gone again
        with asker:
            if peer_uid(asker) != os.getuid():
                logger.warning("listeners are not given to another user")
                return
            try:
                socket.send_fds(asker, [b"L"], [listener.fileno() for listener in self.listeners])
            except OSError as error:
                logger.warning("listeners could not be given: %s", error)
                return
        self._given()

    def stop(self) -> None:
        """Nobody is to ask here any more."""
        if self._open:
            self._open = False
            self._watcher.stop()
            self._socket.close()
            self._path.unlink(missing_ok=True)
