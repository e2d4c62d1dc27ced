"""Waits for several connections, and for other threads, at once."""

import os
from collections.abc import Iterable
from contextlib import suppress

import zmq

from services.sender.connections import Connection


class Waker:
    """zmq_poll over all connections; a byte in a pipe ends it."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self.watch(())

    def watch(self, connections: Iterable[Connection]) -> None:
        """From now on these alone. To be called before one is closed."""
        self._poller = zmq.Poller()
        self._poller.register(self._read_end, zmq.POLLIN)
        for connection in connections:
            for socket in connection.sockets:
                self._poller.register(socket, zmq.POLLIN)

    def wake(self) -> None:
        """Ends the present `wait`, or the next one. From any thread, and from a signal handler."""
        # A full pipe means that it is awake anyway.
        with suppress(BlockingIOError):
            os.write(self._write_end, b"!")

    def wait(self, timeout: float | None) -> None:
        """Until something is readable, `wake` was called or `timeout` seconds have passed."""
        ready = self._poller.poll(None if timeout is None else int(timeout * 1000) + 1)
        if any(source == self._read_end for source, _ in ready):
            os.read(self._read_end, 4096)

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)
