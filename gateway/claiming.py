"""Claiming: telling the routers of clients that are held here for owners elsewhere, and hearing of others' claims.

A SUB is answered when every router that is heard has the claim in force, or after a second: from then on a push finds
the client by whichever router it comes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.claims import CLAIMS_MAX, Claims, claim_of, rank, token_of
from gateway.client_loop import ClientLoop
from gateway.connections import Connection, State
from gateway.ownership import Ownership
from shared.bus import CLAIM1, UNCLAIM1, Claim, encode_claims

#: A SUB waits no longer than this for routers.
_WAIT_S = 1.0
#: So long after a claim has ended, or gone to another worker, a push may still be on its way by it.
_LINGER_S = 0.3


@dataclass(slots=True, eq=False)
class _Asked:
    """A CLAIM1 with SUBs that wait for it."""

    routers: set[int]  # that have not answered yet
    connections: dict[Connection, None]


class Claiming:
    """The claims of one worker, kept up with the routers. All that comes up in one turn goes in one message."""

    def __init__(self, clients: ClientLoop, ownership: Ownership, claims: Claims) -> None:
        self._clients = clients
        self._ownership = ownership
        self._claims = claims
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._to_claim: list[Claim] = []
        self._to_unclaim: list[Claim] = []
        self._to_bind: dict[Connection, None] = {}
        self._scheduled = False
        self._lingering = 0
        self._raised: set[Connection] = set()
        self.heard: Callable[[], Iterable[int]] = tuple  # routers
        self.say: Callable[[list[bytes]], None] = lambda frames: None  # to all routers
        self.bind: Callable[[Connection], None]  # a SUB's claim is in force
        self.replace: Callable[[Connection], None]  # a client has lost its token
        self.outbid: Callable[[Connection, Claim], None]  # make a binding that wins
        self.lost: Callable[[bytes], None] = lambda token: None  # its client is with another

    # --- own claims

    def ask(self, connection: Connection) -> None:
        """Claim what a SUB asks for, then `bind`."""
        claim = claim_of(connection)
        self._claims.pending[claim.token] = connection
        for asked in self._asked.values():
            asked.connections.pop(connection, None)  # what was asked for it before is not enough
        self._to_bind[connection] = None
        self._claim(claim)

    def keep(self, connection: Connection) -> None:
        """Claim a bound client, unless it is claimed, or about to be replaced by one that asks for its token."""
        coming = self._claims.pending.get(token_of(connection))
        if (coming is None or coming is connection) and not self._claims.claimed_by(connection):
            self._claim(claim_of(connection))

    def _claim(self, claim: Claim) -> None:
        self._claims.mine[claim.token] = claim
        self._claims.foreign.pop(claim.token, None)
        self._claims.handed.discard(claim.token)
        self._to_claim.append(claim)
        self._clients.counters["clients_claimed"] += 1
        self._schedule()

    def withdraw(self, token: bytes) -> None:
        """The client of a claimed token has ended, or is with its owner now."""
        claim = self._claims.forget(token)
        if claim:
            self._to_unclaim.append(claim)
            self._schedule()

    def given(self, connection: Connection) -> None:
        """A claimed client is with another worker: its owner, or one that claims it in turn.

        Then pushes that still come here wait until that one's claim is in force; only then does this one end.
        """
        claim = claim_of(connection)
        if self._ownership.is_near(self._ownership.owner(claim.token) or ""):
            self.withdraw(claim.token)
        else:
            self._claims.handed.add(claim.token)
            self._clients.later(_LINGER_S, lambda: self._end_handed(claim.token))

    def _end_handed(self, token: bytes) -> None:
        if token in self._claims.handed:
            self.withdraw_now(token)
            self.lost(token)

    @property
    def idle(self) -> bool:
        """Whether no push can be on its way here by a claim that has ended."""
        return not self._lingering and not self._claims.handed

    def withdraw_now(self, token: bytes) -> None:
        """The same, said before whatever is said next."""
        self.withdraw(token)
        self._flush()

    def ended(self, connection: Connection) -> None:
        """A client has ended. If another is bound to its token, that one is claimed in its place."""
        self._raised.discard(connection)
        token = token_of(connection)
        if not self._claims.mine or not self._claims.claimed_by(connection):
            return
        self.withdraw(token)
        holder = self._clients.table.by_token.get(token)
        if holder and not self._ownership.owns(token):
            self.keep(holder)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clients.soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        claims, self._to_claim = self._to_claim, []
        unclaims, self._to_unclaim = self._to_unclaim, []
        binding, self._to_bind = self._to_bind, {}
        for start in range(0, len(claims), CLAIMS_MAX):
            self._number += 1
            self.say(encode_claims(CLAIM1, claims[start : start + CLAIMS_MAX], self._number))
        for start in range(0, len(unclaims), CLAIMS_MAX):
            self.say(encode_claims(UNCLAIM1, unclaims[start : start + CLAIMS_MAX]))
        if unclaims:
            self._lingering += 1
            self._clients.later(_LINGER_S, self._stop_lingering)
        if binding:
            self._await(self._number, _Asked(set(self.heard()), binding))

    def _stop_lingering(self) -> None:
        self._lingering -= 1

    def _await(self, number: int, asked: _Asked) -> None:
        """Answer the SUBs when the last CLAIM1 of this turn is in force: those before it are then, too."""
        self._asked[number] = asked
        if asked.routers:
            self._clients.later(_WAIT_S, lambda: self._bind_all(number))
        else:
            self._bind_all(number)

    def claimed(self, router: int, number: int) -> None:
        """CLAIMED1."""
        asked = self._asked.get(number)
        if asked:
            asked.routers.discard(router)
            if not asked.routers:
                self._bind_all(number)

    def _bind_all(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        for connection in asked.connections if asked else ():
            token = token_of(connection)
            if self._claims.pending.get(token) is not connection:
                continue
            if not self._claims.claimed_by(connection):
                self.ask(connection)
                continue
            del self._claims.pending[token]
            self._raised.discard(connection)
            self._clients.guarded(self.bind, connection)

    def repeat(self, say: Callable[[list[bytes]], object]) -> None:
        """Tell all claims to a router that may not know them."""
        for chunk in self._claims.chunks():
            self._number += 1
            say(encode_claims(CLAIM1, chunk, self._number))

    # --- others' claims

    def taken(self, claims: Iterable[Claim]) -> None:
        """TAKEN1: other workers have these tokens."""
        for claim in claims:
            holder = self._claims.pending.get(claim.token) or self._clients.table.by_token.get(claim.token)
            if holder is None:
                self._taken_absent(claim)
            elif rank(holder) < rank(claim):
                self._taken_from(holder, claim)
            elif rank(holder)[:2] > rank(claim)[:2]:  # not its own, told of an earlier holder
                self.keep(holder)

    def forget_others(self) -> None:
        """A router that has started anew tells all claims there are: others have ended while it was away."""
        self._claims.foreign.clear()

    def _taken_absent(self, claim: Claim) -> None:
        if self._ownership.owns(claim.token):
            self._claims.learn(claim)
            self.lost(claim.token)

    def _taken_from(self, holder: Connection, claim: Claim) -> None:
        """Another worker's client wins. One whose SUB is not answered yet is newer than its clock says: once it may try
        again."""
        self._claims.forget(claim.token)
        if holder.state == State.BINDING and holder not in self._raised:
            self._raised.add(holder)
            self.outbid(holder, claim)
            self.ask(holder)
            return
        self._taken_absent(claim)
        self.replace(holder)

    def freed(self, claims: Iterable[Claim]) -> None:
        """FREED1: they have them no longer."""
        for claim in claims:
            self._claims.freed(claim)
