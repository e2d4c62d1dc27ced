"""Pushes to everybody here: numbered, delivered in slices, so that a broadcast does not hold up the hub.

Numbers grow per router. Each record carries the last number it has seen of each, so a client that moves during a
fan-out gets it exactly once: its new worker sends what is missing and skips what is not.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.client_loop import ClientLoop
from gateway.connections import NO_FAN_OUT, SPECIAL, Connection, FanOutsSeen, Granted, Protocol, State
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.ledgers import WRITING
from shared.bus import REPEATABLE, FanOut
from shared.errors import BodyError, TooLargeError
from shared.outcomes import Outcome
from shared.signals import V0_SIGNALS

#: About 5 ms of writing.
_RECORDS_PER_TURN = 500
#: Fan-outs are kept for clients on their way here, this long (ticks) and so many bytes.
_KEEP_TICKS = 10
_KEEP_BYTES = 16 << 20
_OWN_COPY = Granted.ACK | Granted.IDS | Granted.AES_GCM
#: What the bytes of a copy depend on, beside the protocol.
_ENCODING = SPECIAL | Granted.CAMEL | Granted.LOWER

_NAMES = {
    Outcome.SENT: "sent",
    Outcome.BUFFERED: "buffered",
    Outcome.OVERLOADED: "overloaded",
    Outcome.REFUSED: "refused",
    Outcome.TOO_LARGE: "too_large",
    Outcome.ACKED: "acked",
    Outcome.STORED: "stored",
    Outcome.OFFLINE: "offline",
}

#: Tells a router what became of its fan-out: router, number, the counts.
Report = Callable[[int, int, dict[str, int]], None]


def seen_of(seen: FanOutsSeen, router: int) -> int:
    """The last number seen of one router; 0: none."""
    return seen[router] if router < len(seen) else 0


def with_seen(seen: FanOutsSeen, router: int, number: int) -> FanOutsSeen:
    """The same with another number for one router."""
    longer = seen + (0,) * (router + 1 - len(seen))
    return (*longer[:router], number, *longer[router + 1 :])


@dataclass(slots=True, eq=False)
class _Running:
    router: int
    fan_out: FanOut
    tick: int
    reports: list[tuple[int, int]]  # router and number: its own, and those of copies that came while it ran
    after: dict[
        FanOutsSeen, FanOutsSeen
    ]  # what a record has seen behind it, by what it had seen before: shared objects
    fd: int = 0  # next descriptor to look at
    counts: dict[str, int] = field(default_factory=lambda: {"matched": 0, **dict.fromkeys(_NAMES.values(), 0)})
    encoded: dict[int, bytes | int] = field(default_factory=dict)


class FanOuts:
    """The fan-outs of this worker, one running at a time, in order of arrival."""

    def __init__(self, clients: ClientLoop, deliveries: Deliveries, encoder: Encoder, payload_max: int) -> None:
        self._clients = clients
        self._deliveries = deliveries
        self._encoder = encoder
        self._payload_max = payload_max
        self._queue: deque[_Running] = deque()
        self._recent: deque[_Running] = deque()
        self._recent_bytes = 0
        self.report: Report = lambda router, number, counts: None
        self.latest: FanOutsSeen = NO_FAN_OUT
        clients.each_tick(self._forget)

    def start(self, router: int, fan_out: FanOut) -> None:
        """Begin, behind those that are running. A copy of a recent one is answered with the first's counts."""
        first = self._first_of(fan_out)
        if first:
            self._clients.counters["copies_dropped"] += 1
            if first in self._queue:
                first.reports.append((router, fan_out.number))
            else:
                self.report(router, fan_out.number, first.counts)
            return
        number = max(fan_out.number, seen_of(self.latest, router))
        before, self.latest = self.latest, with_seen(self.latest, router, number)
        self._clients.ledger.note_own("fan_outs", self.latest)  # a successor must not send it again
        after = {before: self.latest}
        running = _Running(router, fan_out, self._clients.wheel.tick, [(router, fan_out.number)], after)
        self._recent.append(running)
        self._recent_bytes += len(fan_out.payload)
        self._queue.append(running)
        if len(self._queue) == 1:
            self._run()

    def _first_of(self, fan_out: FanOut) -> _Running | None:
        if not fan_out.segment.flags & REPEATABLE:
            return None
        prefix = fan_out.segment.id_prefix
        return next((kept for kept in self._recent if kept.fan_out.segment.id_prefix == prefix), None)

    def catch_up(self, connection: Connection) -> None:
        """A client has moved here: send the fan-outs that it has missed on the way."""
        for running in self._recent:
            if running.fan_out.number > seen_of(connection.fan_out_seen, running.router):
                self._deliver(running, connection)
        if connection.fan_out_seen == self.latest:
            connection.fan_out_seen = self.latest  # the object that the others share

    def _run(self) -> None:
        """One slice of the fan-out that is first."""
        running = self._queue[0]
        by_fd = self._clients.table.by_fd
        end = min(running.fd + _RECORDS_PER_TURN, len(by_fd))
        self._deliver_plain(running, by_fd[running.fd : end])
        running.fd = end
        if end < len(by_fd):
            self._clients.later(0, self._run)
            return
        self._queue.popleft()
        running.encoded.clear()
        for router, number in running.reports:
            self.report(router, number, running.counts)
        self._forget(self._clients.wheel.tick)
        if self._queue:
            self._clients.later(0, self._run)

    def _deliver_plain(self, running: _Running, records: "list[Connection | None]") -> None:
        """Deliver to those who have not seen it: to those who get the same bytes together, then to all others.

        In this order: what comes behind may close a socket, and none is sent to that is closed.
        """
        same, others = self._choose(running, records)
        words, rest = self._clients.ledger.words, []
        for data, connections in same.items():
            missed = self._clients.send_each([connection.fd for connection in connections], data, words, WRITING)
            sent = len(connections) - len(missed)
            running.counts["matched"] += sent
            running.counts["sent"] += sent
            rest += [(connections[index], data, taken) for index, taken in missed]
        for connection, data, taken in rest:
            self._clients.guarded(self._deliver_rest, running, connection, data, taken)
        for connection in others:
            if connection.state == State.BOUND:
                self._clients.guarded(self._deliver, running, connection)

    def _choose(
        self, running: _Running, records: "list[Connection | None]"
    ) -> tuple[dict[bytes, list[Connection]], list[Connection]]:
        """Who is to get it: by the bytes that they are to be sent, marked as having seen it; and all others.

        Flat: a copy may cost 1.3 times what the kernel takes (`make bench`, all).
        """
        number, router, bound = running.fan_out.number, running.router, int(State.BOUND)
        same: dict[bytes, list[Connection]] = {}
        others: list[Connection] = []
        before, after = None, NO_FAN_OUT
        granted = protocol = window_bits = -1
        chosen = others
        for connection in records:
            if connection is None or connection.state != bound:
                continue
            seen = connection.fan_out_seen
            if seen is not before:  # nearly all records share one
                if seen_of(seen, router) >= number:
                    continue
                before, after = seen, self._after(running, seen)
            if (
                connection.granted != granted
                or connection.protocol != protocol
                or connection.window_bits != window_bits
            ):  # nearly all are like the one before them
                granted, protocol, window_bits = connection.granted, connection.protocol, connection.window_bits
                data = self._copy(running, connection)
                chosen = same.setdefault(data, []) if isinstance(data, bytes) else others
            if connection.output is None:
                chosen.append(connection)
                if chosen is not others:
                    connection.fan_out_seen = after
            else:
                others.append(connection)
        return same, others

    def _deliver_rest(self, running: _Running, connection: Connection, data: bytes, taken: int) -> None:
        self._count(running, self._clients.write_rest(connection, data, taken))

    @staticmethod
    def _after(running: _Running, seen: FanOutsSeen) -> FanOutsSeen:
        after = running.after.get(seen)
        if after is None:
            after = running.after[seen] = with_seen(seen, running.router, running.fan_out.number)
        return after

    def _deliver(self, running: _Running, connection: Connection) -> None:
        connection.fan_out_seen = self._after(running, connection.fan_out_seen)
        copy = self._copy(running, connection)
        if copy is None:
            segment = running.fan_out.segment._replace(flags=0)
            copy = self._deliveries.deliver(connection, segment, 0, running.fan_out.payload)
        self._count(running, copy if isinstance(copy, int) else self._clients.write(connection, copy))

    def _copy(self, running: _Running, connection: Connection) -> bytes | int | None:
        """The bytes for clients like this one, or the outcome that all of them get; None: each gets its own."""
        kind = (connection.granted & _ENCODING) << 8 | connection.window_bits << 4 | connection.protocol
        if kind not in running.encoded and not connection.granted & _OWN_COPY:
            self._clients.guarded(self._prepare, running, connection, kind)
        return running.encoded.get(kind)

    def _prepare(self, running: _Running, connection: Connection, kind: int) -> None:
        running.encoded[kind] = self._encode(running.fan_out, connection)

    def _count(self, running: _Running, outcome: int) -> None:
        running.counts["matched"] += 1
        running.counts[_NAMES[Outcome(outcome)]] += 1

    def _encode(self, fan_out: FanOut, connection: Connection) -> bytes | int:
        """The bytes for clients like this one, or the outcome that all of them get."""
        segment, payload = fan_out.segment, fan_out.payload
        if len(payload) > self._payload_max:
            return Outcome.TOO_LARGE
        if connection.protocol == Protocol.V0 and segment.signal not in V0_SIGNALS:
            return Outcome.REFUSED
        try:
            return self._encoder.push(connection, segment.signal, segment.sub_signal, 0, payload, "")
        except TooLargeError:
            return Outcome.TOO_LARGE
        except BodyError:
            return Outcome.REFUSED

    def _forget(self, tick: int) -> None:
        """Drop the oldest, if it is done: for its age, or to make room."""
        while self._recent and not (self._queue and self._recent[0] is self._queue[0]):
            oldest = self._recent[0]
            if tick - oldest.tick < _KEEP_TICKS and self._recent_bytes <= _KEEP_BYTES:
                return
            self._recent_bytes -= len(oldest.fan_out.payload)
            self._recent.popleft()
