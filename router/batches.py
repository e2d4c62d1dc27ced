"""Pushes that wait in the router for one worker, and the batches they leave in.

The unit here is the part, the pushes of one request that go to one worker, so that a push costs no object.
"""

from collections.abc import Callable, Sequence

from router.pending import Part, PendingPushes
from shared.bus import ENTRY, Segment, encode_batch
from shared.rings import Epoch

#: A batch holds at most this much, or one push.
BATCH_PUSHES = 4096
BATCH_BYTES = 4 << 20

#: Append to a lane's entries, append to its data.
Adders = tuple[Callable[[bytes], None], Callable[[bytes], None]]


class Batch:
    """One PUSHES1, kept until its requests are answered. `index` is as sent and tells each push's position."""

    __slots__ = ("all_sent", "count", "held", "index", "number", "outcomes", "parts")

    def __init__(self, number: int, parts: list[Part], count: int, index: bytes) -> None:
        self.number, self.parts, self.count, self.index = number, parts, count, index
        self.outcomes: bytes | bytearray | None = None  # None: not answered
        self.all_sent = False
        self.held = 0  # pushes answered HELD, for which LATE1 has not come

    def take_parts(self) -> list[Part]:
        """Its parts, when nothing more is to come; then it is free without the garbage collector's help."""
        parts, self.parts = self.parts, []
        return parts


class Lane:
    """What waits for one worker. `entries` and `data` have one element per push and keep their identity."""

    __slots__ = ("add", "counted", "data", "dead", "entries", "parts", "size_bound", "worker")

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.entries: list[bytes] = []
        self.data: list[bytes] = []
        self.parts: list[Part] = []
        self.counted = 0  # pushes that belong to `parts`
        self.size_bound = 0  # at least the bytes in `data`
        self.dead = 0  # pushes whose request has been answered
        self.add: Adders = (self.entries.append, self.data.append)

    def close_part(self, pending: PendingPushes, size_bound: int) -> None:
        """What was added since the last part is `pending`'s, and has at most `size_bound` bytes."""
        part = Part(pending, len(self.entries) - self.counted, self)
        self.counted = len(self.entries)
        self.size_bound += size_bound
        self.parts.append(part)
        pending.parts.append(part)

    def bury(self, count: int) -> None:
        """So many of its pushes have died. Bounded: the dead are never more than the living, or few."""
        self.dead += count
        if self.dead > max(BATCH_PUSHES, self.counted // 2):
            self.drop_dead()

    def drop_dead(self) -> None:
        """Take out the pushes of answered requests."""
        if not self.dead:
            return
        living, self.dead = self.chunks(), 0
        self._refill([chunk for chunk in living if not chunk[0].pending.answered])

    def chunks(self) -> list[tuple[Part, list[bytes], list[bytes]]]:
        """(part, its entries, its data) in order."""
        chunks, start = [], 0
        for part in self.parts:
            end = start + part.count
            chunks.append((part, self.entries[start:end], self.data[start:end]))
            start = end
        return chunks

    def _refill(self, chunks: Sequence[tuple[Part, list[bytes], list[bytes]]]) -> None:
        self.clear()
        for part, entries, data in chunks:
            self.parts.append(part)
            self.entries += entries
            self.data += data
        self.counted = len(self.entries)
        self.size_bound = sum(map(len, self.data))

    def clear(self) -> None:
        """Empty it."""
        self.entries.clear()
        self.data.clear()
        self.parts = []
        self.counted = self.size_bound = 0

    def next_batch(self, number: int, epoch: Epoch) -> tuple[Batch, list[bytes]] | None:
        """Take as many waiting pushes as fit a batch; None if nothing waits. Returns it with its frames."""
        self.drop_dead()
        if not self.entries:
            return None
        if len(self.entries) <= BATCH_PUSHES and self.size_bound <= BATCH_BYTES:
            parts = self.parts
            frames = _encode(number, epoch, parts, self.entries, self.data)
            batch = Batch(number, parts, self.counted, frames[3])
            self.clear()
        else:
            count = self._fitting()
            parts = self._cut(count)
            frames = _encode(number, epoch, parts, self.entries[:count], self.data[:count])
            batch = Batch(number, parts, count, frames[3])
            self._drop_first(count)
        _assign(batch)
        return batch, frames

    def _fitting(self) -> int:
        """How many of the first pushes fit one batch; at least one."""
        size = 0
        for count, item in enumerate(self.data[:BATCH_PUSHES]):
            size += len(item)
            if size > BATCH_BYTES:
                return max(count, 1)
        return min(len(self.data), BATCH_PUSHES)

    def _cut(self, count: int) -> list[Part]:
        """The parts of the first `count` pushes, the last one split if need be; the others stay."""
        taken: list[Part] = []
        left = count
        for place, part in enumerate(self.parts):
            if part.count > left:
                if left:
                    rest = Part(part.pending, part.count - left, self)
                    part.pending.parts.append(rest)
                    part.count = left
                    taken.append(part)
                    self.parts[place] = rest
                self.parts = self.parts[place:]
                return taken
            taken.append(part)
            left -= part.count
        self.parts = []
        return taken

    def _drop_first(self, count: int) -> None:
        self.size_bound -= sum(map(len, self.data[:count]))
        del self.entries[:count], self.data[:count]
        self.counted -= count

    def put_back(self, batch: Batch, data: bytes) -> None:
        """A batch that could not be sent waits again, before everything else."""
        entries = [batch.index[at : at + ENTRY.size] for at in range(0, len(batch.index), ENTRY.size)]
        items, start = [], 0
        for target_bytes, payload_bytes, _ in ENTRY.iter_unpack(batch.index):
            end = start + target_bytes + payload_bytes
            items.append(data[start:end])
            start = end
        self.entries[:0], self.data[:0], self.parts[:0] = entries, items, batch.parts
        self.counted += batch.count
        self.size_bound += len(data)
        for part in batch.parts:
            part.batch, part.lane = None, self
            if part.pending.answered:
                self.dead += part.count


def _encode(
    number: int, epoch: Epoch, parts: Sequence[Part], entries: Sequence[bytes], data: Sequence[bytes]
) -> list[bytes]:
    segments = [Segment(part.count, *part.pending.segment) for part in parts]
    return encode_batch(epoch, number, segments, entries, data)


def _assign(batch: Batch) -> None:
    start = 0
    for part in batch.parts:
        part.lane, part.batch, part.start = None, batch, start
        start += part.count
