"""Pushes to everybody here: numbered, delivered in slices, so that a broadcast does not hold up the hub.

Numbers grow per router. Each record carries the last number it has seen, so a client that moves during a
fan-out gets it exactly once: its new worker sends what is missing and skips what is not.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.client_loop import ClientLoop
from gateway.connections import SPECIAL, Connection, Granted, Protocol, State
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
_OWN_COPY = Granted.ACK | Granted.IDS
#: What the bytes of a copy depend on, beside the protocol. (Those of _OWN_COPY are in it so that they never match.)
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

#: Tells the router what became of a fan-out: its number, the counts.
Report = Callable[[int, dict[str, int]], None]


@dataclass(slots=True, eq=False)
class _Running:
    fan_out: FanOut
    tick: int
    numbers: list[int]  # to report: its own, and those of copies that came while it ran
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
        self.report: Report = lambda number, counts: None
        self.latest = 0
        clients.each_tick(self._forget)

    def start(self, fan_out: FanOut) -> None:
        """Begin, behind those that are running. A copy of a recent one is answered with the first's counts."""
        first = self._first_of(fan_out)
        if first:
            self._clients.counters["copies_dropped"] += 1
            if first in self._queue:
                first.numbers.append(fan_out.number)
            else:
                self.report(fan_out.number, first.counts)
            return
        running = _Running(fan_out, self._clients.wheel.tick, [fan_out.number])
        self.latest = max(self.latest, fan_out.number)
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
            if running.fan_out.number > connection.fan_out_seen:
                self._deliver(running, connection)

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
        for waiting in running.numbers:
            self.report(waiting, running.counts)
        self._forget(self._clients.wheel.tick)
        if self._queue:
            self._clients.later(0, self._run)

    def _deliver_plain(self, running: _Running, records: "list[Connection | None]") -> None:
        """Deliver to those who have not seen it.

        Flat, with the write in it: a copy may cost 1.3 times what the kernel takes (`make bench`, all).
        """
        number, encoded, write, bound = running.fan_out.number, running.encoded, self._clients.send_bytes, State.BOUND
        sent, words = 0, self._clients.ledger.words
        for connection in records:
            if connection is None or connection.state != bound or connection.fan_out_seen >= number:
                continue
            granted = connection.granted
            data = encoded.get((granted & _ENCODING) << 8 | connection.window_bits << 4 | connection.protocol)
            if connection.output is not None or data.__class__ is not bytes:
                self._clients.guarded(self._deliver, running, connection)
                continue
            connection.fan_out_seen = number
            words[WRITING] = connection.fd
            try:
                taken = write(connection.fd, data)
            except OSError:
                taken = 0
            if taken == len(data):
                sent += 1
            else:
                self._count(running, self._clients.write_rest(connection, data, taken))
        words[WRITING] = -1
        running.counts["matched"] += sent
        running.counts["sent"] += sent

    def _deliver(self, running: _Running, connection: Connection) -> None:
        connection.fan_out_seen = running.fan_out.number
        if connection.granted & _OWN_COPY:
            segment = running.fan_out.segment._replace(flags=0)
            self._count(running, self._deliveries.deliver(connection, segment, 0, running.fan_out.payload))
            return
        key = (connection.granted & _ENCODING) << 8 | connection.window_bits << 4 | connection.protocol
        copy = running.encoded.get(key)
        if copy is None:
            copy = running.encoded[key] = self._encode(running.fan_out, connection)
        self._count(running, copy if isinstance(copy, int) else self._clients.write(connection, copy))

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
