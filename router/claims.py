"""Claims: tokens whose clients are with a worker that does not own them, and what owners are told of them."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from router.members import Worker
from router.membership import Membership
from router.outbox import Outbox
from shared.bus import CLAIMED1, FREED1, TAKEN1, decode_control, decode_numbered, encode_numbered
from shared.bus_claims import Claim, decode_claims, encode_claims
from shared.errors import BusError
from shared.tokens import SLOTS, slot_of, token_fault

#: Claims in one message.
CHUNK = 1_000
#: After READY1, and after each CLAIM1 behind it, the next one comes within this time.
_REPEAT_S = 1.0


class Claimed(NamedTuple):
    """A claim in force, and the worker that has the client (`bound_by` may have handed it over)."""

    worker: str
    claim: Claim


class Claims:
    """Claims by token; the greatest (binding, bound_by, moves) is in force, and of one worker's its last.

    `moved`: (slot, where pushes of one of its tokens went until now), for the router's pushes to take.
    `version` grows with each change; `version_of` tells a slot's last one.
    """

    def __init__(self, membership: Membership, outbox: Outbox) -> None:
        self.by_token: dict[bytes, Claimed] = {}
        self.moved: list[tuple[int, str]] = []
        self.version = 0
        self._membership, self._outbox = membership, outbox
        self._tokens_of: defaultdict[str, set[bytes]] = defaultdict(set)
        self._unrepeated: dict[str, set[bytes]] = {}  # since the worker's last READY1
        self._repeat_by: dict[str, float] = {}
        self._looked = float("-inf")
        self._partly_told: set[str] = set()  # owners
        self._versions = [0] * SLOTS
        self._owners: Sequence[str] = ()

    def count_of(self, worker: Worker) -> int:
        """How many claims of a worker are in force."""
        return len(self._tokens_of.get(worker.name, ()))

    def version_of(self, slot: int) -> int:
        """The version in which a claim in this slot changed last."""
        return self._versions[slot]

    def take_moved(self) -> list[tuple[int, str]]:
        """`moved`, which is empty then."""
        taken, self.moved = self.moved, []
        return taken

    # what workers say

    def claim(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """CLAIM1, answered with CLAIMED1: its claims are in force, or lost to greater ones. Raises BusError."""
        number, body = decode_numbered(frames)
        claims = _checked(decode_claims(body))
        taken: defaultdict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            for name, winner in self._claim(worker.name, claim):
                taken[name].append(winner)
        for name, winners in taken.items():
            self._tell(name, TAKEN1, winners)
        self._outbox.to_workers.append((worker.identity, encode_numbered(CLAIMED1, number, {})))
        worker.claims_due = max(0, worker.claims_due - len(claims))
        if worker.name in self._unrepeated:
            self._await(worker, now)

    def _claim(self, name: str, claim: Claim) -> Iterator[tuple[str, Claim]]:
        """One claim of worker `name`. Yields whom to tell of which winner."""
        known = self.by_token.get(claim.token)
        self._unrepeated.get(name, set()).discard(claim.token)
        if known == (name, claim):
            return
        owner = self._owner(claim.token)
        told = {owner}
        if known is not None and known.worker == name:
            # its last word: a newer client may have gone and left the token to an older one
            if known.claim > claim and owner is not None and owner != name:
                self._tell(owner, FREED1, [known.claim])  # else it would not take the lesser one for news
        elif known is not None:
            if known.claim >= claim:  # the same: it has not been counted as a move, and the first stays
                yield name, known.claim
                return
            told.add(known.worker)
        self._set(claim.token, Claimed(name, claim))
        for other in told - {None, name}:
            yield str(other), claim

    def unclaim(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """UNCLAIM1: those of its claims that are in force, in just that form, are no more. Raises BusError."""
        claims = _checked(decode_claims(decode_control(frames)))
        self._free([claim for claim in claims if self.by_token.get(claim.token) == (worker.name, claim)])

    def begin(self, worker: Worker, now: float) -> None:
        """READY1: its claims are those that follow; others go when all of these have come, or nothing more comes."""
        self._unrepeated[worker.name] = set(self._tokens_of.get(worker.name, ()))
        self._await(worker, now)

    def _await(self, worker: Worker, now: float) -> None:
        self._repeat_by[worker.name] = now + _REPEAT_S
        if not worker.claims_due:
            self._drop_unrepeated(worker.name)

    def _drop_unrepeated(self, name: str) -> None:
        tokens = self._unrepeated.pop(name, None) or ()
        self._repeat_by.pop(name, None)
        self._free([self.by_token[token].claim for token in tokens if token in self._tokens_of[name]])

    def look(self, now: float) -> None:
        """Wait no longer for claims that were announced and do not come; tell owners of all, if they are known now.

        Time was over at the last look already, so that after a pause of this router what came meanwhile is read first.
        """
        for name in [name for name, until in self._repeat_by.items() if until <= self._looked]:
            self._drop_unrepeated(name)
        self._looked = now
        self._tell_rest()

    def drop(self, worker: Worker) -> None:
        """It is lost, or has left: so are its claims."""
        self._unrepeated.pop(worker.name, None)
        self._repeat_by.pop(worker.name, None)
        self._free([self.by_token[token].claim for token in self._tokens_of.get(worker.name, ())])
        self._tokens_of.pop(worker.name, None)

    # what owners are told

    def change_ring(self, owners: Sequence[str], fresh: Container[str]) -> None:
        """Tell new owners of the claims in their slots; not the `fresh` ones, who are told all."""
        before, self._owners = self._owners, owners
        taken: defaultdict[str, list[Claim]] = defaultdict(list)
        for token, claimed in self.by_token.items():
            slot = slot_of(token)
            if owners and (not before or before[slot] != owners[slot]) and owners[slot] != claimed.worker:
                taken[owners[slot]].append(claimed.claim)
        for name, claims in taken.items():
            if name not in fresh:
                self._tell(name, TAKEN1, claims)

    def tell_all(self, worker: Worker) -> None:
        """Tell a worker that has just come of all claims in its slots; that these are all, once this router knows."""
        claims = [
            claimed.claim
            for token, claimed in self.by_token.items()
            if claimed.worker != worker.name and self._owner(token) == worker.name
        ]
        whole = self._knows_all()
        (self._partly_told.discard if whole else self._partly_told.add)(worker.name)
        self._outbox.to_workers.append((worker.identity, encode_claims(TAKEN1, claims[:CHUNK], whole=whole)))
        self._tell(worker.name, TAKEN1, claims[CHUNK:])

    def _knows_all(self) -> bool:
        """Whether every worker has told its claims; one that only a ring has named may have some."""
        workers = self._membership.workers.values()
        return not any(worker.claims_due or worker.incarnation is None for worker in workers)

    def _tell_rest(self) -> None:
        """Who was told part of the claims is told all of them, when all are known."""
        if self._partly_told and self._knows_all():
            names, self._partly_told = self._partly_told, set()
            for worker in self._membership.workers.values():
                if worker.name in names and worker.reached:  # else it is told when it comes
                    self.tell_all(worker)

    def _owner(self, token: bytes) -> str | None:
        return self._owners[slot_of(token)] if self._owners else None

    def _free(self, claims: Iterable[Claim]) -> None:
        freed: defaultdict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            owner = self._owner(claim.token)
            if owner is not None and owner != self.by_token[claim.token].worker:
                freed[owner].append(claim)
            self._set(claim.token, None)
        for name, gone in freed.items():
            self._tell(name, FREED1, gone)

    def _set(self, token: bytes, claimed: Claimed | None) -> None:
        known, slot = self.by_token.get(token), slot_of(token)
        before = known.worker if known is not None else self._owner(token)
        after = claimed.worker if claimed is not None else self._owner(token)
        if known is not None:
            self._tokens_of[known.worker].discard(token)
        if claimed is None:
            del self.by_token[token]
        else:
            self.by_token[token] = claimed
            self._tokens_of[claimed.worker].add(token)
        self.version += 1
        self._versions[slot] = self.version
        if before is not None and before != after:
            self.moved.append((slot, before))

    def _tell(self, name: str, kind: bytes, claims: Sequence[Claim]) -> None:
        worker = self._membership.workers.get(name.encode())
        if worker is None or not worker.reached:
            return  # it is told all when it comes
        for start in range(0, len(claims), CHUNK):
            frames = encode_claims(kind, claims[start : start + CHUNK])
            self._outbox.to_workers.append((worker.identity, frames))


def _checked(claims: list[Claim]) -> list[Claim]:
    """Raises BusError for what cannot be a claim, or not be told on."""
    for claim in claims:
        if token_fault(claim.token) is not None or not 0 <= claim.binding < 1 << 63:
            raise BusError("claim whose token or binding is none")
        if not claim.bound_by.isprintable() or not 0 <= claim.moves < 1 << 63:
            raise BusError("claim by no worker, or moved less than never")
    return claims
