"""The worker's end of the bus: a DEALER to one router, served in the hub.

The descriptor of a ZeroMQ socket is edge-triggered: after every receive and every send ZMQ_EVENTS must be
looked at again, and what is there drained, or the next message goes unnoticed.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import zmq
from zmq import zmq_poll

from gateway.bus_keys import BusKeys

logger = logging.getLogger(__name__)

_READ = 1
#: Plain integers, frame by frame: pyzmq's multipart calls combine flag enums, which costs more than sending does.
_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_MESSAGES_PER_TURN = 32
#: Answers that wait for a router that is gone; more are dropped, and their pushes become UNKNOWN by time-out there.
_SEND_HIGH_WATER = 10_000

Frames = list[bytes]


class BusLink:
    """Receives in bounded turns and always goes on receiving; sending never waits. ZeroMQ connects again by itself."""

    def __init__(
        self,
        endpoint: str,
        identity: bytes,
        guarded: Callable[..., None],
        counters: dict[str, int],
        context: "zmq.Context[zmq.Socket[bytes]]",
        keys: BusKeys | None = None,
    ) -> None:
        """`context` is the caller's to end, behind `close`; with `keys` the link is CURVE."""
        self.receive: Callable[[Frames], None]
        #: Messages are taken again, after one was dropped.
        self.freed: Callable[[], None] = lambda: None
        self._guarded = guarded
        self._counters = counters
        self._socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.setsockopt(zmq.SNDHWM, _SEND_HIGH_WATER)
        self._socket.setsockopt(zmq.RCVHWM, 1000)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        if keys:
            self._socket.curve_publickey = keys.own.public.encode()
            self._socket.curve_secretkey = keys.own.secret.encode()
            self._socket.curve_serverkey = keys.server.encode()
        self._socket.connect(endpoint)
        self._loop: Any = gevent.get_hub().loop
        self._watcher = self._loop.io(self._socket.getsockopt(zmq.FD), _READ)
        self._turn: Any = self._loop.timer(0)
        self._scheduled = self._full = False
        # Asking costs 1 us, a zmq.Again 3 to 5.
        self._readable = [(self._socket, int(zmq.POLLIN))]
        self._writable = [(self._socket, int(zmq.POLLOUT))]

    def start(self) -> None:
        self._watcher.start(self._drain)
        self._again()

    def send(self, frames: Sequence[bytes]) -> bool:
        """Send, or drop and count when the bound is hit; False then."""
        if self._socket.closed:
            return False
        try:
            send = self._socket.send
            for frame in frames[:-1]:
                send(frame, _NOBLOCK_MORE)
            send(frames[-1], _NOBLOCK)
        except zmq.Again:
            self._counters["bus_drops"] += 1
            self._full = True
            self._again()
            return False
        self._again()
        return True

    def _again(self) -> None:
        """Look at ZMQ_EVENTS when this turn of the hub is over."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.run_callback(self._drain)

    def _drain(self) -> None:
        if self._socket.closed:
            return
        self._scheduled = True  # what is sent from here on needs no other look
        more = True
        if self._full and zmq_poll(self._writable, 0):
            self._full = False
            self._guarded(self.freed)
        try:
            more = self._receive_some()
        finally:
            if more:
                # A timer lets every other watcher have its turn; of callbacks 50 run in a row before one has.
                self._turn.start(self._drain)
            else:
                self._scheduled = False

    def _receive_some(self) -> bool:
        """One turn's worth of messages; whether there may be more."""
        receive: Any = self._socket.recv
        for _ in range(_MESSAGES_PER_TURN):
            if not zmq_poll(self._readable, 0):
                return False
            frame = receive(_NOBLOCK, False)
            frames = [frame.bytes]
            while frame.more:
                frame = receive(_NOBLOCK, False)
                frames.append(frame.bytes)
            self._guarded(self.receive, frames)
        return True

    def close(self) -> None:
        """Close; what waits is still sent, for a second at most, while the context ends."""
        self._watcher.stop()
        self._turn.stop()
        self._socket.close()
