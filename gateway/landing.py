"""Landing and moving: every client comes to the owner of its token, now and after each change of the ring."""

import random
import time
from collections.abc import Callable

from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Pending, State
from gateway.deliveries import RECENT_TICKS, Deliveries
from gateway.encoders import Encoder
from gateway.fan_outs import FanOuts
from gateway.hand_over_messages import Moved
from gateway.hand_overs import HandOvers
from gateway.held_pushes import HeldPush
from gateway.ownership import Ownership
from gateway.sessions import Bind, SessionRules
from shared.outcomes import Outcome
from shared.reasons import CloseReason
from shared.rings import NO_EPOCH

#: Clients looked at, and clients under way, per turn of a move.
_SCAN_PER_TURN = 500
_UNDER_WAY_MAX = 400
#: Pause of a scan that has as many clients under way as may be, and before a client that came back is given again.
_BREATH_S, _RETRY_S = 0.002, 0.02

#: Reports outcomes of pushes that were held.
Late = Callable[[list[tuple[HeldPush, int]]], None]


#: Chance that nobody can foresee, since tokens are made of it.
_CHANCE = random.SystemRandom()


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Landing:
    """Binds clients here or gives them to their owner; moves them when the ring changes; empties a leaving worker."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        rules: SessionRules,
        encoder: Encoder,
        deliveries: Deliveries,
        fan_outs: FanOuts,
        *,
        timeout_s: int,
        retry_after_ms: int,
        unix_ms: Callable[[], int] = _unix_ms,
        chance: random.Random = _CHANCE,
    ) -> None:
        self._clients = clients
        self._ownership = ownership
        self._rules = rules
        self._encoder = encoder
        self._deliveries = deliveries
        self._fan_outs = fan_outs
        self._timeout_s = timeout_s
        self._unix_ms = unix_ms
        self._chance = chance
        self._retry_after_ms = retry_after_ms
        self._hand_overs = HandOvers(clients, ownership, self)
        self._hand_overs.moved = self._moved
        deliveries.away = self._hand_overs.away
        self._hand_overs.link_lost = self._link_lost
        self.receive, self.lost = self._hand_overs.receive, self._hand_overs.lost
        self.leaving = False
        self.stopping = False
        self.late: Late = lambda outcomes: None
        self.settled: Callable[[], None] = lambda: None
        self._waiting: dict[Connection, int] = {}  # BINDING without an owner to go to -> since (tick)
        self._last_binding = 0
        self._scan_at: int | None = None  # next descriptor to look at
        self._scan_scheduled = False
        self._told = NO_EPOCH
        self._ring_tick = 0
        clients.each_tick(self._tick)

    # --- binding

    def bind(self, connection: Connection, action: Bind) -> None:
        """A client has said its token, or wants one."""
        self._last_binding = max(self._unix_ms(), self._last_binding + 1)
        connection.binding = self._last_binding
        connection.state = State.BINDING
        connection.pending = Pending(action.token or b"", action.message_id, action.asked)
        self._place(connection)

    def _place(self, connection: Connection) -> None:
        pending = connection.pending
        assert pending is not None
        if not self._ownership.live:
            self._waiting.setdefault(connection, self._clients.wheel.tick)
            return
        if not pending.token:
            pending = connection.pending = pending._replace(token=self._new_token())
        owner = self._ownership.owner(pending.token)
        if owner == self._ownership.name:
            self._waiting.pop(connection, None)
            self._bind_here(connection, pending)
        elif owner:
            self._hand_overs.give(connection, owner)

    def _new_token(self) -> bytes:
        """128 random bits in hex, drawn until this worker owns them (any owner does if it leaves or owns no slot)."""
        while True:
            token = self._chance.randbytes(16).hex().encode()
            if self.leaving or not self._ownership.share:
                return token
            if self._ownership.owner(token) == self._ownership.name:
                return token

    def _bind_here(self, connection: Connection, pending: Pending) -> None:
        older = self._clients.table.by_token.get(pending.token)
        if older and not self._rules.may_replace(connection, older):
            self._refuse(connection, pending, 403, "the token belongs to another uid", CloseReason.REJECTED)
            return
        connection.pending = None
        connection.fan_out_seen = self._fan_outs.latest
        if self._enter(connection, pending.token):
            self._clients.answer(connection, self._rules.bound(connection, pending.message_id, pending.asked))
            self._release(connection)

    def _refuse(
        self, connection: Connection, pending: Pending | None, status: int, message: str, reason: CloseReason
    ) -> None:
        message_id = pending.message_id if pending else 0
        self._clients.close(connection, *self._rules.refused(connection, message_id, status, message, reason))

    def _enter(self, connection: Connection, token: bytes) -> bool:
        """Bind in the table. Of two for one token the greater binding stays; False: not this one."""
        older = self._clients.table.by_token.get(token)
        if older and older.binding > connection.binding:
            connection.token = token
            self._replace(connection)
            return False
        if older:
            self._replace(older)
        self._clients.table.bind(connection, token)
        return True

    def _replace(self, connection: Connection) -> None:
        reason = CloseReason.REPLACED
        self._clients.close(connection, reason, self._encoder.last_words(connection, reason))

    def _release(self, connection: Connection) -> None:
        late = self._deliveries.release(connection)
        if late:
            self.late(late)

    # --- taking (gateway.hand_overs.Taker)

    def wants(self, connection: Connection) -> bool:
        """Whether an arriving client belongs here: its token's slot is ours, or it has none yet.

        A leaving worker takes clients until it has seen the ring without it: pushes may wait here for them.
        """
        if self.stopping or self._ownership.name not in self._ownership.live:
            return False
        token = connection.pending.token if connection.pending else connection.token
        return not token or self._ownership.owner(token) == self._ownership.name

    def arrived(self, connection: Connection) -> None:
        """A client is ours now."""
        self._last_binding = max(self._last_binding, connection.binding)
        if connection.state == State.BINDING and connection.pending:
            self._place(connection)
        elif connection.state == State.BOUND:
            if connection.recent:
                self._deliveries.watch(connection, self._clients.wheel.tick + RECENT_TICKS)
            self._enter_again(connection)
        self._go_on(connection)

    def _enter_again(self, connection: Connection) -> None:
        """Bind a client that was bound, and send what it has missed on its way."""
        if self._enter(connection, connection.token or b""):
            self._fan_outs.catch_up(connection)
            self._release(connection)

    def _go_on(self, connection: Connection) -> None:
        if connection.fd >= 0 and connection.state in (State.OPEN, State.BOUND):
            self._clients.resume(connection)

    def came_back(self, connection: Connection) -> None:
        """A client could not be given. It is held here again until it can be."""
        self._clients.adopt(connection, max(connection.deadline - self._clients.wheel.tick, 1))
        if connection.state == State.BINDING:
            self._waiting.setdefault(connection, self._clients.wheel.tick)
            self._clients.later(_RETRY_S, lambda: self._retry(connection))
            return
        if connection.state == State.BOUND:
            self._enter_again(connection)
        self._go_on(connection)
        self._start_scan(_RETRY_S)

    # --- moving

    def ring_changed(self) -> None:
        """Give what the new ring takes from us, then say MOVED."""
        self._ring_tick = self._clients.wheel.tick
        self._give_up_foreign()
        for connection in list(self._waiting):
            self._retry(connection)
        self._start_scan(0)
        if not self._ownership.awaited:
            self._settle()

    def _give_up_foreign(self) -> None:
        """What is held for tokens that the new ring gives to others: their clients will not come here."""
        held = self._deliveries.held
        foreign = [token for token in held.tokens() if self._ownership.owner(token) != self._ownership.name]
        late = [(push, int(Outcome.UNAVAILABLE)) for token in foreign for push in held.take(token)]
        if late:
            self.late(late)

    def give_up(self) -> None:
        """This worker ends: nothing that is held can be delivered any more."""
        late = [(push, int(Outcome.UNAVAILABLE)) for _, push in self._deliveries.held.take_all()]
        if late:
            self.late(late)

    def _start_scan(self, seconds: float) -> None:
        """Look at every connection, from the first on; a scan under way begins anew."""
        self._scan_at = 0
        self._schedule_scan(seconds)

    def _schedule_scan(self, seconds: float) -> None:
        if not self._scan_scheduled:
            self._scan_scheduled = True
            self._clients.later(seconds, self._scan)

    def _scan(self) -> None:
        """Look at some connections, as many as may be under way."""
        self._scan_scheduled = False
        if self._scan_at is None:
            return
        by_fd = self._clients.table.by_fd
        end = min(self._scan_at + _SCAN_PER_TURN, len(by_fd))
        for fd in range(self._scan_at, end):
            connection = by_fd[fd]
            if connection is not None:
                self._consider(connection)
            if self._hand_overs.count >= _UNDER_WAY_MAX:
                end = fd + 1
                break
        self._scan_at = end if end < len(by_fd) else None
        if self._scan_at is None:
            self._say_moved()
        else:
            self._schedule_scan(0 if self._hand_overs.count < _UNDER_WAY_MAX else _BREATH_S)

    def _consider(self, connection: Connection) -> None:
        """Give a connection away if it is not ours under the present ring."""
        if connection.state == State.BOUND:
            owner = self._ownership.owner(connection.token or b"")
            if owner is not None and owner != self._ownership.name:
                # its new owner may be too new to have them
                self._fan_outs.catch_up(connection)
                if connection.state == State.BOUND:
                    self._hand_overs.give(connection, owner)
        elif connection.state == State.OPEN and self.leaving:
            others = [worker for worker in self._ownership.live if worker != self._ownership.name]
            if others:
                self._hand_overs.give(connection, self._chance.choice(others))

    def _say_moved(self) -> None:
        if self._scan_at is not None or self._told == self._ownership.epoch:
            return
        if self._hand_overs.moving:
            self._clients.later(_BREATH_S, self._say_moved)
            return
        self._told = self._ownership.epoch
        self._hand_overs.say_moved()

    def _link_lost(self, worker: str) -> None:
        """MOVED may have been lost with the link: say it again."""
        if self._told == self._ownership.epoch and worker in self._ownership.live:
            self._clients.later(_RETRY_S, self._hand_overs.say_moved)

    def _moved(self, peer: str, message: Moved) -> None:
        if self._ownership.moved(message.worker, message.epoch):
            self._settle()

    def _settle(self) -> None:
        """All that could come has come: what is still held is for clients that are nowhere."""
        self._ownership.settle()
        self._give_up_held(Outcome.OFFLINE)
        self.settled()

    def _give_up_held(self, outcome: Outcome) -> None:
        late = self._deliveries.give_up(outcome)
        if late:
            self.late(late)

    # --- time

    def _tick(self, tick: int) -> None:
        for connection, since in list(self._waiting.items()):
            if connection.fd < 0 or connection.state != State.BINDING:
                del self._waiting[connection]
            elif not self._clients.table.holds(connection):
                continue  # it has been given again
            elif tick - since >= self._timeout_s:
                del self._waiting[connection]
                self._refuse(connection, connection.pending, 503, "no worker for this token", CloseReason.UNAVAILABLE)
            else:
                self._retry(connection)
        self._give_up_waiting(tick)
        if self._deliveries.held.count and not self._ownership.awaited:
            self._give_up_held(Outcome.UNAVAILABLE)  # for clients that were away, and went
        if self.leaving and self._scan_at is None and self._clients.table.count:
            self._start_scan(0)

    def _retry(self, connection: Connection) -> None:
        if self._clients.table.holds(connection) and connection.state == State.BINDING:
            self._place(connection)
            if connection.state == State.BOUND:
                self._clients.resume(connection)

    def _give_up_waiting(self, tick: int) -> None:
        if self._ownership.awaited and tick - self._ring_tick >= self._timeout_s:
            self._clients.counters["moves_timed_out"] += 1
            self._give_up_held(Outcome.UNAVAILABLE)
            self._ownership.settle()
            self.settled()

    # --- leaving

    @property
    def empty(self) -> bool:
        """Whether every client has been given away or has ended."""
        return not self._clients.table.count and not self._hand_overs.count

    def disconnect_all(self, reason: CloseReason) -> None:
        """Tell every client to come back later, each at its own time, and close."""
        for connection in list(self._clients.table.by_fd):
            if connection is not None and connection.state != State.CLOSING:
                words = self._encoder.last_words(connection, reason, self._chance.randint(0, self._retry_after_ms))
                self._clients.close(connection, reason, words)

    def stop(self) -> None:
        """Close the links to other workers."""
        self._hand_overs.close()
