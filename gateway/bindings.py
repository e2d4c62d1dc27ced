"""Bindings: which of this worker's clients has a token. Of two for one token the greater binding stays."""

import random
from collections.abc import Callable

from gateway.claims import rank
from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Pending
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.fan_outs import FanOuts
from gateway.held_pushes import HeldPush
from gateway.ownership import Ownership
from gateway.sessions import SessionRules
from shared.bus_claims import Claim
from shared.reasons import CloseReason

#: Outcomes of pushes that were held, for LATE1.
Late = list[tuple[HeldPush, int]]


class Bindings:
    """Numbers bindings, makes them, and ends those that have lost."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        rules: SessionRules,
        encoder: Encoder,
        deliveries: Deliveries,
        fan_outs: FanOuts,
        chance: random.Random,
        report: Callable[[Late], None],
    ) -> None:
        self._clients = clients
        self._ownership = ownership
        self._rules = rules
        self._encoder = encoder
        self._deliveries = deliveries
        self._fan_outs = fan_outs
        self._chance = chance
        self._report = report
        self._last = 0
        #: Tells a client that it is bound.
        self.answer: Callable[[Connection, bytes], None] = clients.answer

    def number(self, connection: Connection, least: int) -> None:
        """A binding greater than any that was seen here, and `least` at the least."""
        self._last = max(least, self._last + 1)
        connection.binding, connection.bound_by, connection.moves = self._last, self._ownership.name, 0

    def outbid(self, connection: Connection, claim: Claim) -> None:
        """A binding that wins against another worker's claim."""
        self.number(connection, claim.binding + 1)

    def saw(self, connection: Connection) -> None:
        """A client that was bound elsewhere, or by a predecessor."""
        self._last = max(self._last, connection.binding)

    def new_token(self, any_owner: bool) -> bytes:
        """128 random bits in hex, drawn until this worker owns them, if it owns any and `any_owner` will not do."""
        while True:
            token = self._chance.randbytes(16).hex().encode()
            if any_owner or not self._ownership.share or self._ownership.owns(token):
                return token

    def bind(self, connection: Connection, pending: Pending) -> bool:
        """Answer a SUB or CONNECT: the client is bound, or refused. What was held for it follows."""
        if not self.may_bind(connection, pending):
            return False
        older = self._clients.table.by_token.get(pending.token)
        if older and rank(older) >= rank(connection):
            # whoever says SUB later is the newer one, whatever the clocks of the workers where the two landed say
            self.number(connection, older.binding + 1)
        connection.pending = None
        was_bound = pending.ack is not None and bool(connection.fan_out_seen)
        if not was_bound:
            connection.fan_out_seen = self._fan_outs.for_new
        if not self.enter(connection, pending.token):
            return False
        if not was_bound:
            self._clients.logs.opened(connection)
        self.answer(connection, self._rules.welcome(connection, pending))
        if was_bound:
            self._fan_outs.catch_up(connection)
        self._deliveries.keeping.bound(connection)
        self.release(connection)
        return True

    def may_bind(self, connection: Connection, pending: Pending) -> bool:
        """Whether it may have the token; it is refused if not."""
        older = self._clients.table.by_token.get(pending.token)
        if older and not self._rules.may_replace(connection, older):
            self.refuse(connection, 403, "the token belongs to another uid", CloseReason.REJECTED)
            return False
        return True

    def refuse(self, connection: Connection, status: int, message: str, reason: CloseReason) -> None:
        """Answer a SUB or CONNECT that cannot be bound, and close."""
        self._clients.close(
            connection, *self._rules.turned_away(connection, connection.pending, status, message, reason)
        )

    def enter(self, connection: Connection, token: bytes) -> bool:
        """Bind in the table; False: another has a greater binding, and this one is closed."""
        older = self._clients.table.by_token.get(token)
        if older and rank(older) > rank(connection):
            connection.token = token
            self.replace(connection)
            return False
        if older:
            self.replace(older)
        self._clients.table.bind(connection, token)
        return True

    def replace(self, connection: Connection) -> None:
        """Another client has its token."""
        reason = CloseReason.REPLACED
        self._clients.close(connection, reason, self._encoder.last_words(connection, reason))

    def release(self, connection: Connection) -> None:
        """Deliver what was held for it."""
        self._report(self._deliveries.release(connection))
