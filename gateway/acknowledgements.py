"""Acknowledgements: of clients, by PUB_ACK, and of the kernels of those that cannot say it."""

import time
from heapq import heappop, heappush
from itertools import count

from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.held_pushes import HeldPush
from gateway.late_outcomes import LateOutcomes
from gateway.send_queues import unacknowledged_bytes
from gateway.stored_states import MAYBE_STORED, NOT_STORED, StoredState, Written
from gateway.storing import Storing
from shared.durations import Durations
from shared.outcomes import Outcome

#: Connections whose kernel is asked, per tick.
_ASKED_PER_TICK = 2000
#: Time-outs of senders that wait are looked at so often (seconds).
_LOOK_S = 0.05


class Acknowledgements:
    """Takes acknowledged pushes out of the cache, and tells the senders that wait for it."""

    def __init__(self, clients: ClientLoop, storing: Storing, late: LateOutcomes) -> None:
        self._clients = clients
        self._storing = storing
        self._late = late
        self._in_flight: dict[Connection, None] = {}  # those that cannot acknowledge; the longest unasked first
        self._deadlines: list[tuple[float, int, Written]] = []
        self._order = count()
        self._scheduled = False
        #: From the write of a push to its PUB_ACK.
        self.times = Durations()
        clients.each_tick(self._tick)

    # --- what was written

    def note(self, connection: Connection, key: bytes, message_id: int, size: int, seq: int) -> Written:
        """A push has been written. `seq`: its number, UNKNOWN_SEQ or NOT_STORED. `size`: on the wire."""
        state = connection.stored
        if state is None:
            state = connection.stored = StoredState(live=True)
        written = Written(key, message_id, seq, size, time.monotonic())
        if message_id:
            state.window[message_id] = written
        else:
            state.flight.append(written)
            self._in_flight[connection] = None
        return written

    def watch(self, connection: Connection) -> None:
        """A client has come whose state names pushes in flight."""
        if connection.stored is not None and connection.stored.flight:
            self._in_flight[connection] = None

    def wait(self, written: Written, push: HeldPush, otherwise: int) -> None:
        """Its sender waits for the acknowledgement; `otherwise`: the outcome if none comes in time."""
        terms = push.terms
        assert terms is not None
        written.push, written.otherwise = push, otherwise
        deadline = time.monotonic() + (terms.timeout_ms - terms.age_ms) / 1000
        heappush(self._deadlines, (deadline, next(self._order), written))
        self._schedule()

    # --- what clients acknowledge

    def receive(self, connection: Connection, message_id: int) -> None:
        """PUB_ACK of a push."""
        waiting = connection.unacknowledged
        if not waiting or message_id not in waiting:
            self._clients.counters["acks_unknown"] += 1
            return
        waiting.discard(message_id)
        state = connection.stored
        if state is None:
            return
        written = state.window.pop(message_id, None)
        if written is None:
            return
        if written.at:
            self.times.add(time.monotonic() - written.at)
        recent = connection.recent
        if recent and written.key in recent:  # a copy of it needs neither storing nor sending
            recent[written.key] = (Outcome.ACKED, recent[written.key][1])
        self._acknowledged(connection, [written])
        self.tidy(connection)

    def _acknowledged(self, connection: Connection, acknowledged: list[Written]) -> None:
        seqs = []
        for written in acknowledged:
            written.acked = True
            if written.seq > 0:
                seqs.append(written.seq)
            elif written.seq != NOT_STORED:
                self._storing.acknowledged(connection.token or b"", written.key)
            if written.push is not None:
                self._late.add(written.push, Outcome.ACKED)
                written.push = None
        if seqs:
            self._storing.drop(connection.token or b"", seqs)

    @staticmethod
    def tidy(connection: Connection) -> None:
        """A connection that is owed nothing remembers nothing."""
        state = connection.stored
        if state is not None and state.idle:
            connection.stored = None

    # --- what their kernels acknowledge

    def _tick(self, tick: int) -> None:
        for connection in list(self._in_flight)[:_ASKED_PER_TICK]:
            del self._in_flight[connection]
            state = connection.stored
            if state is None or not state.flight or not self._clients.table.holds(connection):
                continue
            self._ask_kernel(connection, state)
            if state.flight:
                self._in_flight[connection] = None
            else:
                self.tidy(connection)

    def _ask_kernel(self, connection: Connection, state: StoredState) -> None:
        """Take out those of which the peer's kernel has the last byte: only later ones can still be in the queue."""
        try:
            left = unacknowledged_bytes(connection.fd) + len(connection.output or b"")
        except OSError:
            return
        behind = len(state.flight)
        while left > 0 and behind:
            behind -= 1
            left -= state.flight[behind].size
        acknowledged, state.flight = state.flight[:behind], state.flight[behind:]
        self._acknowledged(connection, acknowledged)

    # --- what does not come

    def gone(self, connection: Connection) -> None:
        """A client has ended, or is with another worker: nothing is heard of it here any more."""
        self._in_flight.pop(connection, None)
        if connection.stored is not None:
            for written in connection.stored.window.values():
                self._give_up(written)

    def _give_up(self, written: Written) -> None:
        if written.push is not None:
            self._late.add(written.push, written.otherwise)
            written.push = None

    def failed(self, state: StoredState, written: Written) -> None:
        """A push that was written is not known to be stored. Its place in the window stays taken until its PUB_ACK."""
        written.seq = MAYBE_STORED
        if written in state.flight:
            state.flight.remove(written)

    def _schedule(self) -> None:
        if not self._scheduled and self._deadlines:
            self._scheduled = True
            self._clients.later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._scheduled = False
        now = time.monotonic()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].push is None):
            self._give_up(heappop(self._deadlines)[2])
        self._schedule()
