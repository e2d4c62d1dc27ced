"""Pushes to everybody here, or to all here of a user or a group: numbered, and delivered in slices, so that a broadcast
does not hold up the hub.

Numbers grow per router. Each record carries the last number it has seen of each, so a client that moves during a
fan-out gets it exactly once: its new worker sends what is missing and skips what is not. A client whose groups are not
known yet gets its copy when they are; the counts wait a moment for that.
"""

import time
from collections import deque
from collections.abc import Callable

from gateway.client_loop import ClientLoop
from gateway.connections import NO_FAN_OUT, SPECIAL, Connection, FanOutsSeen, Granted, Protocol, State
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.fan_out_marks import FanOutMarks
from gateway.fan_outs_seen import merged, seen_of, with_seen
from gateway.groups import Groups
from gateway.ledgers import WRITING, Mark
from gateway.recent_fan_outs import NAMES, RecentFanOuts, Running
from shared.bus import FanOut, Target
from shared.errors import BodyError, TooLargeError
from shared.outcomes import Outcome
from shared.signals import V0_SIGNALS

#: About 5 ms of writing.
_RECORDS_PER_TURN = 500
#: Counts wait so long (ticks) for clients whose groups are not known.
_ASK_TICKS = 2
_NOT_DELIVERED = frozenset({Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.OVERLOADED, Outcome.OFFLINE})
_OWN_COPY = Granted.ACK | Granted.IDS | Granted.AES_GCM
#: What the bytes of a copy depend on, beside the protocol.
_ENCODING = SPECIAL | Granted.CAMEL | Granted.LOWER

#: Tells a router what became of its fan-out: router, number, the counts.
Report = Callable[[int, int, dict[str, int]], None]


