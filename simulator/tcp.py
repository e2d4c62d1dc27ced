"""Clients' TCP connections and listening sockets, the gateway's end of them."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Protocol

from simulator.files import OpenFile, fault
from simulator.worlds import World

if TYPE_CHECKING:
    from simulator.processes import Process


class FarEnd(Protocol):
    """The client of a connection."""

    def bytes_come(self) -> None:
        """There is something to read, or the end."""


class Watcher(Protocol):
    """Who checks who serves a connection."""

    def touched(self, stream: Stream, process: Process) -> None: ...
    def written(self, stream: Stream, data: bytes) -> None: ...


class Stream(OpenFile):
    """One connection. Buffers are bounded; a slow client leaves `outgoing` full."""

    kind = "stream"

    def __init__(self, world: World, number: int, client: FarEnd, watcher: Watcher, capacity: int) -> None:
        super().__init__()
        self.world, self.number, self.client, self.watcher = world, number, client, watcher
        self.capacity = capacity
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.consumed = 0  # bytes that the gateway has read
        self.written = 0  # bytes that it has written
        self.client_shut = self.client_gone = self.shut = self.reset = self.over = False

    # --- the gateway's side

    def readable(self) -> bool:
        return bool(self.incoming) or self.client_shut or self.reset

    def writable(self) -> bool:
        return len(self.outgoing) < self.capacity // 2 or self.reset

    def hung_up(self) -> bool:
        return self.reset or (self.shut and self.client_shut)

    def read(self, process: Process, size: int) -> bytes:
        self.watcher.touched(self, process)
        if self.reset:
            raise fault(errno.ECONNRESET)
        if not self.incoming:
            if self.client_shut:
                return b""
            raise BlockingIOError(errno.EAGAIN, "would block")
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        self.consumed += len(data)
        return data

    def write(self, process: Process, data: bytes) -> int:
        self.watcher.touched(self, process)
        if self.reset or self.shut:
            raise fault(errno.EPIPE)
        if self.client_gone:  # the first one still goes; then the client's kernel resets
            self.reset = True
            self.world.after(0.001, self.changed)
            self.watcher.written(self, data)
            return len(data)
        room = self.capacity - len(self.outgoing)
        if room <= 0:
            raise BlockingIOError(errno.EAGAIN, "would block")
        taken = data[:room]
        self.outgoing += taken
        self.written += len(taken)
        self.watcher.written(self, taken)
        self._tell_client()
        return len(taken)

    def shut_down(self, process: Process) -> None:
        self.watcher.touched(self, process)
        if self.client_gone or self.reset:
            raise fault(errno.ENOTCONN)
        self.shut = True
        self._tell_client()

    def released(self) -> None:
        self.over = True
        self._tell_client()

    def _tell_client(self) -> None:
        self.world.after(self.world.network.uniform(0.0002, 0.002), self.client.bytes_come)

    # --- the client's side

    @property
    def ended(self) -> bool:
        """Whether the client reads the end."""
        return not self.outgoing and (self.shut or self.over or self.reset)

    def take(self, size: int) -> bytes:
        """What the client reads."""
        data = bytes(self.outgoing[:size])
        del self.outgoing[:size]
        if data:
            self.changed()
        return data

    def send(self, data: bytes) -> None:
        """The client's bytes have arrived."""
        if not self.over:
            self.incoming += data
            self.changed()

    def close(self) -> None:
        """The client has closed."""
        self.client_shut = self.client_gone = True
        self.changed()


class ListenerFile(OpenFile):
    """A listening socket of the client port; connections wait in it while nobody accepts."""

    kind = "listener"

    def __init__(self, places: list[ListenerFile]) -> None:
        """`places`: where clients look for listeners; it is there while it is open."""
        super().__init__()
        self.queue: deque[Stream] = deque()
        self._places = places
        places.append(self)

    def readable(self) -> bool:
        return bool(self.queue)

    def connect(self, stream: Stream) -> None:
        stream.references += 1
        self.queue.append(stream)
        self.changed()

    def accept(self) -> Stream:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "would block")
        return self.queue.popleft()

    def released(self) -> None:
        self._places.remove(self)
        while self.queue:
            stream = self.queue.popleft()
            stream.reset = True
            stream.drop()
