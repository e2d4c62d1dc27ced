"""The sender for plain threads: a thread of its own runs the loop."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import zmq

from services.sender.connections import Connection
from services.sender.loops import Event
from services.sender.shells import Shell
from shared.errors import SenderError


class PipeWaker:
    """Waits in zmq_poll; a byte in a pipe ends it."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._connection: Connection | None = None
        self._poller = zmq.Poller()
        self._watch(None)

    def wake(self) -> None:
        # A full pipe means that it is awake anyway.
        with suppress(BlockingIOError):
            os.write(self._write_end, b"!")

    def wait(self, connection: Connection | None, timeout: float | None) -> None:
        if connection is not self._connection:
            self._watch(connection)
        ready = self._poller.poll(None if timeout is None else int(timeout * 1000) + 1)
        if any(source == self._read_end for source, _ in ready):
            os.read(self._read_end, 4096)

    def _watch(self, connection: Connection | None) -> None:
        self._connection, self._poller = connection, zmq.Poller()
        self._poller.register(self._read_end, zmq.POLLIN)
        for socket in connection.sockets if connection else ():
            self._poller.register(socket, zmq.POLLIN)

    def forget(self) -> None:
        self._watch(None)

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


class Threads:
    """Concurrency by threads."""

    def lock(self) -> AbstractContextManager[Any]:
        return threading.Lock()

    def event(self) -> Event:
        return threading.Event()

    def waker(self) -> PipeWaker:
        return PipeWaker()

    def start(self, run: Callable[[], None]) -> None:
        monkey = sys.modules.get("gevent.monkey")
        if monkey is not None and monkey.is_module_patched("threading"):
            # The thread would be a greenlet, and zmq_poll would stop the hub.
            raise SenderError("wrong_shell", "threading is monkey-patched: use services.sender.gevent")
        threading.Thread(target=run, name="push-sender", daemon=True).start()


class Sender(Shell):
    """A sender for any number of threads. Use `services.sender.gevent.Sender` under gevent."""

    concurrency = Threads()