class FanOuts:
    """The fan-outs of this worker, one running at a time, in order of arrival."""

    def __init__(self, clients: ClientLoop, deliveries: Deliveries, encoder: Encoder, payload_max: int) -> None:
        self.groups = Groups()
        self._clients = clients
        self._deliveries = deliveries
        self._encoder = encoder
        self._payload_max = payload_max
        self._queue: deque[Running] = deque()
        self._recent = RecentFanOuts()
        # Of the recent ones: those whose counts are not told, and those that wait for groups of clients. In order.
        self._untold: dict[Running, None] = {}
        self._awaiting: dict[Running, None] = {}
        self.marks = FanOutMarks(clients.ledger)
        self.report: Report = lambda router, number, counts: None
        self.latest: FanOutsSeen = NO_FAN_OUT  # all that came here
        #: The same, and what a predecessor had begun: it is not for clients that come now.
        self.for_new: FanOutsSeen = NO_FAN_OUT
        self._done: FanOutsSeen = NO_FAN_OUT
        clients.each_tick(self._forget)

    def go_on(self) -> None:
        """After a predecessor that died: what it had done is done, what it had begun comes once more."""
        self._done = self.latest = self.marks.go_on()
        self.for_new = merged(self.marks.begun, self.latest)

    def start(self, router: int, fan_out: FanOut) -> None:
        """Begin, behind those that are running. A copy of a recent one is answered with the first's counts."""
        first = self._recent.numbered(router, fan_out.number) or self._recent.copied_by(fan_out)
        if first:
            self._clients.counters["copies_dropped"] += 1
            if first.told:
                self.report(router, fan_out.number, first.report())
            elif (router, fan_out.number) not in first.reports:
                first.reports.append((router, fan_out.number))
            return
        if fan_out.number <= seen_of(self.latest, router):  # it was done, and what became of it is not known any more
            self._clients.counters["copies_dropped"] += 1
            self.report(router, fan_out.number, {"unknown": 1})
            return
        self.latest = with_seen(self.latest, router, fan_out.number)
        self.for_new = merged(self.for_new, self.latest)
        running = self._taken_in(router, fan_out)
        self._recent.add(running)
        self._untold[running] = None
        self._queue.append(running)
        if len(self._queue) == 1:
            self._run()

    def _taken_in(self, router: int, fan_out: FanOut) -> Running:
        tick, reports = self._clients.wheel.tick, [(router, fan_out.number)]
        running = Running(router, fan_out, tick, time.monotonic(), reports, self.latest)
        if self.marks.is_left(router, fan_out.number):
            had, running.gone = self.marks.left_of(router, fan_out.number)
            running.counts["matched"] = running.counts["sent"] = had
        return running

    def catch_up(self, connection: Connection, leaving: bool = False) -> None:
        """A client has moved here: send the fan-outs that it has missed. `leaving`: it is about to move.

        Then it has had what is done here: if it was no member at that time, it is not to get it as one who has joined.
        """
        missed = self._recent.missed_by(connection, self.groups)
        if leaving:
            missed = [running for running in missed if not running.done]
        if missed:
            self._clients.ledger.mark(connection, Mark.OWED)  # half of them would be neither seen nor missed
            for running in missed:
                self._catch_up_with(running, connection)
        connection.fan_out_seen = merged(connection.fan_out_seen, self.latest)  # mostly the object that all share
        if missed and connection.fd >= 0:
            self._clients.ledger.note(connection)
            self._clients.ledger.mark(connection)

    def _catch_up_with(self, running: Running, connection: Connection) -> None:
        target = running.fan_out.target
        if target is None or self._was_of(connection, target, running):
            self._deliver(running, connection)
        elif target.kind == "group" and connection in self.groups.unknown:
            running.waiting.add(connection)
            self._awaiting[running] = None

    def learnt(self, connection: Connection) -> None:
        """The groups of a client are known now: it gets what it was to get, if it is a member."""
        for running in [kept for kept in self._awaiting if connection in kept.waiting]:
            running.waiting.discard(connection)
            target = running.fan_out.target
            if target and self._was_of(connection, target, running):
                self._deliver(running, connection)
            self._tell_if_known(running)

    def _was_of(self, connection: Connection, target: Target, running: Running) -> bool:
        """Whether a client is one of a target, and has not joined behind the push."""
        joined_at = self.groups.joined_at(connection, target.name) if target.kind == "group" else 0
        return joined_at <= running.came_at and self.groups.is_of(connection, target)

    def gone(self, connection: Connection) -> None:
        """A client has been closed or has moved before its groups were known."""
        for running in [kept for kept in self._awaiting if connection in kept.waiting]:
            running.waiting.discard(connection)
            running.gone += connection.state != State.CLOSING
            self._tell_if_known(running)

    def _run(self) -> None:
        """One slice of the fan-out that is first."""
        if not self._queue:
            return
        running = self._queue[0]
        if not running.mark:
            number = running.fan_out.number
            running.mark = self.marks.begin(running.router, number, done=self._done, begun=self.latest)
        by_fd = self._clients.table.by_fd
        among = by_fd if running.fan_out.target is None else self._members(running, running.fan_out.target)
        end = min(running.at + _RECORDS_PER_TURN, len(among))
        records = among[running.at : end]
        if running.members is not None:  # some may have gone since it began
            records = [one for one in running.members[running.at : end] if by_fd[one.fd] is one]
        self._deliver_plain(running, records)
        running.at = end
        if end < len(among):
            self._clients.later(0, self._run)
            return
        self._queue.popleft()
        running.encoded.clear()
        running.members, running.done, self._done = None, True, running.latest
        self._tell_if_known(running)
        self._forget(self._clients.wheel.tick)
        if self._queue:
            self._clients.later(0, self._run)

    def finish(self) -> None:
        """This worker is about to go: everything that has begun is answered now."""
        while self._queue:
            self._run()
        for running in list(self._untold):
            self._tell(running)

    def _members(self, running: Running, target: Target) -> "list[Connection | None]":
        """The clients of its target, as they were when it began; who may be one is noted then."""
        if running.members is None:
            running.members = list(self.groups.clients_of(target))
            if target.kind == "group":
                number, router = running.fan_out.number, running.router
                running.blind = self.groups.blind
                running.waiting |= {
                    one
                    for one in self.groups.unknown.difference(running.members)
                    if seen_of(one.fan_out_seen, router) < number
                }
                if running.waiting:
                    self._awaiting[running] = None
        return running.members  # type: ignore[return-value]

    def _tell_if_known(self, running: Running) -> None:
        if not running.waiting:
            self._awaiting.pop(running, None)
        if running.done and not running.told and not running.waiting:
            self._tell(running)

    def _tell(self, running: Running) -> None:
        running.told = True
        self._untold.pop(running, None)
        for router, number in running.reports:
            self.report(router, number, running.report())

    def _deliver_plain(self, running: Running, records: "list[Connection | None]") -> None:
        """Deliver to those who have not seen it: to those who get the same bytes together, then to all others.

        In this order: what comes behind may close a socket, and none is sent to that is closed.
        """
        same, others = self._choose(running, records)
        marks, rest = self.marks, []
        for data, connections in same.items():
            descriptors = [connection.fd for connection in connections]
            missed = self._clients.send_each(descriptors, data, marks.words, WRITING, marks.by_fd, running.mark)
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
        self, running: Running, records: "list[Connection | None]"
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

    def _deliver_rest(self, running: Running, connection: Connection, data: bytes, taken: int) -> None:
        self.marks.sending(connection.fd, running.mark)
        self._count(running, self._clients.write_rest(connection, data, taken))

    @staticmethod
    def _after(running: Running, seen: FanOutsSeen) -> FanOutsSeen:
        after = running.after.get(seen)
        if after is None:
            after = running.after[seen] = merged(seen, running.latest)
        return after

    def _deliver(self, running: Running, connection: Connection) -> None:
        copy, fd = self._copy(running, connection), connection.fd
        self.marks.sending(fd, running.mark)
        connection.fan_out_seen = self._after(running, connection.fan_out_seen)
        if copy is None:
            segment = running.fan_out.segment._replace(flags=0)
            copy = self._deliveries.deliver(connection, segment, 0, running.fan_out.payload)
        outcome = copy if isinstance(copy, int) else self._clients.write(connection, copy)
        self.marks.sent(fd, running.mark, outcome not in _NOT_DELIVERED)
        self._count(running, outcome)

    def _copy(self, running: Running, connection: Connection) -> bytes | int | None:
        """The bytes for clients like this one, or the outcome that all of them get; None: each gets its own."""
        kind = (connection.granted & _ENCODING) << 8 | connection.window_bits << 4 | connection.protocol
        if kind not in running.encoded and not connection.granted & _OWN_COPY:
            self._clients.guarded(self._prepare, running, connection, kind)
        return running.encoded.get(kind)

    def _prepare(self, running: Running, connection: Connection, kind: int) -> None:
        running.encoded[kind] = self._encode(running.fan_out, connection)

    def _count(self, running: Running, outcome: int) -> None:
        running.counts["matched"] += 1
        running.counts[NAMES[Outcome(outcome)]] += 1

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
        for running in list(self._untold):
            if tick - running.tick < _ASK_TICKS:
                break
            if running.done:
                self._tell(running)
        self._recent.forget(tick, self._queue[0] if self._queue else None, self._forgotten)

    def _forgotten(self, running: Running) -> None:
        self._awaiting.pop(running, None)
        if not running.told:
            self._tell(running)
