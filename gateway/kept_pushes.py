"""Pushes whose senders want more than sending: to have them stored, or to know that they were acknowledged.

A push with ttl goes to the message cache and to the socket in the same turn, and has its outcome when one of them has
answered. Behind it, in `gateway.replays`, is who may be sent anything at once.
"""

import time
from collections.abc import Callable
from functools import partial

from gateway.acknowledged_ids import AcknowledgedIds
from gateway.acknowledgements import Acknowledgements
from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.deliveries import RECENT_TICKS, Deliveries
from gateway.held_pushes import HeldPush
from gateway.keeping import Placed
from gateway.late_outcomes import LateOutcomes
from gateway.ownership import Ownership
from gateway.replays import Replays
from gateway.stored_states import MAYBE_STORED, NOT_STORED, UNKNOWN_SEQ, StoredState, Written, expires_unix_ms
from gateway.storing import Storing
from shared import cached_messages as cached
from shared.bus import HELD, KEPT
from shared.outcomes import Outcome
from shared.settings import Settings, split
from shared.signals import PublishError

_ON_ITS_WAY = (Outcome.SENT, Outcome.BUFFERED)
#: What a stored message has beside its payload when it is read: it must fit an answer of `body_limit_bytes`.
_AROUND_BYTES = 1024
#: Codes of a call that was certainly not carried out.
_NOT_DONE = (PublishError.NOT_IMPLEMENTED, PublishError.QUEUE_FULL)


