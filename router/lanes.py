"""Routing: which lane each push waits in, by the claims and the ring.

A push costs slice, crc32, array index and two appends: no object, no call of ours. 0.5 us (2 CPUs, 2026-11). Pushes of
parked slots wait in a lane of their own, which costs those of the others nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from zlib import crc32

from router.batches import Adders, Chunk, Lane
from router.claims import Claimed
from router.pending import Part, PendingPushes
from shared.bus import ENTRY
from shared.requests import TARGET
from shared.tokens import SLOTS

_SLOT_MASK = SLOTS - 1


class Lanes:
    """One lane per worker that owns slots or has claims, and for each slot the lane of its owner."""

    def __init__(self, claims: Mapping[bytes, Claimed]) -> None:
        self._claims = claims
        self._by_name: dict[str, Lane] = {}
        self._owners: list[Adders] = []
        self._names: list[str] = []  # the owner of each slot
        self.parked = Lane("")
        self.parked_slots: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._names)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._by_name.values())

    def route(self, pending: PendingPushes, index: bytes, data: bytes) -> None:
        """Put every push of a packed request into the lane of its token's owner. There must be a ring."""
        if self._claims:
            self._route_by_claims(pending, index, data)
            return
        owners, pack = self._owners, ENTRY.pack
        start = 0
        for position, (target_bytes, payload_bytes) in enumerate(TARGET.iter_unpack(index)):
            middle = start + target_bytes
            end = middle + payload_bytes
            add_entry, add_data = owners[crc32(data[start:middle]) & _SLOT_MASK]
            add_entry(pack(target_bytes, payload_bytes, position))
            add_data(data[start:end])
            start = end
        self._close_parts(pending, len(data))

    def _route_by_claims(self, pending: PendingPushes, index: bytes, data: bytes) -> None:
        """The same loop with one more look-up; apart, so that fleets on one host do not pay for it."""
        pack, start = ENTRY.pack, 0
        for position, (target_bytes, payload_bytes) in enumerate(TARGET.iter_unpack(index)):
            middle = start + target_bytes
            end = middle + payload_bytes
            add_entry, add_data = self._adders(data[start:middle])
            add_entry(pack(target_bytes, payload_bytes, position))
            add_data(data[start:end])
            start = end
        self._close_parts(pending, len(data))

    def route_some(self, pending: PendingPushes, index: bytes, data: bytes, positions: Sequence[int]) -> None:
        """The same for the pushes at `positions` (ascending) only."""
        wanted, start = set(positions), 0
        for position, (target_bytes, payload_bytes) in enumerate(TARGET.iter_unpack(index)):
            end = start + target_bytes + payload_bytes
            if position in wanted:
                self._add(ENTRY.pack(target_bytes, payload_bytes, position), data[start:end], target_bytes)
            start = end
        self._close_parts(pending, len(data))

    def route_packed(self, pending: PendingPushes, entries: Sequence[bytes], data: Sequence[bytes]) -> None:
        """The same for pushes of one request that were in a lane or batch before."""
        for entry, item in zip(entries, data, strict=True):
            self._add(entry, item, ENTRY.unpack(entry)[0])
        self._close_parts(pending, sum(map(len, data)))

    def target(self, token: bytes) -> str:
        """The worker that a push to `token` goes to, when its slot is not parked."""
        claimed = self._claims.get(token)
        return self._names[crc32(token) & _SLOT_MASK] if claimed is None else claimed.worker

    def _add(self, entry: bytes, item: bytes, target_bytes: int) -> None:
        add_entry, add_data = self._adders(item[:target_bytes])
        add_entry(entry)
        add_data(item)

    def _adders(self, token: bytes) -> Adders:
        adders = self._owners[crc32(token) & _SLOT_MASK]
        if self._claims and adders is not self.parked.add:
            claimed = self._claims.get(token)
            if claimed is not None:
                return self._lane(claimed.worker).add
        return adders

    def _lane(self, worker: str) -> Lane:
        lane = self._by_name.get(worker)
        if lane is None:
            lane = self._by_name[worker] = Lane(worker)
        return lane

    def _close_parts(self, pending: PendingPushes, size_bound: int) -> None:
        for lane in self._by_name.values():
            if len(lane.entries) != lane.counted:
                lane.close_part(pending, size_bound)
        if len(self.parked.entries) != self.parked.counted:
            self.parked.close_part(pending, size_bound)

    def get(self, worker: str) -> Lane | None:
        """The lane of a worker."""
        return self._by_name.get(worker)

    def moved(self, owners: Sequence[str]) -> list[tuple[int, str]]:
        """(slot, its owner until now) of the slots that have another owner in a new ring."""
        pairs = enumerate(zip(self._names, owners, strict=False))
        return [(slot, before) for slot, (before, after) in pairs if before != after]

    def change_ring(self, owners: Sequence[str], park: Iterable[int] = ()) -> list[Part]:
        """Route everything that waits by a new ring (a worker name per slot, or nothing), in order; park more slots.

        Returns the parts that have no owner any more: there is no worker.
        """
        if self._names == owners:
            return []
        chunks = [chunk for lane in self._by_name.values() for chunk in lane.take_all()]
        self._names = list(owners)
        self._by_name = {name: self._by_name.get(name) or Lane(name) for name in sorted(set(owners))}
        if not owners:
            chunks += self.parked.take_all()
            self.parked_slots.clear()
            for part, _, _ in chunks:
                part.lane = None
            return [part for part, _, _ in chunks]
        self._owners = [self._by_name[name].add for name in owners]
        self._park(self.parked_slots.union(park))
        self.route_chunks(chunks)
        return []

    def park(self, slots: set[int], workers: Iterable[str]) -> None:
        """What waits for these workers is routed again; from now on pushes of these slots are parked."""
        chunks = [chunk for name in set(workers) & self._by_name.keys() for chunk in self._by_name[name].take_all()]
        self._park(slots)
        self.route_chunks(chunks)

    def _park(self, slots: set[int]) -> None:
        self.parked_slots |= slots
        for slot in slots:
            self._owners[slot] = self.parked.add

    def unpark(self) -> list[Chunk]:
        """No slot is parked any more. Returns what was, to be given to `route_chunks`."""
        for slot in self.parked_slots:
            self._owners[slot] = self._by_name[self._names[slot]].add
        self.parked_slots.clear()
        return self.parked.take_all()

    def route_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Route again what was taken out of lanes."""
        for part, entries, data in chunks:
            part.lane = None
            part.pending.parts.remove(part)
            self.route_packed(part.pending, entries, data)
