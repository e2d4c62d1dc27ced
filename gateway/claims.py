"""Claims: tokens whose client is bound on a worker that does not own them.

Pure. A client whose token is owned on another host cannot be handed over; its worker keeps it and says so to every
router. Of two workers that have a client for one token, the greater (binding, bound_by) wins; of two that have had the
same client, the later: it has counted one move more.
"""

from collections.abc import Callable, Collection, Iterator

from gateway.connections import Connection
from shared.bus_claims import Claim

#: Claims in one message.
CLAIMS_MAX = 1000


def rank(holder: Connection | Claim) -> tuple[int, str, int]:
    """What decides between two for one token: the greater stays."""
    return holder.binding, holder.bound_by, holder.moves


def token_of(connection: Connection) -> bytes:
    """The token that a connection is bound to, or asks for; empty: none."""
    return connection.token or (connection.pending.token if connection.pending else b"")


def claim_of(connection: Connection) -> Claim:
    """The claim that a connection stands for."""
    return Claim(token_of(connection), connection.binding, connection.bound_by, connection.moves)


class Claims:
    """What this worker has claimed, and what others have of its own tokens."""

    def __init__(self) -> None:
        self.mine: dict[bytes, Claim] = {}
        self.pending: dict[bytes, Connection] = {}  # claimed, and its SUB not answered yet
        #: Of `mine`, those just given to a worker that is about to claim them, and since when (tick).
        self.handed: dict[bytes, int] = {}
        self._lost: dict[bytes, set[int]] = {}  # of `mine`: the routers that have a greater claim
        self.foreign: dict[bytes, Claim] = {}  # of tokens owned here

    def chunks(self) -> Iterator[list[Claim]]:
        """All that is claimed here, in parts that fit a message."""
        claims = list(self.mine.values())
        for start in range(0, len(claims), CLAIMS_MAX):
            yield claims[start : start + CLAIMS_MAX]

    def claimed_by(self, connection: Connection) -> bool:
        """Whether it is this connection that its token is claimed for."""
        return self.mine.get(token_of(connection)) == claim_of(connection)

    def make(self, claim: Claim) -> None:
        """This worker claims a token."""
        self.mine[claim.token] = claim
        self.foreign.pop(claim.token, None)
        self.handed.pop(claim.token, None)
        self._lost.pop(claim.token, None)

    def forget(self, token: bytes) -> Claim | None:
        """This worker's claim of a token, which ends."""
        self.pending.pop(token, None)
        self.handed.pop(token, None)
        self._lost.pop(token, None)
        return self.mine.pop(token, None)

    def taken(self, claim: Claim, router: int) -> None:
        """A router has another worker's claim."""
        mine = self.mine.get(claim.token)
        if mine is not None and rank(mine) < rank(claim):
            self._lost.setdefault(claim.token, set()).add(router)

    def is_lost(self, token: bytes) -> bool:
        """Whether any router has a greater claim than this worker's."""
        return token in self._lost

    def is_void(self, token: bytes, routers: Collection[int]) -> bool:
        """Whether all of these routers have a greater claim, so that none sends anything by this worker's."""
        return bool(routers) and self._lost.get(token, set()).issuperset(routers)

    def learn(self, claim: Claim) -> None:
        """Another worker has a token that is owned here."""
        known = self.foreign.get(claim.token)
        if known is None or rank(known) < rank(claim):
            self.foreign[claim.token] = claim

    def freed(self, claim: Claim) -> None:
        """That worker has it no longer."""
        known = self.foreign.get(claim.token)
        if known is not None and rank(known) <= rank(claim):
            del self.foreign[claim.token]

    def keep_foreign(self, owned: Callable[[bytes], bool]) -> None:
        """A new ring: tokens that are not owned here any more are the new owner's business."""
        self.foreign = {token: claim for token, claim in self.foreign.items() if owned(token)}
