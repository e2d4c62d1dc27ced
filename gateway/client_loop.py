"""What clients say, and when: one epoll set for all of them, itself watched by the gevent hub.

Everything here runs in the hub: it never blocks and never switches. What a message means is the
application's business (`gateway.conversations` in a worker, an echo in the conformance tests).
"""

import logging
import os
import select
import time
from collections.abc import Callable

from gateway.client_sockets import Application, ClientSockets
from gateway.connections import Connection, State
from gateway.ledgers import READING, Ledger
from gateway.sends import LANGUAGE
from gateway.streams import StreamLimits, next_event
from shared.errors import RemoteError
from shared.reasons import CloseReason
from shared.settings import Settings

logger = logging.getLogger(__name__)

READ_BYTES = 32 * 1024
_EVENTS_PER_TURN = 256
_GONE = select.EPOLLHUP | select.EPOLLERR
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_WATCH_READ = 1  # libev's EV_READ


class Hold:
    """Why a connection is held (`ClientLoop.hold`). Bits."""

    MOVE = 1  # it is to go to another worker when nothing is owed to it any more
    ANSWER = 2  # what it says next depends on an answer that it awaits
    CALLS = 4  # it awaits as many as it may
    BIND = 8  # it is to be bound anew when nothing is owed to it any more


class ClientLoop(ClientSockets):
    """Reads, and keeps deadlines and rates. `gateway.acceptors` brings connections in."""

    def __init__(
        self, settings: Settings, stream_limits: StreamLimits, counters: dict[str, int], ledger: Ledger | None = None
    ) -> None:
        super().__init__(settings, counters, ledger)
        self._lost = 0  # seconds of the clock that the wheel leaves out
        self._stream_limits = stream_limits
        self._throttled: list[Connection] = []
        self._held: dict[Connection, int] = {}  # paused until `release`: why, bits of Hold
        self._on_tick: list[Callable[[int], None]] = []
        self._watcher = self._loop.io(self._epoll.fileno(), _WATCH_READ)
        self._timer = self._loop.timer(0.25, 0.25)

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

    def let_go(self, connection: Connection) -> None:
        """Forget a connection that is handed over; its descriptor stays open for the caller."""
        self._held.pop(connection, None)
        super().let_go(connection)

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
            self.let_flow(connection)  # it may still read
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
        self.close_slow(tick)
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