class KeptPushes:
    """`gateway.keeping.Keeping`: such pushes, and clients that are not live. Joins the parts that do it."""

    def __init__(self, clients: ClientLoop, deliveries: Deliveries, ownership: Ownership, settings: Settings) -> None:
        self._clients = clients
        self._deliveries = deliveries
        self._ownership = ownership
        self.late = LateOutcomes(clients)
        self.storing = Storing(
            clients,
            caches=settings.message_caches,
            has_caches=bool({"all", "message-cache"}.intersection(split(settings.services))),
            most=settings.held_pushes_max,
            most_bytes=settings.held_bytes_max,
        )
        self.acknowledgements = Acknowledgements(clients, self.storing, self.late)
        self.replays = Replays(
            clients,
            deliveries,
            self.storing,
            self.acknowledgements,
            self.late,
            window=settings.unacknowledged_max,
            is_settled=ownership.is_settled,
        )
        #: A client is owed nothing any more.
        self.owed_nothing: Callable[[Connection], None] = lambda connection: None
        self._acknowledged_ids = AcknowledgedIds(RECENT_TICKS)
        clients.each_tick(self._acknowledged_ids.forget)
        self.storing.changed = self._stores_changed
        deliveries.keeping = self

    # --- clients

    def bound(self, connection: Connection) -> None:
        """A connection has just been bound; it is sent what is stored."""
        token, tick = connection.token or b"", self._clients.wheel.tick
        connection.stores = self.storing.outstanding.get(token, 0)
        acknowledged = self._acknowledged_ids.take(token, tick)
        if acknowledged and not connection.recent:
            connection.recent = acknowledged
            self._deliveries.watch(connection, tick + RECENT_TICKS)
        self.replays.bound(connection)

    def arrived(self, connection: Connection) -> None:
        """A client that was bound before is here (again), with what it knew of stored pushes."""
        connection.stores = self.storing.outstanding.get(connection.token or b"", 0)
        self.acknowledgements.watch(connection)
        if connection.stored is not None and not connection.stored.live:
            self.replays.follow(connection)

    def acknowledged(self, connection: Connection, message_id: int) -> None:
        """PUB_ACK of a push."""
        if message_id in (connection.unacknowledged or ()):
            self._deliveries.traces.acknowledged(connection.token or b"", message_id, time.monotonic())
        self.acknowledgements.receive(connection, message_id)
        if connection.stored is not None and not connection.stored.live:
            self._clients.soon(self.replays.go_on, connection)  # behind those that have come with it

    def given(self, connection: Connection) -> None:
        """A client is with another worker."""
        self.acknowledgements.gone(connection)
        self.replays.gone(connection)

    def ended(self, connection: Connection) -> None:
        """A client has ended, or loses its token."""
        self.given(connection)
        if connection.token and connection.recent:
            self._acknowledged_ids.keep(connection.token, connection.recent)
        if connection.token and self._deliveries.held.count:
            self._clients.soon(self._end_waiting, connection.token)

    def _end_waiting(self, token: bytes) -> None:
        for push, outcome in self._deliveries.end_waiting(token):
            self.late.add(push, outcome)

    def _stores_changed(self, token: bytes, count: int) -> None:
        connection = self._clients.table.by_token.get(token)
        if connection is None:
            return
        connection.stores = count
        if not count:
            self.replays.go_on(connection)
            if not connection.calls:
                self.owed_nothing(connection)

    def owes_others(self) -> bool:
        """Whether pushes are being stored for tokens that are another worker's: it must not say that it has all."""
        claimed = self._deliveries.claims.mine
        return any(not self._ownership.owns(token) and token not in claimed for token in self.storing.outstanding)

    @property
    def busy(self) -> bool:
        """Whether any pushes are being stored."""
        return bool(self.storing.outstanding)

    # --- pushes

    def deliver(self, connection: Connection, push: HeldPush) -> int:
        """A push to a client that is here: its outcome, HELD or KEPT."""
        terms, state = push.terms, connection.stored
        if terms is not None and terms.ttl:
            token = connection.token or b""
            expires = expires_unix_ms(terms, _unix_ms())
            if expires <= _unix_ms():
                return Outcome.EXPIRED
            if self.storing.serves(token):
                self.replays.catch_up(connection)
                return self._store_and_send(connection, push, expires)
            if self.storing.keeps(token):
                return Outcome.UNAVAILABLE  # it can be kept when it is repeated
        if state is not None and not state.live:
            return self._queue(connection, push)
        placed = self._deliveries.place(connection, push.segment, push.position, push.payload)
        if terms is None or not terms.acked or not placed.message_id or placed.outcome not in _ON_ITS_WAY:
            return placed.outcome
        written = self.acknowledgements.note(connection, _key(push), placed.message_id, placed.size, NOT_STORED)
        self.acknowledgements.wait(written, push, placed.outcome)
        return KEPT

    def _queue(self, connection: Connection, push: HeldPush) -> int:
        """It waits behind a replay."""
        stalled = self.replays.is_stalled(connection)
        if stalled:
            return stalled
        if self._deliveries.held.hold(connection.token or b"", push):
            return HELD
        self._clients.counters["held_overflows"] += 1
        return Outcome.UNAVAILABLE

    def absent(self, token: bytes, push: HeldPush) -> int:
        """A push to a client that is nowhere: stored, if it may be."""
        terms = push.terms
        if terms is None or not terms.ttl:
            return Outcome.OFFLINE
        expires = expires_unix_ms(terms, _unix_ms())
        if expires <= _unix_ms():
            return Outcome.EXPIRED
        if not self.storing.serves(token):
            return Outcome.UNAVAILABLE
        return self._store(token, push, expires, None, None, Placed(Outcome.OFFLINE), absent=True)

    def _store_and_send(self, connection: Connection, push: HeldPush, expires: int) -> int:
        """Store it; send it, if the client is live and can take it."""
        token, state = connection.token or b"", connection.stored
        if len(push.payload) > self._deliveries.payload_max - _AROUND_BYTES:
            return Outcome.TOO_LARGE
        if not self.storing.has_room:
            return self._overflow()
        if state is not None and not state.live:
            return self._store(token, push, expires, None, None, Placed(Outcome.OFFLINE))
        placed = self._deliveries.place(connection, push.segment, push.position, push.payload)
        if placed.outcome in (Outcome.TOO_LARGE, Outcome.REFUSED):
            return placed.outcome
        if placed.copy and placed.outcome == Outcome.ACKED:
            return Outcome.ACKED
        written = None
        if placed.copy:
            written = self._first(connection, push)
        elif placed.outcome in _ON_ITS_WAY:
            written = self.acknowledgements.note(connection, _key(push), placed.message_id, placed.size, UNKNOWN_SEQ)
        elif placed.outcome == Outcome.OVERLOADED:  # from here on it reads what the cache has
            self.replays.begin(connection)
        if written is not None and connection.stored is not None:
            connection.stored.unanswered += 1
        return self._store(token, push, expires, connection, written, placed)

    @staticmethod
    def _first(connection: Connection, push: HeldPush) -> Written | None:
        """What is known of a push of which this is a copy, if it was sent and is not known to be stored."""
        key, state = _key(push), connection.stored
        return (
            next(
                (each for each in state.window.values() if each.key == key and each.seq in (UNKNOWN_SEQ, MAYBE_STORED)),
                None,
            )
            if state
            else None
        )

    def _store(
        self,
        token: bytes,
        push: HeldPush,
        expires: int,
        connection: Connection | None,
        written: Written | None,
        placed: Placed,
        *,
        absent: bool = False,
    ) -> int:
        terms = push.terms
        assert terms is not None
        if len(push.payload) > self._deliveries.payload_max - _AROUND_BYTES:
            return Outcome.TOO_LARGE
        if not self.storing.has_room:
            return self._overflow()
        signal, sub_signal = push.segment.signal, push.segment.sub_signal
        request_id = push.origin.request_id if push.origin is not None else ""
        operation = cached.Store(
            token,
            _key(push),
            signal,
            sub_signal,
            expires,
            terms.collapse,
            terms.sender,
            push.payload,
            absent,
            request_id,
        )
        state = connection.stored if connection is not None else None
        if written is None or connection is None or state is None:
            done = partial(self._stored, token, push)
        else:
            done = partial(self._stored_and_sent, connection, state, written, push, placed)
        self.storing.store(operation, done)
        return HELD

    def _overflow(self) -> int:
        self._clients.counters["store_overflows"] += 1
        return Outcome.UNAVAILABLE

    # --- what the cache answers

    def _stored(self, token: bytes, push: HeldPush, result: cached.Result | None, code: int) -> None:
        """The answer about a push that was not sent, or was sent before."""
        dropped = 0
        if isinstance(result, cached.Stored | cached.Copy):
            outcome, dropped = Outcome.STORED, result.dropped if isinstance(result, cached.Stored) else 0
            connection = self._clients.table.by_token.get(token)
            if connection is not None and connection.stored is not None:
                connection.stored.newest = max(connection.stored.newest, result.seq)
        else:
            outcome = _failure(result, code)
        self.late.add(push, outcome, dropped)

    def _stored_and_sent(
        self,
        connection: Connection,
        state: StoredState,
        written: Written,
        push: HeldPush,
        placed: Placed,
        result: cached.Result | None,
        _: int,
    ) -> None:
        """The answer about a push that is on its way to its client."""
        state.unanswered -= 1
        dropped = 0
        if isinstance(result, cached.Stored | cached.Copy):
            dropped = result.dropped if isinstance(result, cached.Stored) else 0
            self._is_stored(connection, state, written, push, placed, result.seq, dropped)
        else:
            self.acknowledgements.failed(state, written)
            self.late.add(push, self._not_stored(written, placed, result))
        if connection.stored is state:
            self.replays.go_on(connection)
            self.acknowledgements.tidy(connection)

    @staticmethod
    def _not_stored(written: Written, placed: Placed, result: cached.Result | None) -> int:
        """Its outcome when it is not stored, or nobody knows. (Repeated under its id it can be stored yet.)"""
        if written.acked and written.message_id:
            return Outcome.ACKED
        return placed.outcome if isinstance(result, cached.Full) else Outcome.UNKNOWN

    def _is_stored(
        self,
        connection: Connection,
        state: StoredState,
        written: Written,
        push: HeldPush,
        placed: Placed,
        seq: int,
        dropped: int,
    ) -> None:
        written.seq, token = seq, connection.token or b""
        state.after, state.newest = max(state.after, seq), max(state.newest, seq)
        here = connection.stored is state and self._clients.table.holds(connection)
        terms, outcome = push.terms, int(Outcome.STORED)
        if written.acked:
            self.storing.drop(token, [seq])
            self.storing.is_known(token, written.key)
            outcome = Outcome.ACKED if written.message_id else Outcome.SENT
        elif not written.message_id:
            outcome = Outcome.SENT if placed.outcome == Outcome.SENT else Outcome.STORED
        elif here and terms is not None and terms.acked:
            self.acknowledgements.wait(written, push, Outcome.STORED)
            outcome = KEPT
        self.late.add(push, outcome, dropped)


def _failure(result: cached.Result | None, code: int) -> Outcome:
    """The outcome of a push that was not sent, and of which the cache did not say that it has it."""
    if isinstance(result, cached.Full):
        return Outcome.OVERLOADED
    return Outcome.UNAVAILABLE if code in _NOT_DONE else Outcome.UNKNOWN


def _key(push: HeldPush) -> bytes:
    return cached.key_of(push.segment.id_prefix, push.position)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
