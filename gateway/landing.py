"""Landing: every client comes to the owner of its token, or is kept and claimed where no way leads there.

`gateway.moving` does the same again after each change of the ring.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable

from gateway.actions import Bind
from gateway.bindings import Bindings, Late
from gateway.claiming import Claiming
from gateway.claims import token_of
from gateway.client_loop import ClientLoop, Hold
from gateway.connections import Connection, Pending, State
from gateway.deliveries import RECENT_TICKS, Deliveries
from gateway.encoders import Encoder
from gateway.fan_outs import FanOuts
from gateway.hand_overs import HandOvers, Taker
from gateway.moving import RETRY_S, Moving
from gateway.ownership import Ownership
from gateway.sessions import SessionRules
from shared.bus import STALE
from shared.outcomes import Outcome
from shared.reasons import CloseReason

#: So many times a client is offered to its owner; then it is kept and claimed, until the next ring.
_REFUSALS_MAX = 50

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
        make_hand_overs: Callable[[ClientLoop, Ownership, Taker], HandOvers] = HandOvers,
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
        self._bindings = Bindings(clients, ownership, rules, encoder, deliveries, fan_outs, chance, report=self._report)
        self.hand_overs = make_hand_overs(clients, ownership, self)
        self.hand_overs.given = self._given
        self.hand_overs.refused = self._refused
        deliveries.away = self.hand_overs.away
        self.receive, self.lost = self.hand_overs.receive, self.hand_overs.lost
        self.moving = Moving(clients, ownership, self.hand_overs, self._consider, timeout_s=timeout_s)
        self.moving.settled = self._settled
        self._binds: dict[Connection, Bind] = {}  # to be bound anew when nothing is owed to them any more
        self._due: set[Connection] = set()  # to be moved when nothing is owed to them any more
        self.moving.owing = lambda: bool(self._due) or deliveries.keeping.owes_others()
        self.hand_overs.greeted = self.moving.greeted
        self._claims = deliveries.claims
        self.claiming = Claiming(clients, ownership, self._claims, timeout_s)
        self.claiming.is_open = lambda: self.moving.open
        self.claiming.bind = self._claimed
        self.claiming.replace = self._bindings.replace
        self.claiming.outbid = self._bindings.outbid
        self.claiming.lost = self._lost
        deliveries.unclaim = self.claiming.withdraw_now
        self.unfit: set[Connection] = set()  # of a predecessor, amid something: they cannot be gone on with
        self.leaving = False
        self.stopping = False
        self.late: Callable[[Late], None] = lambda outcomes: None
        self.settled: Callable[[], None] = lambda: None
        #: Tells a client that it is bound.
        self.answer: Callable[[Connection, bytes], None] = clients.answer
        self._bindings.answer = self._answer
        #: A client that stays connected is about to lose its token.
        self.unbound: Callable[[Connection], None] = lambda connection: None
        #: A client is another worker's now.
        self.given: Callable[[Connection], None] = lambda connection: None
        #: A client says its token again, maybe with another uid.
        self.said_again: Callable[[Connection], None] = lambda connection: None
        #: A bound client is about to be given to another worker.
        self.pack: Callable[[Connection], None] = lambda connection: None
        self._waiting: dict[Connection, int] = {}  # BINDING without an owner to go to -> since (tick)
        self._refusals: defaultdict[Connection, int] = defaultdict(int)
        clients.each_tick(self._tick)

    # --- binding

    def bind(self, connection: Connection, action: Bind) -> None:
        """A client has said its token, or wants one. Who is bound already is bound anew when nothing is owed to it."""
        if connection.calls or connection.stores:
            self._binds[connection] = action
            self._clients.hold(connection, Hold.BIND)
            return
        if connection.state == State.BOUND:
            if action.token == connection.token:
                pending = Pending(action.token or b"", action.message_id, action.asked, action.ack)
                self.said_again(connection)
                self.answer(connection, self._rules.welcome(connection, pending))
                return
            self._unbind(connection)
        self._bindings.number(connection, self._unix_ms())
        connection.state = State.BINDING
        connection.pending = Pending(action.token or b"", action.message_id, action.asked, action.ack)
        self._place(connection)

    def _answer(self, connection: Connection, data: bytes) -> None:
        self.answer(connection, data)

    def _unbind(self, connection: Connection) -> None:
        """Its token is nobody's from now on."""
        self._fan_outs.catch_up(connection, leaving=True)
        self.unbound(connection)
        self._clients.table.release(connection)
        self.ended(connection)
        connection.token = None

    def _place(self, connection: Connection) -> None:
        pending = connection.pending
        assert pending is not None
        if not self._ownership.live:
            self._waiting.setdefault(connection, self._clients.wheel.tick)
            return
        if not pending.token:
            pending = connection.pending = pending._replace(token=self._bindings.new_token(any_owner=self.leaving))
        owner = self._ownership.owner(pending.token)
        assert owner is not None
        foreign = self._claims.foreign.get(pending.token)
        if owner != self._ownership.name and self._ownership.is_near(owner) and not self._is_kept(connection):
            self.hand_overs.give(connection, owner)
            return
        self._waiting.pop(connection, None)
        if owner == self._ownership.name and not foreign:
            self._bindings.bind(connection, pending)
        elif self._claims.pending.get(pending.token) is not connection and self._bindings.may_bind(connection, pending):
            if foreign:
                self._bindings.outbid(connection, foreign)
            older = self._claims.pending.get(pending.token)
            if older:
                self._bindings.replace(older)
            self.claiming.ask(connection)

    def _is_kept(self, connection: Connection) -> bool:
        """Whether its owner has refused it often enough."""
        return self._refusals.get(connection, 0) >= _REFUSALS_MAX

    def _claimed(self, connection: Connection) -> None:
        """The claim for a SUB is in force."""
        pending = connection.pending
        if pending is None or connection.state != State.BINDING or not self._clients.table.holds(connection):
            return
        if self._bindings.bind(connection, pending):
            self._clients.resume(connection)
            self.moving.start_scan(RETRY_S)  # another ring may have come meanwhile

    # --- taking (gateway.hand_overs.Taker)

    def wants(self, connection: Connection) -> bool:
        """Whether an arriving client belongs here: its token's slot is ours or another host's, or it has none yet.

        A leaving worker takes clients until it has seen the ring without it: pushes may wait here for them.
        """
        if self.stopping or self._ownership.name not in self._ownership.live:
            return False
        token = connection.pending.token if connection.pending else connection.token
        owner = self._ownership.owner(token) if token else None
        return owner is None or owner == self._ownership.name or not self._ownership.is_near(owner)

    def arrived(self, connection: Connection) -> None:
        """A client is ours now."""
        self._bindings.saw(connection)
        if connection.state == State.BINDING and connection.pending:
            self._place(connection)
        elif connection.state == State.BOUND:
            if connection.recent:
                self._deliveries.watch(connection, self._clients.wheel.tick + RECENT_TICKS)
            self._enter_again(connection)
        self._go_on(connection)

    def _enter_again(self, connection: Connection) -> None:
        """Bind a client that was bound, and send what it has missed on its way."""
        if self._bindings.enter(connection, connection.token or b""):
            self._fan_outs.catch_up(connection)
            self._claim_if_far(connection)
            self._deliveries.keeping.arrived(connection)
            self._bindings.release(connection)

    def _claim_if_far(self, connection: Connection) -> None:
        """Claim a client that is bound here though another has its token, or has claimed it."""
        token = connection.token or b""
        owner, foreign = self._ownership.owner(token), self._claims.foreign.get(token)
        if foreign:
            self.claiming.meet(connection, foreign)
        elif owner is not None and not self._ownership.is_near(owner):
            self.claiming.keep(connection)

    def _go_on(self, connection: Connection) -> None:
        if connection.fd >= 0 and connection.state in (State.OPEN, State.BOUND):
            self._clients.resume(connection)

    def taken_over(self, connection: Connection, claimed: bool = False) -> None:
        """A client of a dead predecessor is served on.

        `claimed`: it may have been. It is again, until the ring tells whether that is needed.
        """
        self._bindings.saw(connection)
        self._fan_outs.marks.taken_over(connection)
        bound = connection.state == State.BOUND and self._bindings.enter(connection, connection.token or b"")
        if bound:
            self._deliveries.keeping.bound(connection)
        if bound and claimed:
            self.claiming.keep(connection)

    def came_back(self, connection: Connection) -> None:
        """A client could not be given. It is held here again until it can be."""
        if connection in self.unfit:
            self.unfit.discard(connection)
            self._clients.adopt_again(connection, 1)
            self._clients.destroy(connection, CloseReason.WORKER_LOST)
            return
        self._clients.adopt_again(connection, max(connection.deadline - self._clients.wheel.tick, 1))
        if connection.state == State.BINDING:
            self._waiting.setdefault(connection, self._clients.wheel.tick)
            self._clients.later(RETRY_S, lambda: self._retry(connection))
            return
        if connection.state == State.BOUND:
            self._enter_again(connection)
        self._go_on(connection)
        self.moving.start_scan(RETRY_S)

    # --- giving

    def _given(self, connection: Connection) -> None:
        """Another worker has it now."""
        self._deliveries.keeping.given(connection)
        self.given(connection)
        self._refusals.pop(connection, None)
        self._waiting.pop(connection, None)
        token = connection.token
        if token is None or token in self._clients.table.by_token or token in self._claims.pending:
            return
        if self._claims.claimed_by(connection):
            self.claiming.given(connection)
        elsewhere = not self._ownership.owns(token) or self._ownership.is_settled(token)
        if elsewhere and token not in self._claims.handed:
            self._lost(token)

    def _refused(self, connection: Connection) -> None:
        self._refusals[connection] += 1

    def _lost(self, token: bytes) -> None:
        """The client of a token is with another: what was held for it goes there."""
        self._report(self._deliveries.stale(token))

    def _report(self, late: Late) -> None:
        if late:
            self.late(late)

    def _consider(self, connection: Connection) -> None:
        """Where a client belongs under the present ring: it is given there, or claimed."""
        if connection.state == State.BOUND:
            owner = self._ownership.owner(connection.token or b"")
            if owner == self._ownership.name:
                self._stay(connection)
                if self._claims.mine and self.moving.open and self._claims.claimed_by(connection):
                    self.claiming.withdraw(connection.token or b"")
            elif owner is not None:
                self._consider_foreign(connection, owner)
        elif connection.state == State.OPEN and self._may_leave and not self._owes(connection):
            self.hand_overs.give(connection, self._chance.choice(self._ownership.others))

    @property
    def _may_leave(self) -> bool:
        return self.leaving and bool(self._ownership.others) and self.moving.open

    def _consider_foreign(self, connection: Connection, owner: str) -> None:
        near = self._ownership.is_near(owner)
        if not near and self.leaving and self._ownership.others:
            near, owner = True, self._chance.choice(self._ownership.others)
        if not near or self._is_kept(connection):
            self.claiming.keep(connection)
        elif self.moving.open:
            if self._owes(connection):
                return
            # its new owner may be too new to have them
            self._fan_outs.catch_up(connection, leaving=True)
            if connection.state == State.BOUND:
                self.pack(connection)
                self.hand_overs.give(connection, owner)

    def _owes(self, connection: Connection) -> bool:
        """Whether a client that is to go must wait for what is owed to it; it says nothing more meanwhile."""
        if connection.calls or connection.stores:
            self._due.add(connection)
            self._clients.hold(connection, Hold.MOVE)
            return True
        return False

    def _stay(self, connection: Connection) -> None:
        """It need not go after all."""
        if connection in self._due:
            self._due.discard(connection)
            self._clients.release(connection, Hold.MOVE)

    def owed_nothing(self, connection: Connection) -> None:
        """To be called when a client's `calls` and `stores` are both 0 again: it is bound anew, or goes, if due."""
        action = self._binds.pop(connection, None)
        due = connection in self._due
        self._due.discard(connection)
        if self._clients.table.holds(connection) and connection.state != State.CLOSING:
            if action:
                self.bind(connection, action)
            elif due:
                self._consider(connection)
        self._clients.release(connection, Hold.MOVE | Hold.BIND)

    # --- another ring

    def ring_changed(self) -> None:
        """Give what the new ring takes from us, then say MOVED."""
        self._refusals.clear()
        self._claims.keep_foreign(self._ownership.owns)
        self._report(self._deliveries.give_up_stale())
        for connection in list(self._waiting):
            self._retry(connection)
        self.moving.ring_changed()

    def _settled(self, in_time: bool) -> None:
        """Whoever was to come has come, or has not within the time."""
        self._report(self._deliveries.give_up(Outcome.OFFLINE if in_time else Outcome.UNAVAILABLE))
        if in_time:
            self.settled()

    def give_up(self) -> None:
        """This worker ends: what is held is for another, if the routers have one by then."""
        outcome = STALE if self.out else Outcome.UNAVAILABLE
        self._report([(push, int(outcome)) for _, push in self._deliveries.held.take_all()])

    # --- time

    def _tick(self, tick: int) -> None:
        for connection, since in list(self._waiting.items()):
            if connection.fd < 0 or connection.state != State.BINDING:
                del self._waiting[connection]
            elif not self._clients.table.holds(connection):
                continue  # it has been given again
            elif tick - since >= self._timeout_s:
                del self._waiting[connection]
                self._bindings.refuse(connection, 503, "no worker for this token", CloseReason.UNAVAILABLE)
            else:
                self._retry(connection)
        self.moving.tick(tick)
        if self._deliveries.held.count and not self._ownership.awaited:
            self._report(self._deliveries.give_up(STALE))  # for clients that were away, and went
        for connection in [connection for connection in self._refusals if connection.fd < 0]:
            del self._refusals[connection]
        if self.leaving and not self.moving.scanning and self._clients.table.count:
            self.moving.start_scan(0)

    def _retry(self, connection: Connection) -> None:
        if self._clients.table.holds(connection) and connection.state == State.BINDING:
            self._place(connection)
            if connection.state == State.BOUND:
                self._clients.resume(connection)

    def ended(self, connection: Connection) -> None:
        """A client has ended: it is claimed no longer, and nothing waits for it."""
        self._due.discard(connection)
        self._binds.pop(connection, None)
        self._deliveries.keeping.ended(connection)
        token = token_of(connection)
        coming = self._claims.pending.get(token) is connection
        self.claiming.ended(connection)
        if coming and token not in self._clients.table.by_token:
            self._lost(token)

    # --- leaving

    @property
    def out(self) -> bool:
        """Whether a ring without this worker is in force: no router that it hears sends pushes here any more."""
        return self.moving.open and self._ownership.name not in self._ownership.live

    @property
    def empty(self) -> bool:
        """Whether every client has been given away or has ended, no push can be on its way to one, and no other worker
        may still have to ask about one."""
        if self._clients.table.count or self.hand_overs.count or self._deliveries.keeping.busy:
            return False
        return self.claiming.idle and not self.hand_overs.may_be_asked

    def disconnect_all(self, reason: CloseReason) -> None:
        """Tell every client to come back later, each at its own time, and close."""
        for connection in list(self._clients.table.by_fd):
            if connection is not None and connection.state != State.CLOSING:
                words = self._encoder.last_words(connection, reason, self._chance.randint(0, self._retry_after_ms))
                self._clients.close(connection, reason, words)

    def stop(self) -> None:
        """Close the links to other workers."""
        self.hand_overs.close()
