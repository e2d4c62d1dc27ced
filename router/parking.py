"""Order where slots change hands: what must be resolved before pushes of these slots may go on.

A push that came back STALE goes before every later one to its token. So when the pushes of a slot get another way, they
wait until all batches that went the old way are resolved; then first go those that came back, in the order of their
batches, then those that waited.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from router.batches import Batch
from router.members import Worker
from router.pending import PendingPushes

#: Pushes of answered requests are cleared out when so many more have come back.
_PURGE_AFTER = 4_096


class Returned(NamedTuple):
    """A push that came back STALE: push number `place` of a batch to `worker`. `item`: its token and payload."""

    batch: Batch
    place: int
    worker: str
    pending: PendingPushes
    entry: bytes
    item: bytes


class Parking:
    """Pushes that came back, and the batches to wait for.

    A worker that has let a push come back lets all to that token come back until the router's fence for its slot (in
    RING1): else it might deliver a later one that was under way as well, if it has got the client meanwhile.
    """

    def __init__(self) -> None:
        self._returned: list[Returned] = []
        self._owed: defaultdict[str, set[int]] = defaultdict(set)  # by worker, slots of which it let pushes come back
        self._awaited: dict[int, Batch] = {}
        self._purge_at = _PURGE_AFTER

    @property
    def waits(self) -> bool:
        """Whether a batch is waited for."""
        return bool(self._awaited)

    def wait_for(self, workers: Iterable[Worker]) -> None:
        """Everything that these workers have not resolved."""
        for worker in workers:
            self._awaited |= worker.in_flight
            self._awaited |= worker.held

    def resolved(self, number: int) -> None:
        """Nothing more comes of that batch."""
        self._awaited.pop(number, None)

    def drop_expired(self) -> None:
        """Batches of which every request has been answered are not waited for: nothing of them can come back."""
        for number, batch in list(self._awaited.items()):
            if all(part.pending.answered for part in batch.parts):
                del self._awaited[number]

    def add(self, returned: Returned, slot: int) -> bool:
        """A push has come back; whether it is the first of this slot and worker, which then owes all that it has."""
        self._returned.append(returned)
        owed = self._owed[returned.worker]
        first = slot not in owed
        owed.add(slot)
        if len(self._returned) >= self._purge_at:
            self._returned = [each for each in self._returned if not each.pending.answered]
            self._purge_at = 2 * len(self._returned) + _PURGE_AFTER
        return first

    def take_owed(self) -> dict[str, list[int]]:
        """Workers that have let pushes come back since the last call, and the slots of which they need a fence."""
        owed, self._owed = self._owed, defaultdict(set)
        return {worker: sorted(slots) for worker, slots in owed.items()}

    def take(self) -> Iterator[Returned]:
        """Those that came back and are still wanted, in the order in which they were sent."""
        returned, self._returned = self._returned, []
        for each in sorted(returned, key=lambda each: (each.batch.number, each.place)):
            if not each.pending.answered:
                yield each
