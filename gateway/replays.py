"""Replays: a client that comes is sent what the cache has for its token, in order, before anything newer.

Until it has all of that its state is not `live`: newer stored pushes reach it by way of the cache, others wait behind.
The same for a client that could not be sent a stored push at once: its window or its out-buffer was full.
"""

import time
from collections.abc import Callable

from gateway.acknowledgements import Acknowledgements
from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Granted
from gateway.deliveries import Deliveries
from gateway.late_outcomes import LateOutcomes
from gateway.stored_states import MAYBE_STORED, StoredState
from gateway.storing import READ_MESSAGES, Storing
from shared import cached_messages as cached
from shared.bus import Segment
from shared.outcomes import Outcome

#: Ticks without progress after which nothing waits behind a replay any longer.
_STALLED_TICKS = 5
#: A client whose out-buffer is full, or whose cache did not answer, is looked at so often (seconds).
_RETRY_S = 0.05
#: Connections looked at in one turn when a cache has come.
_SCAN_PER_TURN = 500


class Replays:
    """The connections of this worker that are not live."""

    def __init__(
        self,
        clients: ClientLoop,
        deliveries: Deliveries,
        storing: Storing,
        acknowledgements: Acknowledgements,
        late: LateOutcomes,
        *,
        window: int,
        is_settled: Callable[[bytes], bool],
    ) -> None:
        self._clients = clients
        self._deliveries = deliveries
        self._storing = storing
        self._acknowledgements = acknowledgements
        self._late = late
        self._window = window
        self._is_settled = is_settled
        self._running: dict[Connection, int] = {}  # tick of the last progress
        self._blocked: set[Connection] = set()
        self._scheduled = False
        #: Bound while another worker may still have stored for their tokens: they read once more when none has.
        self._early: set[Connection] = set()
        #: A push with a request id was sent. Told that, its id prefix, position and token.
        self.note: Callable[[str, bytes, int, bytes], None] = lambda request_id, prefix, position, token: None
        self._came: set[int] = set()  # numbers of caches whose clients are to be looked at
        self._scan_at: int | None = None
        storing.arrived = self._cache_arrived
        clients.each_tick(self._tick)

    # --- who is to be sent what is stored

    def bound(self, connection: Connection) -> None:
        """A connection has just been bound to its token."""
        self._acknowledgements.gone(connection)  # it may have had another one
        connection.stored = None
        if not self._is_settled(connection.token or b""):
            self._early.add(connection)
        if self._storing.expects(connection.token or b""):
            self.begin(connection)

    def begin(self, connection: Connection) -> None:
        """It reads what is stored behind all that it has been sent."""
        if connection.stored is None:
            connection.stored = StoredState(live=False)
        connection.stored.live = False
        self.follow(connection)

    def follow(self, connection: Connection) -> None:
        """It is not live: it has come so, or has just fallen behind."""
        self._running.setdefault(connection, self._clients.wheel.tick)
        self.go_on(connection)

    def gone(self, connection: Connection) -> None:
        """It has ended, or is with another worker."""
        self._running.pop(connection, None)
        self._blocked.discard(connection)
        self._early.discard(connection)

    def is_stalled(self, connection: Connection) -> int:
        """0, or the outcome of a push that would have to wait behind a replay that does not go on."""
        if self._clients.wheel.tick - self._running.get(connection, self._clients.wheel.tick) < _STALLED_TICKS:
            return 0
        return Outcome.OVERLOADED if self._room(connection) <= 0 else Outcome.UNAVAILABLE

    # --- one replay

    def go_on(self, connection: Connection) -> None:
        """Read more, if there can be more and there is room for it; else go live."""
        state = connection.stored
        if (
            state is None
            or state.live
            or state.reading
            or state.unanswered
            or not self._clients.table.holds(connection)
        ):
            return
        token = connection.token or b""
        if not self._storing.serves(token):
            if not self._storing.expects(token):
                self._go_live(connection, state)  # it is sent the rest when there is a cache again
            return
        room = self._room(connection)
        if room <= 0:
            if connection.output is not None:
                self._block(connection)
            return
        state.reading = True
        known = state.newest
        self._storing.read(token, state.after, room, lambda result, code: self._read(connection, state, known, result))

    def _room(self, connection: Connection) -> int:
        """How many messages it may be sent now."""
        if connection.output is not None:
            return 0
        if connection.granted & Granted.ACK:
            return self._window - len(connection.unacknowledged or ())
        return READ_MESSAGES

    def _block(self, connection: Connection) -> None:
        self._blocked.add(connection)
        if not self._scheduled:
            self._scheduled = True
            self._clients.later(_RETRY_S, self._look_at_blocked)

    def _look_at_blocked(self) -> None:
        self._scheduled = False
        blocked, self._blocked = self._blocked, set()
        for connection in blocked:
            self._clients.guarded(self.go_on, connection)

    def _read(self, connection: Connection, state: StoredState, known: int, result: cached.Result | None) -> None:
        """The answer to a read; `known`: the newest number when it was asked for."""
        state.reading = False
        if connection.stored is not state or not self._clients.table.holds(connection):
            return
        if not isinstance(result, cached.Messages):
            self._block(connection)
            return
        if result.newest < max(state.after, known):  # a store that has lost everything, perhaps at a clock set back
            state.after, state.newest = 0, result.newest
            self.go_on(connection)
            return
        unix_ms = time.time_ns() // 1_000_000
        for message in result.messages:
            if not self._send(connection, state, message, unix_ms):
                self.go_on(connection)
                return
        if result.messages:
            self._running[connection] = self._clients.wheel.tick
        if not result.more:
            state.after = max(state.after, result.newest)
        if result.more or state.newest > state.after:
            self.go_on(connection)
        elif not connection.stores:
            self._go_live(connection, state)

    def _send(self, connection: Connection, state: StoredState, message: cached.Message, unix_ms: int) -> bool:
        """Send one message; False if it must wait, or the client is gone."""
        if connection.output is not None:
            return False
        token = connection.token or b""
        if self._is_sent(state, message):
            pass
        elif message.expires > unix_ms and not self._storing.is_acknowledged(token, message):
            prefix, position = cached.prefix_and_position(message.key)
            segment = Segment(1, 0, prefix, message.signal, message.sub_signal)
            placed = self._deliveries.place(connection, segment, position, message.payload)
            if placed.outcome in (Outcome.SENT, Outcome.BUFFERED):
                self._acknowledgements.note(connection, message.key, placed.message_id, placed.size, message.seq)
                self._clients.counters["pushes_replayed"] += 1
                at, request_id = time.monotonic(), message.request_id
                self._deliveries.traces.replayed(token, prefix, position, len(message.payload), at, request_id)
                if request_id:
                    self.note(request_id, prefix, position, token)
            elif placed.outcome in (Outcome.TOO_LARGE, Outcome.REFUSED):
                self._clients.counters["replays_refused"] += 1  # this client can never take it
                self._storing.drop(token, [message.seq], refused=True)
            else:
                return False
        state.after = message.seq
        return True

    @staticmethod
    def _is_sent(state: StoredState, message: cached.Message) -> bool:
        """Whether it was sent when nobody knew yet that it is stored."""
        for written in state.window.values():
            if written.seq == MAYBE_STORED and written.key == message.key:
                written.seq = message.seq
                return True
        return False

    def _go_live(self, connection: Connection, state: StoredState) -> None:
        """It has everything: what waited behind it goes, in the same turn, as far as there is room for it."""
        held, token = self._deliveries.held, connection.token or b""
        state.live = True
        room = self._room(connection)
        if room > 0:
            for push, outcome in self._deliveries.release(connection, room):
                self._late.add(push, outcome)
        if held.has(token) and self._clients.table.holds(connection):
            state.live = False
            if room > 0:
                self._running[connection] = self._clients.wheel.tick
            if connection.output is not None:
                self._block(connection)
            return
        self._running.pop(connection, None)
        self._acknowledgements.tidy(connection)

    # --- time, and caches that come

    def _tick(self, tick: int) -> None:
        for connection in [connection for connection in self._early if self._is_settled(connection.token or b"")]:
            self._early.discard(connection)
            if self._clients.table.holds(connection) and self._storing.serves(connection.token or b""):
                self.begin(connection)
        for connection, progress in list(self._running.items()):
            if not self._clients.table.holds(connection):
                continue  # it is being handed over
            if not self._storing.serves(connection.token or b""):
                self.go_on(connection)  # nobody waits longer for a cache than it is expected
            outcome = self.is_stalled(connection) if tick - progress >= _STALLED_TICKS else 0
            if outcome:
                for push in self._deliveries.held.take(connection.token or b""):
                    self._late.add(push, outcome)

    def _cache_arrived(self, number: int) -> None:
        """Whoever is bound may have something in it that nobody has read."""
        self._came.add(number)
        if self._scan_at is None:
            self._clients.later(0, self._scan)
        self._scan_at = 0

    def catch_up(self, connection: Connection) -> None:
        """It is about to be sent something newer than what a cache may have for it that nobody has read.

        So it is when a cache has just come, or another worker may have stored something.
        """
        if connection in self._early or (
            self._scan_at is not None
            and connection.fd >= self._scan_at
            and self._storing.number_of(connection.token or b"") in self._came
        ):
            self.begin(connection)

    def _scan(self) -> None:
        by_fd, start = self._clients.table.by_fd, self._scan_at or 0
        end = min(start + _SCAN_PER_TURN, len(by_fd))
        for connection in by_fd[start:end]:
            if connection is not None and self._clients.table.by_token.get(connection.token or b"") is connection:
                token = connection.token or b""
                if self._storing.number_of(token) in self._came and self._storing.serves(token):
                    self._clients.guarded(self.begin, connection)
        if end < len(by_fd):
            self._scan_at = end
            self._clients.later(0, self._scan)
        else:
            self._scan_at = None
            self._came.clear()
