"""Links to the other workers of this host: Unix SOCK_SEQPACKET with SCM_RIGHTS, in the hub, never blocking."""

import errno
import logging
import os
import socket
import struct
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent

from gateway.hand_over_messages import Give, HandOverMessage, Hello, Keep, decode, encode
from shared.errors import BusError

logger = logging.getLogger(__name__)

_READ, _WRITE = 1, 2
_MESSAGE_MAX = 1 << 20
_DESCRIPTORS_MAX = 253
_SEND_BUFFER = 1 << 20
_MESSAGES_PER_TURN = 16
#: Kernel limits on descriptors under way and on memory pass; nothing tells when, so sending is tried again after (s).
_RETRY_S = 0.02

#: (link, message, descriptors): the receiver owns the descriptors from now on.
Receive = Callable[["PeerLink", HandOverMessage, list[int]], None]


class PeerLink:
    """One connection to another worker. Messages go in order; what the kernel does not take waits."""

    def __init__(self, connection: socket.socket, receive: Receive, lost: Callable[["PeerLink"], None]) -> None:
        self.worker = ""  # known after its Hello, or because we called it
        self._socket = connection
        self._receive = receive
        self._lost = lost
        self._queue: deque[tuple[bytes, Sequence[int], Sequence[int]]] = deque()
        self._open = True
        loop = gevent.get_hub().loop
        self._reader = loop.io(connection.fileno(), _READ)
        self._writer = loop.io(connection.fileno(), _WRITE)
        self._retry = loop.timer(_RETRY_S)
        self._reader.start(self._readable)

    @property
    def open(self) -> bool:
        """False once it has been closed or has failed: nothing goes any more, and nothing comes."""
        return self._open

    def send(self, message: HandOverMessage, descriptors: Sequence[int] = (), owned: Sequence[int] = ()) -> None:
        """Send now or when the kernel has room. Those of the descriptors that are `owned` are closed behind it;
        the caller keeps the others open until the answer."""
        if not self._open:
            close_all(owned)
            return
        self._queue.append((encode(message), descriptors, owned))
        if len(self._queue) == 1:
            self._drain()

    def close(self) -> None:
        """Close without telling `lost`."""
        if self._open:
            self._open = False
            for watcher in (self._reader, self._writer, self._retry):
                watcher.stop()
            self._socket.close()
            for _, _, owned in self._queue:
                close_all(owned)
            self._queue.clear()

    def _drain(self) -> None:
        while self._queue and self._open:
            data, descriptors, owned = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
            try:
                self._socket.sendmsg([data], rights)
            except BlockingIOError:
                self._writer.start(self._writable)
                return
            except OSError as error:
                if error.errno in (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM):
                    self._retry.start(self._writable)
                    return
                self._fail(error)
                return
            self._queue.popleft()
            close_all(owned)

    def _writable(self) -> None:
        self._writer.stop()
        self._drain()

    def _readable(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            if not self._open:
                return
            try:
                data, rights, flags, _ = self._socket.recvmsg(_MESSAGE_MAX, socket.CMSG_SPACE(4 * _DESCRIPTORS_MAX))
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            descriptors = _descriptors(rights)
            if not data:
                self._fail(None)
                return
            self._deliver(data, descriptors, bool(flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)))

    def _deliver(self, data: bytes, descriptors: list[int], truncated: bool) -> None:
        """Give a message to its receiver; one that cannot be read costs its descriptors and the link."""
        try:
            message = decode(data)
        except BusError as error:
            logger.warning("hand-over link to %s: %s", self.worker or "?", error)
            close_all(descriptors)
            self._fail(None)
            return
        if message is None:
            close_all(descriptors)
            return
        if truncated or not isinstance(message, Give | Keep):
            close_all(descriptors)
            descriptors = []
        if isinstance(message, Hello):
            self.worker = message.worker
        try:
            self._receive(self, message, descriptors)
        except Exception:
            logger.exception("internal error in a hand-over from %s", self.worker)

    def _fail(self, error: OSError | None) -> None:
        if self._open:
            logger.info("hand-over link to %s ended%s", self.worker or "?", f": {error}" if error else "")
            self.close()
            self._lost(self)


class PeerListener:
    """The hand-over socket of this worker: accepts links from workers of the same user."""

    def __init__(self, path: Path, receive: Receive, lost: Callable[[PeerLink], None]) -> None:
        self._receive, self._lost = receive, lost
        self.links: list[PeerLink] = []
        path.unlink(missing_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self._socket.listen(128)
        loop = gevent.get_hub().loop
        self._watcher = loop.io(self._socket.fileno(), _READ)
        self._retry = loop.timer(_RETRY_S)
        self._watch()

    def _watch(self) -> None:
        self._watcher.start(self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is free: not again at once, and for ever
            self._watcher.stop()
            self._retry.start(self._watch)
            return
        if peer_uid(connection) != os.getuid():
            logger.warning("hand-over link from another user refused")
            connection.close()
            return
        connection.setblocking(False)
        self.links.append(PeerLink(connection, self._receive, self._gone))

    def _gone(self, link: PeerLink) -> None:
        self.links.remove(link)
        self._lost(link)

    def close(self) -> None:
        self._watcher.stop()
        self._retry.stop()
        self._socket.close()
        self._path.unlink(missing_ok=True)
        for link in self.links:
            link.close()
        self.links.clear()


def connect(path: str, own_name: str, worker: str, receive: Receive, lost: Callable[[PeerLink], None]) -> PeerLink:
    """A link to another worker's hand-over socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    link = PeerLink(connection, receive, lost)
    link.worker = worker
    link.send(Hello(own_name))
    return link


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _descriptors(rights: list[tuple[int, int, Any]]) -> list[int]:
    received: list[int] = []
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers = array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            received.extend(numbers)
    return received


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        os.close(descriptor)
