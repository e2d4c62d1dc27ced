"""The loop around the protocol: one connection, the clock, and the callers that wait. It holds no rules."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any
from typing import Protocol as Interface

import zmq

from services.sender.connections import Connection, CurveKeys
from services.sender.protocol import Protocol
from services.sender.tickets import Ticket
from shared.errors import SenderError

logger = logging.getLogger(__name__)


class Event(Interface):
    """threading.Event, or gevent's."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> Any: ...


class Waker(Interface):
    """Lets the loop wait for its connection and for callers at once."""

    def wake(self) -> None:
        """Ends the present `wait`, or the next one. Called with the lock held."""

    def wait(self, connection: Connection | None, timeout: float | None) -> None:
        """Blocks until something is readable, `wake` was called or `timeout` seconds have passed."""

    def forget(self) -> None:
        """The connection that was waited for is about to be closed."""

    def close(self) -> None: ...


class Concurrency(Interface):
    """What threads and greenlets do differently."""

    def lock(self) -> AbstractContextManager[Any]: ...
    def event(self) -> Event: ...
    def waker(self) -> Waker: ...

    def start(self, run: Callable[[], None]) -> None:
        """Runs the loop beside the callers. Raises SenderError if that cannot be."""


class Loop:
    """Runs a protocol on a socket. Callers touch `protocol` with `lock` held, then call `wake`.

    `room`, `ready` and `idle` are set while there is room for pushes, a router has answered, everything is answered;
    whoever wants to wait for one finds it unset under the lock and clears it. `ended` is set at the end.
    """

    def __init__(self, protocol: Protocol, concurrency: Concurrency, curve: CurveKeys | None) -> None:
        self.protocol = protocol
        self.lock = concurrency.lock()
        self.room, self.ready, self.idle, self.ended = [concurrency.event() for _ in range(4)]
        self._curve = curve
        self._connection: Connection | None = None
        self._stopping = self._awake = False
        self._waker = concurrency.waker()
        concurrency.start(self._run)

    def wake(self) -> None:
        """Something new is in the protocol. With the lock held."""
        if not self._awake:
            self._awake = True
            self._waker.wake()

    def stop(self) -> None:
        """Ends the loop, whatever is still open, and waits for its end."""
        with self.lock:
            if not self._stopping:
                self._stopping = True
                self._waker.wake()
        self.ended.wait()

    def _run(self) -> None:
        fault = SenderError("closed", "this sender is closed")
        context: zmq.Context[Any] = zmq.Context.instance()
        try:
            while not self._stopping:
                self._turn(context)
        except Exception:
            logger.exception("the sender's loop has failed")
            fault = SenderError("internal", "the sender's loop has failed: see the log")
        finally:
            self._end(fault)

    def _turn(self, context: zmq.Context[Any]) -> None:
        self._reopen(context)
        connection, protocol = self._connection, self.protocol
        received = connection.receive() if connection else []
        fault = connection.fault() if connection else None
        with self.lock:
            self._awake = False
            now = monotonic()
            for frames in received:
                protocol.receive_message(frames, now)
            if fault:
                protocol.connection_lost(now, fault)
            messages = protocol.messages_to_send(now)
            answered = protocol.take_answered()
            self._tell()
            deadline = protocol.next_deadline(now)
        if connection and not connection.send(messages):
            with self.lock:
                protocol.connection_lost(monotonic(), "the connection ended")
                deadline = 0.0
        _announce(answered)
        timeout = None if deadline == float("inf") else max(0.0, deadline - monotonic())
        self._waker.wait(connection, timeout)

    def _reopen(self, context: zmq.Context[Any]) -> None:
        with self.lock:
            now = monotonic()
            endpoint = self.protocol.endpoint_to_open(now)
        if endpoint is None:
            return
        self._close_connection()
        fault = ""
        try:
            self._connection = Connection(context, endpoint, self.protocol.policy.window, self._curve)
        except zmq.ZMQError as error:
            fault = f"{endpoint}: {error}"
        with self.lock:
            self.protocol.connection_opened(now)
            if fault:
                self.protocol.connection_lost(now, fault)

    def _tell(self) -> None:
        """Sets the events whose time has come. With the lock held."""
        protocol = self.protocol
        if not self.room.is_set() and not protocol.is_full():
            self.room.set()
        if not self.idle.is_set() and protocol.is_idle():
            self.idle.set()
        if protocol.link.is_ready != self.ready.is_set():
            (self.ready.set if protocol.link.is_ready else self.ready.clear)()

    def _close_connection(self) -> None:
        if self._connection:
            self._waker.forget()
            self._connection.close()
            self._connection = None

    def _end(self, fault: SenderError) -> None:
        with self.lock:
            self._stopping = True
            self.protocol.close(fault)
            answered = self.protocol.take_answered()
        _announce(answered)
        self._close_connection()
        self._waker.close()
        for event in (self.room, self.idle, self.ended):
            event.set()


def _announce(answered: list[Ticket[Any]]) -> None:
    for ticket in answered:
        if ticket.signal is not None:
            ticket.signal.set()
        for callback in ticket.callbacks or ():
            call_back(callback, ticket)


def call_back(callback: Callable[[Any], None], ticket: Ticket[Any]) -> None:
    """Without harm to whoever calls it, if it fails."""
    try:
        callback(ticket)
    except Exception:
        logger.exception("a callback of a push has failed")
