"""The clients' sockets: one epoll set for all of them, itself watched by the gevent hub.

Everything here runs in the hub: it never blocks and never switches. What a message means is the
application's business (`gateway.conversations` in a worker, an echo in the conformance tests).
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
from gateway.ledgers import READING, WRITING, Ledger, for_one_process
from gateway.sends import LANGUAGE, Data, SendEach, send, send_each
from gateway.streams import Event, StreamLimits, next_event
from gateway.tables import ConnectionTable
from gateway.timer_wheel import TimerWheel
from shared.errors import RemoteError
from shared.outcomes import Outcome
from shared.reasons import CloseReason
from shared.settings import Settings

logger = logging.getLogger(__name__)

#: Descriptors kept free for the worker itself: hand-overs, bus, logs.
_RESERVED_DESCRIPTORS = 128
READ_BYTES = 32 * 1024
_EVENTS_PER_TURN = 256
#: How long a connection that has been shut down may take to close its side, ticks.
_LINGER_TICKS = 2
_GONE = select.EPOLLHUP | select.EPOLLERR
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_WATCH_READ = 1  # libev's EV_READ


class Hold:
    """Why a connection is held (`ClientLoop.hold`). Bits."""

    MOVE = 1  # it is to go to another worker when nothing is owed to it any more
    ANSWER = 2  # what it says next depends on an answer that it awaits
    CALLS = 4  # it awaits as many as it may
    BIND = 8  # it is to be bound anew when nothing is owed to it any more


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


class ClientLoop:
    """Reads, writes and closes; keeps deadlines, rates and bounds. `gateway.acceptors` brings connections in."""

    #: The system calls on clients' sockets that other modules make too; a simulation puts its own here.
    send_bytes: Callable[[int, Data], int] = staticmethod(send)
    send_each: SendEach = staticmethod(send_each)
    close_descriptor: Callable[[int], None] = staticmethod(os.close)

    def __init__(
        self, settings: Settings, stream_limits: StreamLimits, counters: dict[str, int], ledger: Ledger | None = None
    ) -> None:
        #: What a new worker finds when this one dies.
        self.ledger = ledger or for_one_process()
        self.table = ConnectionTable(self.ledger.note)
        self._words = self.ledger.words
        self.wheel = TimerWheel(int(time.monotonic()))
        self._lost = 0  # seconds of the clock that the wheel leaves out
        self.counters = counters
        self.application: Application
        self._settings = settings
        self._stream_limits = stream_limits
        self._connections_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_DESCRIPTORS
        self._epoll = select.epoll()
        self._throttled: list[Connection] = []
        self._overloaded: set[Connection] = set()
        #: By token, the request id of a push that found its client's buffer full.
        self.blamed: Mapping[bytes, str] = {}
        self.logs = ConnectionLogs()
        self._held: dict[Connection, int] = {}  # paused until `release`: why, bits of Hold
        self._withheld: set[Connection] = set()  # what is written to them waits until `let_flow`
        self._on_tick: list[Callable[[int], None]] = []
        self._loop = gevent.get_hub().loop
        self._watcher = self._loop.io(self._epoll.fileno(), _WATCH_READ)
        self._timer = self._loop.timer(0.25, 0.25)

    @property
    def is_full(self) -> bool:
        """Whether no more connections may come: some descriptors are kept for the worker itself."""
        return self.table.count >= self._connections_max

    # --- life

    def start(self, application: Application) -> None:
        self.application = application
        logger.info("sends to clients are made in %s", LANGUAGE)
        self._watcher.start(self.guarded, self._serve_ready)
        self._timer.start(self.guarded, self._tick)

    def stop(self) -> None:
        """Watch no socket and no clock any more. The clients' descriptors stay open."""
        self._watcher.stop()
        self._timer.stop()
        self._epoll.close()

    def each_tick(self, callback: Callable[[int], None]) -> None:
        """Call `callback(tick)` once a second."""
        self._on_tick.append(callback)

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
        self._held.pop(connection, None)
        self._withheld.discard(connection)
        connection.full_since = 0
        self._epoll.unregister(connection.fd)

    # --- reading

    def _serve_ready(self) -> None:
        by_fd, words = self.table.by_fd, self._words
        for fd, mask in self._epoll.poll(0, _EVENTS_PER_TURN):
            connection = by_fd[fd]
            if connection is None:
                continue  # closed by an earlier event of this turn
            words[READING] = fd
            try:
                self._serve(connection, mask)
            except Exception:
                self._fail(connection)
        words[READING] = -1

    def _fail(self, connection: Connection) -> None:
        """A bug of ours costs this connection, unless it has been given away already."""
        self.counters["internal_errors"] += 1
        logger.exception("internal error serving %s", connection.address)
        if self.table.holds(connection):
            self.destroy(connection, CloseReason.INTERNAL_ERROR)

    def _serve(self, connection: Connection, mask: int) -> None:
        if mask & _OUT:
            self._flush(connection)
        if mask & _IN:
            self._read(connection)
        elif mask & _GONE and connection.fd >= 0:
            self.destroy(connection, CloseReason.IO_ERROR if mask & select.EPOLLERR else CloseReason.PEER_CLOSED)

    def _read(self, connection: Connection) -> None:
        if connection.fd < 0:
            return
        try:
            data = os.read(connection.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.destroy(connection, CloseReason.IO_ERROR)
            return
        if not data:
            self.destroy(connection, CloseReason.PEER_CLOSED)
        elif connection.state == State.BINDING:
            connection.input = (connection.input or bytearray()) + data
            self.ledger.mark(connection)
            self.pause(connection)
        elif connection.state != State.CLOSING:
            self._count_input(connection, len(data))
            self.process(connection, data)

    def _count_input(self, connection: Connection, size: int) -> None:
        tick = self.wheel.tick
        if connection.rate_tick != tick:
            connection.rate_tick = tick
            connection.rate_bytes = connection.rate_packets = 0
        connection.rate_bytes += size

    def process(self, connection: Connection, data: bytes = b"") -> None:
        """Parse what is unparsed and `data` behind it, event by event, as long as the connection's state allows."""
        buffer: bytes | bytearray = data
        if connection.input is not None:
            connection.input += data
            buffer = connection.input
        offset = 0
        try:
            while connection.state in (State.OPEN, State.BOUND) and not connection.paused:
                # inflated bytes count too (gateway.streams, gateway.sessions); a read alone never goes so far over
                if (
                    connection.rate_packets >= self._settings.client_packets_per_s
                    or connection.rate_bytes > self._settings.client_bytes_per_s + READ_BYTES
                ):
                    self._throttle(connection)
                    break
                event, behind = next_event(connection, buffer, offset, self._stream_limits)
                if behind == offset:
                    break
                offset = behind
                connection.rate_packets += 1
                if event is not None:
                    self.application.handle(connection, event)
        except RemoteError as error:
            connection.input = bytearray(buffer[offset:])  # shows the application what it is about
            self.application.fault(connection, error)
        except Exception:
            self._fail(connection)
        self._keep_rest(connection, buffer, offset)

    def _keep_rest(self, connection: Connection, buffer: bytes | bytearray, offset: int) -> None:
        if connection.fd < 0 or connection.state == State.CLOSING or offset == len(buffer):
            connection.input = None
        elif buffer is connection.input:
            del connection.input[:offset]
        else:
            connection.input = bytearray(buffer[offset:])
        if connection.fd < 0 or connection.state == State.CLOSING:
            return
        if self.table.by_fd[connection.fd] is connection:
            self.ledger.note_if_changed(connection)
        if offset:
            self.wheel.schedule(connection, self.wheel.tick + self.application.deadline(connection))
        # in BINDING it may be given away already; then it is for its next holder to slow it down
        if connection.rate_bytes > self._settings.client_bytes_per_s and connection.state != State.BINDING:
            self._throttle(connection)

    def _throttle(self, connection: Connection) -> None:
        if not connection.paused:
            self.counters["throttled"] += 1
            self.pause(connection)
            self._throttled.append(connection)

    def pause(self, connection: Connection) -> None:
        """Do not read this socket until `resume`."""
        if not connection.paused:
            connection.paused = True
            self._epoll.modify(connection.fd, self._mask(connection))

    def hold(self, connection: Connection, why: int) -> None:
        """Neither read this socket nor parse what has been read, until `release`."""
        self._held[connection] = self._held.get(connection, 0) | why
        self.pause(connection)

    def release(self, connection: Connection, why: int) -> None:
        """Go on with a connection, if it still is here and held for nothing else."""
        held = self._held.pop(connection, 0)
        if held & ~why:
            self._held[connection] = held & ~why
        elif held and self.table.holds(connection) and connection.state != State.CLOSING:
            self.resume(connection)

    def resume(self, connection: Connection) -> None:
        """Read again, after what is unparsed has been parsed; not while it is held."""
        if connection in self._held:
            return
        if connection.paused:
            connection.paused = False
            self._epoll.modify(connection.fd, self._mask(connection))
        if connection.input:
            self.process(connection)
        elif connection.fd >= 0:
            self.ledger.mark(connection)

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
        if connection.output is not None:
            self.answer(connection, data)
        elif connection.fd >= 0:
            connection.output = bytearray(data)
            self.ledger.mark(connection)
        if connection.fd >= 0:
            self._withheld.add(connection)
            self._epoll.modify(connection.fd, self._mask(connection))

    def let_flow(self, connection: Connection) -> None:
        """Send what is withheld."""
        if connection in self._withheld:
            self._withheld.discard(connection)
            self._flush(connection)
            if connection.output:
                self._epoll.modify(connection.fd, self._mask(connection))

    def _flush(self, connection: Connection) -> None:
        output = connection.output
        if output is None or connection.fd < 0 or connection in self._withheld:
            return
        try:
            sent = self.send_bytes(connection.fd, memoryview(output)[:READ_BYTES])
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

    # --- time

    def _tick(self) -> None:
        self.ledger.beat()
        tick = int(time.monotonic()) - self._lost
        if tick > self.wheel.tick + 1:
            # held up (SIGSTOP, a suspended machine): nobody could be heard meanwhile, so that time does not count
            self._lost += tick - self.wheel.tick - 1
            tick = self.wheel.tick + 1
        if tick > self.wheel.tick:
            self.advance(tick)

    def advance(self, tick: int) -> None:
        """Do what is due up to `tick`, seconds of the monotonic clock."""
        for connection in self.wheel.advance(tick, self.table.by_fd):  # type: ignore[arg-type]
            self.guarded(self._expire, connection)
        self._wake_throttled(tick)
        self._close_slow(tick)
        for callback in self._on_tick:
            self.guarded(callback, tick)

    def _expire(self, connection: Connection) -> None:
        if connection.state == State.CLOSING:
            self.destroy(connection, CloseReason.PEER_CLOSED)
        elif connection.paused and (seconds := self.application.deadline(connection)) > 0:
            self.wheel.schedule(connection, self.wheel.tick + seconds)
        else:
            self.application.expired(connection)

    def _wake_throttled(self, tick: int) -> None:
        throttled, self._throttled = self._throttled, []
        for connection in throttled:
            if connection.fd < 0 or self.table.by_fd[connection.fd] is not connection:
                continue
            connection.rate_tick = tick
            connection.rate_packets = 0
            connection.rate_bytes = max(connection.rate_bytes - self._settings.client_bytes_per_s, 0)
            if connection.rate_bytes > self._settings.client_bytes_per_s:
                self._throttled.append(connection)  # one read brought more than a second's worth
            elif connection.state in (State.OPEN, State.BOUND):
                self.guarded(self.resume, connection)

    def _close_slow(self, tick: int) -> None:
        for connection in list(self._overloaded):
            if tick - connection.full_since >= self._settings.slow_consumer_s:
                push = self.blamed.get(connection.token or b"")
                self.destroy(connection, CloseReason.SLOW_CONSUMER, f"request_id={push}" if push else "")
