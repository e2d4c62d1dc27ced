"""SOCK_SEQPACKET sockets of one host, with descriptors under way (SCM_RIGHTS)."""

from __future__ import annotations

import errno
from collections import deque

from simulator.files import OpenFile, fault

#: Messages and bytes that wait in a socket before its peer must wait.
_QUEUE_MAX, _QUEUE_BYTES = 24, 400_000


class UnixListener(OpenFile):
    """A bound socket; `path` is on its host."""

    kind = "unix listener"

    def __init__(self) -> None:
        super().__init__()
        self.queue: deque[UnixSocket] = deque()

    def readable(self) -> bool:
        return bool(self.queue)

    def accept(self) -> UnixSocket:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "would block")
        return self.queue.popleft()

    def released(self) -> None:
        while self.queue:
            self.queue.popleft().drop()


class UnixSocket(OpenFile):
    """One end of a connection. Descriptors under way are references to their files."""

    kind = "unix socket"

    def __init__(self) -> None:
        super().__init__()
        self.peer: UnixSocket | None = None
        self.inbox: deque[tuple[bytes, list[OpenFile]]] = deque()
        self.bytes = 0
        self.peer_gone = self.peer_was_rude = False

    def connect(self, listener: UnixListener | None) -> None:
        if listener is None:
            raise fault(errno.ENOENT)
        if not listener.references:
            raise fault(errno.ECONNREFUSED)
        other = UnixSocket()
        self.peer, other.peer = other, self
        other.references += 1
        listener.queue.append(other)
        listener.changed()

    def readable(self) -> bool:
        return bool(self.inbox) or self.peer_gone

    def writable(self) -> bool:
        return self.peer_gone or (self.peer is not None and not self.peer.full)

    def hung_up(self) -> bool:
        return self.peer_gone

    @property
    def full(self) -> bool:
        return len(self.inbox) >= _QUEUE_MAX or self.bytes >= _QUEUE_BYTES

    def send(self, data: bytes, files: list[OpenFile]) -> None:
        if self.peer_gone or self.peer is None:
            raise fault(errno.EPIPE)
        if self.peer.full:
            raise BlockingIOError(errno.EAGAIN, "would block")
        for file in files:
            file.references += 1
        self.peer.inbox.append((data, files))
        self.peer.bytes += len(data)
        self.peer.changed()

    def receive(self) -> tuple[bytes, list[OpenFile]]:
        """A message; its files keep the reference they had under way. Empty at the end."""
        if not self.inbox:
            if self.peer_was_rude:
                self.peer_was_rude = False
                raise fault(errno.ECONNRESET)
            if self.peer_gone:
                return b"", []
            raise BlockingIOError(errno.EAGAIN, "would block")
        data, files = self.inbox.popleft()
        self.bytes -= len(data)
        if self.peer is not None:
            self.peer.changed()
        return data, files

    def breaks(self) -> None:
        """The connection ends, as if by a fault of the kernel: what is under way is lost."""
        for end in (self, self.peer):
            if end is not None:
                end._lose_inbox()
                end.peer_gone = True
        other, self.peer = self.peer, None
        if other is not None:
            other.peer = None
            other.changed()
        self.changed()

    def _lose_inbox(self) -> None:
        while self.inbox:
            for file in self.inbox.popleft()[1]:
                file.drop()

    def released(self) -> None:
        unread = bool(self.inbox)
        self._lose_inbox()
        if self.peer is not None:
            self.peer.peer, self.peer.peer_gone, self.peer.peer_was_rude = None, True, unread
            self.peer.changed()
            self.peer = None
