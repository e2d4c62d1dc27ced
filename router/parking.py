"""Order where slots change hands: what must be resolved before pushes of these slots may go on.

A push that came back STALE goes before every later one to its token. So when the pushes of a slot get another way, they
wait until all batches that went the old way are resolved; then first go those that came back, in the order of their
batches, then those that waited.
"""

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

    A worker that has let a push come back lets all to that token come back until the router's next RING1, its fence:
    else it might deliver a later one that was under way as well, if it has got the client meanwhile.
    """

    def __init__(self) -> None:
        self._returned: list[Returned] = []
        self._workers: set[str] = set()  # that let pushes come back
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

    def add(self, returned: Returned) -> None:
        """A push has come back."""
        self._returned.append(returned)
        self._workers.add(returned.worker)
        if len(self._returned) >= self._purge_at:
            self._returned = [each for each in self._returned if not each.pending.answered]
            self._purge_at = 2 * len(self._returned) + _PURGE_AFTER

    def take_workers(self) -> set[str]:
        """Those that have let pushes come back since the last call, and need a fence."""
        workers, self._workers = self._workers, set()
        return workers

    def take(self) -> Iterator[Returned]:
        """Those that came back and are still wanted, in the order in which they were sent."""
        returned, self._returned = self._returned, []
        for each in sorted(returned, key=lambda each: (each.batch.number, each.place)):
            if not each.pending.answered:
                yield each
