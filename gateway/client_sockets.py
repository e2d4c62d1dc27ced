"""The clients' sockets, as far as they are written to and closed: who is here, out-buffers, last bytes.

Nothing here blocks or switches. `gateway.client_loop` reads.
"""

import logging
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gevent

from gateway.closing import ConnectionLogs, count_close
from gateway.connections import Connection, State
from gateway.ledgers import WRITING, Ledger, for_one_process
from gateway.sends import Data, SendEach, send, send_each
from gateway.streams import Event
from gateway.tables import ConnectionTable
from gateway.timer_wheel import TimerWheel
from shared.errors import RemoteError
from shared.outcomes import Outcome
from shared.reasons import CloseReason
from shared.settings import Settings

logger = logging.getLogger(__name__)

#: Descriptors kept free for the worker itself: hand-overs, bus, logs.
_RESERVED_DESCRIPTORS = 128
_WRITE_BYTES = 32 * 1024
#: How long a connection that has been shut down may take to close its side, ticks.
_LINGER_TICKS = 2
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Application(Protocol):
    """What is done with a connection's events. Called in the hub."""

    def handle(self, connection: Connection, event: Event) -> None:
        """One event; may write to or close the connection. Raises RemoteError to have it closed."""

    def fault(self, connection: Connection, error: RemoteError) -> None:
        """The peer is at fault: close the connection for `error.reason`."""

    def expired(self, connection: Connection) -> None:
        """The connection's deadline has passed: close it, or set a new one."""

    def closed(self, connection: Connection, reason: CloseReason) -> None:
        """The connection is no longer bound; its descriptor may live on for its last bytes."""

    def deadline(self, connection: Connection) -> int:
        """Seconds until the next deadline, after something complete has arrived."""


