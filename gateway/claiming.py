"""Claiming: telling the routers of clients that are held here for owners elsewhere, and hearing of others' claims.

A SUB is answered when every router that is heard has the claim in force, or after a second: from then on a push finds
the client by whichever router it comes.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from gateway.claims import CLAIMS_MAX, Claims, claim_of, rank, token_of
from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.ownership import Ownership
from shared.bus import CLAIM1, UNCLAIM1
from shared.bus_claims import Claim, encode_claims

#: A SUB waits no longer than this for routers.
_WAIT_S = 1.0


@dataclass(slots=True, eq=False)
class _Asked:
    """A CLAIM1 with SUBs that wait for it."""

    routers: set[int]  # that have not answered yet
    connections: dict[Connection, None]


class Claiming:
    """The claims of one worker, kept up with the routers. All that comes up in one turn goes in one message."""

    def __init__(self, clients: ClientLoop, ownership: Ownership, claims: Claims, timeout_s: int) -> None:
        """A worker that was given a claimed client has `timeout_s` to claim it."""
        self._clients = clients
        self._ownership = ownership
        self._claims = claims
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._to_claim: list[Claim] = []
        self._to_unclaim: list[Claim] = []
        self._to_bind: dict[Connection, None] = {}
        self._scheduled = False
        self._timeout_s = timeout_s
        self._fence = 0  # number of the last CLAIM1 behind an UNCLAIM1
        self._unfenced: set[int] = set()  # routers that have not answered that one
        self._raised: set[Connection] = set()
        self.heard: Callable[[], Collection[int]] = tuple  # routers
        self.is_open: Callable[[], bool] = lambda: True  # whether all of these route by the present ring
        self.say: Callable[[list[bytes]], None] = lambda frames: None  # to all routers
        self.bind: Callable[[Connection], None]  # a SUB's claim is in force
        self.replace: Callable[[Connection], None]  # a client has lost its token
        self.outbid: Callable[[Connection, Claim], None]  # make a binding that wins
        self.lost: Callable[[bytes], None] = lambda token: None  # its client is with another
        clients.each_tick(self._tick)

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
        """Claim a bound client, unless it is claimed, or about to be replaced by one that asks for its token.

        One whose claim has been lost is claimed again: the routers tell to whom.
        """
        token = token_of(connection)
        claimed = self._claims.claimed_by(connection) and not self._claims.is_lost(token)
        if self._claims.pending.get(token) in (None, connection) and not claimed:
            self._claim(claim_of(connection))

    def _claim(self, claim: Claim) -> None:
        self._claims.make(claim)
        if not self._clients.ledger.own.get("claims"):  # a successor's READY1 announces all that it may have to claim
            self._clients.ledger.note_own(claims=True)
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

        Then pushes that still come here wait until the routers say that that one's claim is in force: TAKEN1 is the
        last that comes by this one.
        """
        claim = claim_of(connection)
        if self._ownership.is_near(self._ownership.owner(claim.token) or ""):
            self.withdraw(claim.token)
        else:
            self._claims.handed[claim.token] = self._clients.wheel.tick
            self._end_if_void(claim.token)

    def _end_if_void(self, token: bytes) -> None:
        if token in self._claims.handed and self._claims.is_void(token, self.heard()):
            self._end_handed(token)

    def _end_handed(self, token: bytes) -> None:
        self.withdraw_now(token)
        self.lost(token)

    def _tick(self, tick: int) -> None:
        for token, since in list(self._claims.handed.items()):
            owner = self._ownership.owner(token)
            needless = owner is not None and self._ownership.is_near(owner) and self.is_open()
            if needless or tick - since >= self._timeout_s:
                self._end_handed(token)
            else:
                self._end_if_void(token)  # a router may be heard no longer

    @property
    def idle(self) -> bool:
        """Whether no push can be on its way here by a claim that has ended."""
        return not self._claims.handed and self._unfenced.isdisjoint(self.heard())

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
        ended, self._to_unclaim = self._to_unclaim, []
        unclaims = [claim for claim in ended if claim.token not in self._claims.mine]  # else it has been claimed anew
        binding, self._to_bind = self._to_bind, {}
        for start in range(0, len(claims), CLAIMS_MAX):
            self._number += 1
            self.say(encode_claims(CLAIM1, claims[start : start + CLAIMS_MAX], self._number))
        for start in range(0, len(unclaims), CLAIMS_MAX):
            self.say(encode_claims(UNCLAIM1, unclaims[start : start + CLAIMS_MAX]))
        if binding:
            self._await(self._number, _Asked(set(self.heard()), binding))
        if unclaims:  # what is answered to the next CLAIM1 comes behind all pushes by these
            self._number = self._fence = self._number + 1
            self._unfenced = set(self.heard())
            self.say(encode_claims(CLAIM1, [], self._fence))

    def _await(self, number: int, asked: _Asked) -> None:
        """Answer the SUBs when the last CLAIM1 of this turn is in force: those before it are then, too."""
        self._asked[number] = asked
        if asked.routers:
            self._clients.later(_WAIT_S, lambda: self._bind_all(number))
        else:
            self._bind_all(number)

    def claimed(self, router: int, number: int) -> None:
        """CLAIMED1."""
        if number >= self._fence:
            self._unfenced.discard(router)
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

    def taken(self, claims: Iterable[Claim], router: int) -> None:
        """TAKEN1: other workers have these tokens."""
        for claim in claims:
            self._claims.taken(claim, router)
            coming = self._claims.pending.get(claim.token)
            if coming is None or not self._may_raise(coming, claim):
                self._taken(claim, coming, self._clients.table.by_token.get(claim.token))

    def meet(self, connection: Connection, claim: Claim) -> None:
        """A client is bound here now, and another worker has claimed its token."""
        self._taken(claim, connection)

    def _may_raise(self, coming: Connection, claim: Claim) -> bool:
        """One whose SUB is not answered yet is newer than its clock says: once it may try again."""
        if rank(coming) > rank(claim) or coming in self._raised:
            return False
        self._raised.add(coming)
        self.outbid(coming, claim)
        self.ask(coming)
        return True

    def _taken(self, claim: Claim, *holders: Connection | None) -> None:
        """The greater one stays."""
        stays = False
        for holder in holders:
            if holder is not None and rank(holder) < rank(claim):
                if self._claims.claimed_by(holder):
                    self.withdraw(claim.token)
                self.replace(holder)
            elif holder is not None:
                stays = True
                if rank(holder)[:2] > rank(claim)[:2]:  # not its own, told of an earlier holder
                    self.keep(holder)
        if not stays:
            if self._ownership.owns(claim.token):
                self._claims.learn(claim)
                self.lost(claim.token)
            self._end_if_void(claim.token)

    def forget_others(self) -> None:
        """A router that has started anew tells all claims there are: others have ended while it was away."""
        self._claims.foreign.clear()

    def freed(self, claims: Iterable[Claim]) -> None:
        """FREED1: they have them no longer."""
        for claim in claims:
            self._claims.freed(claim)
