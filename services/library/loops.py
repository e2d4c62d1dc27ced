"""The loop around the protocol: a connection to each router, and the clock. It holds no rules, and runs no handler."""

import logging
import threading
import time
from collections.abc import Sequence
from time import monotonic
from typing import Any

import zmq

from services.library.asks import Told
from services.library.protocol import Phase, Protocol
from services.library.wakers import Waker
from services.sender.connections import Connection, CurveKeys

logger = logging.getLogger(__name__)

#: A bug that comes again every turn must not eat the processor and the disk.
_AFTER_BUG_S = 0.05


class Loop:
    """Whoever touches `protocol` does so with `lock` held, then calls `wake`.

    `work` tells threads that there may be some; `changed` whoever waits for a link. Both go with the lock.
    """

    def __init__(self, protocol: Protocol, keys: Sequence[CurveKeys | None]) -> None:
        self.protocol = protocol
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)
        self.changed = threading.Condition(self.lock)
        self.ended = False
        self._keys = keys
        self._connections: dict[int, Connection] = {}
        self._waker = Waker()
        self._leave_at_most: float | None = None  # seconds, once it is to leave
        self._deadline = float("inf")

    def wake(self) -> None:
        """Something new is in the protocol."""
        self._waker.wake()

    def leave(self, seconds: float) -> None:
        """Has it answer what it has, for so many seconds at most, and end. Safe in a signal handler."""
        self._leave_at_most = seconds
        self._waker.wake()

    def run(self) -> bool:
        """Until it has left. True: nothing was left unanswered."""
        context: zmq.Context[Any] = zmq.Context.instance()
        try:
            while not self._is_over():
                self._safe_turn(context)
        finally:
            self._end()
        return self.protocol.phase is Phase.LEFT

    def _is_over(self) -> bool:
        if self._leave_at_most is not None and self._deadline == float("inf"):
            self._deadline = monotonic() + self._leave_at_most
            with self.lock:
                self.protocol.leave()
        return self.protocol.phase is Phase.LEFT or monotonic() >= self._deadline

    def _safe_turn(self, context: zmq.Context[Any]) -> None:
        try:
            self._turn(context)
        except Exception:
            logger.exception("internal error in the service's loop")
            time.sleep(_AFTER_BUG_S)

    def _turn(self, context: zmq.Context[Any]) -> None:
        self._reopen(context)
        received = [(number, each.receive(), each.fault()) for number, each in self._connections.items()]
        with self.lock:
            now, protocol = monotonic(), self.protocol
            for number, messages, fault in received:
                for frames in messages:
                    protocol.receive_message(number, frames, now)
                if fault:
                    protocol.connection_lost(number, now, fault)
            to_send = protocol.messages_to_send(now)
            told, events = protocol.take_told(), protocol.take_events()
            deadline = min(protocol.deadline(), self._deadline)
            self.work.notify(protocol.ready)
            self.changed.notify_all()
        self._send(to_send)
        _pass_on(told, events)
        if self.protocol.phase is not Phase.LEFT:
            self._waker.wait(None if deadline == float("inf") else max(0.0, deadline - monotonic()))

    def _reopen(self, context: zmq.Context[Any]) -> None:
        with self.lock:
            numbers = self.protocol.links_to_open(monotonic())
        for number in numbers:
            fault = self._open(context, number)
            with self.lock:
                now = monotonic()
                self.protocol.connection_opened(number, now)
                if fault:
                    self.protocol.connection_lost(number, now, fault)
        if numbers:
            self._waker.watch(self._connections.values())

    def _open(self, context: zmq.Context[Any], number: int) -> str:
        """What is wrong with it, or nothing."""
        self._close(number)
        endpoint, window = self.protocol.links[number].endpoint, self.protocol.policy.window
        try:
            self._connections[number] = Connection(context, endpoint, window, self._keys[number])
        except zmq.ZMQError as error:
            return f"{endpoint}: {error}"
        return ""

    def _send(self, messages: list[tuple[int, list[bytes]]]) -> None:
        lost: set[int] = set()
        for number, frames in messages:
            if number not in lost and not self._connections[number].send([frames]):
                lost.add(number)
        with self.lock:
            for number in lost:
                self.protocol.connection_lost(number, monotonic(), "it takes no more messages")
        if lost:
            self._waker.wake()

    def _close(self, number: int) -> None:
        if connection := self._connections.pop(number, None):
            self._waker.watch(self._connections.values())
            connection.close()

    def _end(self) -> None:
        with self.lock:
            self.ended = True
            self.protocol.close()
            told = self.protocol.take_told()
            self.work.notify_all()
            self.changed.notify_all()
        _pass_on(told, [])
        for number in list(self._connections):
            self._close(number)


def _pass_on(told: Sequence[Told], events: Sequence[str]) -> None:
    for event in events:
        logger.info("%s", event)
    for ask, answer in told:
        try:
            ask.told(answer)
        except Exception:
            logger.exception("a callback of a call has failed")
