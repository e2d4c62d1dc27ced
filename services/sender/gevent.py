"""The sender for gevent: a greenlet runs the loop, in the hub of the thread that made it. Nothing is monkey-patched."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gevent
import zmq
from gevent.event import Event as GreenletEvent

from services.sender.connections import Connection
from services.sender.loops import Event
from services.sender.shells import Shell


class HubWaker:
    """Waits in the hub: watchers of the sockets' descriptors and `wake` set the same event."""

    def __init__(self) -> None:
        self._event = GreenletEvent()
        self._connection: Connection | None = None
        self._watchers: list[Any] = []

    def wake(self) -> None:
        self._event.set()

    def wait(self, connection: Connection | None, timeout: float | None) -> None:
        if connection is not self._connection:
            self._watch(connection)
        if connection and connection.is_readable():
            gevent.sleep(0)
        else:
            self._event.wait(timeout)
        self._event.clear()

    def _watch(self, connection: Connection | None) -> None:
        self.forget()
        self._connection = connection
        for socket in connection.sockets if connection else ():
            watcher = gevent.get_hub().loop.io(socket.getsockopt(zmq.FD), 1)
            watcher.start(self._event.set)
            self._watchers.append(watcher)

    def forget(self) -> None:
        self._connection = None
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers.clear()

    def close(self) -> None:
        self.forget()


class Greenlets:
    """Concurrency by greenlets."""

    def lock(self) -> AbstractContextManager[Any]:
        # Nothing switches while the protocol works, so greenlets need no lock.
        return nullcontext()

    def event(self) -> Event:
        event: Event = GreenletEvent()
        return event

    def waker(self) -> HubWaker:
        return HubWaker()

    def start(self, run: Callable[[], None]) -> None:
        gevent.spawn(run)


class Sender(Shell):
    """A sender for any number of greenlets of one hub."""

    concurrency = Greenlets()
