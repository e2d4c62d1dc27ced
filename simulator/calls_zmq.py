"""Simulated `zmq`, the worker's end: DEALER sockets whose descriptor is edge-triggered, as ZeroMQ's is."""

import errno
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import zmq

from simulator.bus import Dealer, Exchange, Link
from simulator.calls_os import Constants
from simulator.files import OpenFile
from simulator.worlds import caller, present

Frames = list[bytes]


class Frame(NamedTuple):
    """One frame received."""

    bytes: bytes
    more: bool


class SignalFile(OpenFile):
    """What ZMQ_FD names: ready once when something comes to a socket whose reader has seen it empty."""

    kind = "zmq"

    def __init__(self) -> None:
        super().__init__()
        self.signalled = False
        self.owner: DealerSocket | None = None

    def readable(self) -> bool:
        return self.signalled

    def released(self) -> None:
        if self.owner is not None:
            self.owner.process_gone()


class DealerSocket:
    """zmq.Socket of a worker."""

    def __init__(self) -> None:
        self._process = caller()
        self._identity = b""
        self._high_water = 1000
        self._dealer: Dealer | None = None
        self._inbox: deque[Frames] = deque()
        self._frames: deque[Frame] = deque()
        self._outgoing: Frames = []
        self._asleep = True
        self._file = SignalFile()
        self._file.owner = self
        self._number = self._process.descriptors.install(self._file)
        self.closed = False

    def setsockopt(self, option: int, value: Any) -> None:
        if option == zmq.IDENTITY:
            self._identity = value
        elif option == zmq.SNDHWM:
            self._high_water = value

    set = setsockopt

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name == "closed":
            object.__setattr__(self, name, value)
        else:  # options set as attributes
            self.setsockopt(getattr(zmq, name.upper()), value)

    def getsockopt(self, option: int) -> int:
        self._awake()
        if option == zmq.FD:
            return self._number
        if option == zmq.EVENTS:
            return (zmq.POLLIN if self.readable() else 0) | zmq.POLLOUT
        return 0

    get = getsockopt

    def connect(self, endpoint: str) -> None:
        if self._dealer is None:
            exchange: Exchange = present().exchange
            self._dealer = Dealer(exchange, self._identity.decode(), self._process.host.name, self._high_water)
            self._dealer.arrived = self._arrived
        self._dealer.connect(endpoint)

    @property
    def links(self) -> list[Link]:
        return self._dealer.links if self._dealer else []

    def _arrived(self, frames: Frames) -> None:
        self._inbox.append(frames)
        if self._asleep:
            self._asleep = False
            self._file.signalled = True
            self._file.changed()

    def _awake(self) -> None:
        """Every call on the socket takes the signal in."""
        self._process.system_call()
        self._file.signalled = False

    def writable(self) -> bool:
        self._awake()
        return all(link.has_room for link in self.links)

    def readable(self) -> bool:
        self._awake()
        waits = bool(self._frames or self._inbox)
        self._asleep = not waits
        return waits

    def poll(self, timeout: int = 0, flags: int = 0) -> int:
        return int(zmq.POLLIN) if self.readable() else 0

    def send(self, frame: bytes, flags: int = 0, copy: bool = True) -> None:
        if not self._outgoing:
            self._awake()
        self._outgoing.append(bytes(frame))
        if flags & zmq.SNDMORE:
            return
        frames, self._outgoing = self._outgoing, []
        assert self._dealer is not None
        assert len(self._dealer.links) == 1, "one link for each DEALER"
        if not self._dealer.links[0].to_router(frames):
            raise zmq.Again

    def send_multipart(self, frames: Sequence[bytes], flags: int = 0) -> None:
        for frame in frames[:-1]:
            self.send(frame, int(zmq.SNDMORE))
        self.send(frames[-1])

    def recv(self, flags: int = 0, copy: bool = True) -> Any:
        if not self._frames:
            if not self.readable():
                raise zmq.Again
            frames = self._inbox.popleft()
            self._frames.extend(Frame(frame, at + 1 < len(frames)) for at, frame in enumerate(frames))
        frame = self._frames.popleft()
        return frame.bytes if copy else frame

    def close(self, linger: Any = None) -> None:
        if not self.closed:
            self.closed = True
            self._file.owner = None
            self._process.descriptors.close(self._number)
            if self._dealer is not None:
                self._dealer.close()

    def process_gone(self) -> None:
        """The descriptor went with its process."""
        if self._dealer is not None:
            self._dealer.close(linger=False)


class Context:
    """zmq.Context."""

    def socket(self, kind: int) -> DealerSocket:
        assert kind == zmq.DEALER, "a worker has DEALERs alone"
        return DealerSocket()

    def term(self) -> None: ...

    def destroy(self, linger: Any = None) -> None: ...

    def set(self, option: int, value: Any) -> None: ...


def _poll(sockets: Sequence[tuple[DealerSocket, int]], timeout: float = 0) -> list[tuple[DealerSocket, int]]:
    return [(socket, events) for socket, events in sockets if _is_ready(socket, events)]


def _is_ready(socket: DealerSocket, events: int) -> bool:
    return socket.readable() if events & zmq.POLLIN else socket.writable()


class Zmq(Constants):
    """The module."""

    Context = Context
    Socket = DealerSocket
    Again, ZMQError = zmq.Again, zmq.ZMQError
    zmq_poll = staticmethod(_poll)
    EHOSTUNREACH = errno.EHOSTUNREACH

    def __init__(self) -> None:
        super().__init__(zmq)

    def __getattr__(self, name: str) -> Any:
        value = getattr(zmq, name)
        return int(value) if isinstance(value, int) else super().__getattr__(name)