class ClientSockets:
    """Writes and closes; keeps the bounds of what waits to be written."""

    #: The system calls on clients' sockets that other modules make too; a simulation puts its own here.
    send_bytes: Callable[[int, Data], int] = staticmethod(send)
    send_each: SendEach = staticmethod(send_each)
    close_descriptor: Callable[[int], None] = staticmethod(os.close)

    def __init__(self, settings: Settings, counters: dict[str, int], ledger: Ledger | None) -> None:
        #: What a new worker finds when this one dies.
        self.ledger = ledger or for_one_process()
        self.table = ConnectionTable(self.ledger.note)
        self.wheel = TimerWheel(int(time.monotonic()))
        self.counters = counters
        self.application: Application
        #: By token, the request id of a push that found its client's buffer full.
        self.blamed: Mapping[bytes, str] = {}
        self.logs = ConnectionLogs()
        self._words = self.ledger.words
        self._settings = settings
        self._connections_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_DESCRIPTORS
        self._epoll = select.epoll()
        self._overloaded: set[Connection] = set()
        self._withheld: set[Connection] = set()  # what is written to them waits until `let_flow`
        self._loop = gevent.get_hub().loop

    @property
    def is_full(self) -> bool:
        """Whether no more connections may come: some descriptors are kept for the worker itself."""
        return self.table.count >= self._connections_max

    # --- turns of the hub

    def soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call when the present turn of the hub is over."""
        self._loop.run_callback(self.guarded, callback, *arguments)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call after some time; 0: when all that is ready now has had its turn.

        That is for work in slices: of callbacks (`soon`) up to 50 run in a row before the loop looks at a socket.
        """
        timer = self._loop.timer(seconds)
        timer.start(self._fire, timer, callback)

    def _fire(self, timer: Any, callback: Callable[..., None]) -> None:
        timer.close()
        self.guarded(callback)

    def guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Top of every turn: a bug of ours is logged with its traceback and counted, and the loop goes on."""
        try:
            callback(*arguments)
        except Exception:
            self.counters["internal_errors"] += 1
            logger.exception("internal error in %s", getattr(callback, "__qualname__", callback))

    # --- holding

    def adopt(self, connection: Connection, seconds: int, connection_id: int = 0) -> None:
        """Take charge of a connection with `seconds` to its deadline: accepted, or (with its id) handed over."""
        self.ledger.enter(connection, connection_id)
        self._watch(connection, seconds)

    def adopt_again(self, connection: Connection, seconds: int) -> None:
        """The same for one that is in the ledger already: it came back, or its worker died."""
        self.ledger.came_back(connection)
        self._watch(connection, seconds)

    def _watch(self, connection: Connection, seconds: int) -> None:
        self.table.add(connection)
        self._epoll.register(connection.fd, self._mask(connection))
        self.wheel.schedule(connection, self.wheel.tick + seconds)

    def _mask(self, connection: Connection) -> int:
        mask = 0 if connection.paused else _IN
        return mask | _OUT if connection.output and connection not in self._withheld else mask

    def let_go(self, connection: Connection) -> None:
        """Forget a connection that is handed over; its descriptor stays open for the caller."""
        self.table.remove(connection)
        self._overloaded.discard(connection)
        self._withheld.discard(connection)
        connection.full_since = 0
        self._epoll.unregister(connection.fd)

    # --- writing

    def write(self, connection: Connection, data: bytes) -> int:
        """Send, at once or from the out-buffer; the outcome: SENT, BUFFERED, OVERLOADED or OFFLINE (lost)."""
        if connection.fd < 0:
            return Outcome.OFFLINE
        if connection.output is not None:
            return self._append(connection, data)
        return self.write_rest(connection, data, 0)

    def write_rest(self, connection: Connection, data: bytes, sent: int) -> int:
        """The same for data of which the kernel has taken `sent` bytes, on a connection without an out-buffer."""
        self._words[WRITING] = connection.fd
        try:
            sent += self.send_bytes(connection.fd, data[sent:] if sent else data)
        except BlockingIOError:
            pass
        except OSError:
            self._words[WRITING] = -1
            self.destroy(connection, CloseReason.IO_ERROR)
            return Outcome.OFFLINE
        if sent == len(data):
            self._words[WRITING] = -1
            return Outcome.SENT
        connection.output = bytearray(data[sent:])
        self.ledger.mark(connection)
        self._words[WRITING] = -1
        self._epoll.modify(connection.fd, _OUT if connection.paused else _IN | _OUT)
        return Outcome.BUFFERED

    def _append(self, connection: Connection, data: bytes) -> int:
        output = connection.output
        assert output is not None
        if len(output) + len(data) <= self._settings.out_buffer_bytes:
            output += data
            return Outcome.BUFFERED
        if not connection.full_since:
            connection.full_since = self.wheel.tick
            self._overloaded.add(connection)
        return Outcome.OVERLOADED

    def answer(self, connection: Connection, data: bytes) -> None:
        """Send an answer. It may not be dropped: a client that asks without reading is closed as a slow consumer."""
        if self.write(connection, data) == Outcome.OVERLOADED:
            self.destroy(connection, CloseReason.SLOW_CONSUMER)

    def withhold(self, connection: Connection, data: bytes) -> None:
        """Send an answer, and whatever comes behind it, when `let_flow` says so, or the connection goes."""
        if connection.fd < 0:
            return
        self._withheld.add(connection)
        if connection.output is None:
            connection.output = bytearray(data)
            self.ledger.mark(connection)
            return
        self.answer(connection, data)
        if connection.fd >= 0:
            self._epoll.modify(connection.fd, self._mask(connection))

    def let_flow(self, connection: Connection) -> None:
        """Send what is withheld."""
        if connection not in self._withheld:
            return
        self._withheld.discard(connection)
        self._overloaded.discard(connection)
        connection.full_since = 0
        output, connection.output = connection.output, None
        if output and self.write_rest(connection, bytes(output), 0) == Outcome.SENT:
            self.ledger.mark(connection)

    def _flush(self, connection: Connection) -> None:
        output = connection.output
        if output is None or connection.fd < 0 or connection in self._withheld:
            return
        try:
            sent = self.send_bytes(connection.fd, memoryview(output)[:_WRITE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self.destroy(connection, CloseReason.IO_ERROR)
            return
        del output[:sent]
        if connection.full_since and sent:
            connection.full_since = 0
            self._overloaded.discard(connection)
        if not output:
            connection.output = None
            self.ledger.mark(connection)
            if connection.state == State.CLOSING:
                self._shut_down(connection)
            else:
                self._epoll.modify(connection.fd, 0 if connection.paused else _IN)

    # --- closing

    def close(self, connection: Connection, reason: CloseReason, data: bytes = b"", detail: str = "") -> None:
        """Send last bytes, stop sending, and close when the peer has closed or a moment has passed.

        Closing at once would make the kernel send a reset, which can overtake the last bytes.
        """
        if connection.fd < 0 or connection.state == State.CLOSING:
            return
        self.let_flow(connection)
        if data and connection.output is not None:
            connection.output += data
        elif data:
            self.write(connection, data)
        if connection.fd < 0:
            return
        self._end(connection, reason, detail)
        self._overloaded.discard(connection)
        self.wheel.schedule(connection, self.wheel.tick + _LINGER_TICKS)
        if connection.output is None:
            self._shut_down(connection)

    def destroy(self, connection: Connection, reason: CloseReason, detail: str = "") -> None:
        """Close at once."""
        fd = connection.fd
        if fd < 0:
            return
        self._end(connection, reason, detail)
        self.let_go(connection)
        connection.fd = -1
        connection.output = connection.input = None
        self.ledger.leave(fd)
        os.close(fd)

    def _end(self, connection: Connection, reason: CloseReason, detail: str) -> None:
        if connection.state == State.CLOSING:
            return
        connection.state = State.CLOSING
        self.ledger.closing(connection.fd)
        connection.input = connection.partial = None
        self.table.release(connection)
        count_close(self.counters, reason)
        self.logs.closed(connection, reason, detail)
        self.application.closed(connection, reason)

    def _shut_down(self, connection: Connection) -> None:
        shell = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=connection.fd)
        try:
            shell.shutdown(socket.SHUT_WR)
        except OSError:
            shell.detach()
            self.destroy(connection, CloseReason.IO_ERROR)
            return
        shell.detach()
        connection.paused = False
        self._epoll.modify(connection.fd, _IN)

    def close_slow(self, tick: int) -> None:
        """Close those whose out-buffer has been full for too long."""
        for connection in list(self._overloaded):
            if tick - connection.full_since >= self._settings.slow_consumer_s:
                push = self.blamed.get(connection.token or b"")
                self.destroy(connection, CloseReason.SLOW_CONSUMER, f"request_id={push}" if push else "")
