"""Pushes that wait in the router for one worker, and the batches they leave in.

The unit here is the part, the pushes of one request that go to one worker, so that a push costs no object.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from router.pending import Part, PendingPushes
from shared.bus import ENTRY, ORIGIN, Segment, encode_batch
from shared.rings import Epoch

#: A batch holds at most this much, or one push.
BATCH_PUSHES = 4096
BATCH_BYTES = 4 << 20

#: A part, its entries, its data.
Chunk = tuple[Part, list[bytes], list[bytes]]

#: Append to a lane's entries, append to its data.
Adders = tuple[Callable[[bytes], None], Callable[[bytes], None]]


class Batch:
    """One PUSHES1, kept until its requests are answered. `index` and `data` are as sent; `index` has the positions.

    `version`: of the claims, when it was sent; `sent_at`: that time (monotonic seconds).
    """

    __slots__ = (
        "all_sent", "count", "data", "epoch", "held", "index", "kept", "number", "outcomes", "parts", "sent_at",
        "version",
    )  # fmt: skip

    def __init__(self, number: int, epoch: Epoch, parts: list[Part], count: int, frames: Sequence[bytes]) -> None:
        self.number, self.epoch, self.parts, self.count = number, epoch, parts, count
        self.index, self.data = frames[3], frames[4]
        self.version = 0
        self.sent_at = 0.0
        self.outcomes: bytes | bytearray | None = None  # None: not answered
        self.all_sent = False
        self.held: dict[int, bytes] = {}  # data of pushes answered HELD, by index, for which LATE1 has not come
        self.kept: set[int] = set()  # indexes of those answered KEPT

    def take_parts(self) -> list[Part]:
        """Its parts, when nothing more is to come; then it is free without the garbage collector's help."""
        parts, self.parts = self.parts, []
        self.data = b""
        return parts

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """The packed entry and the data (token and payload) of each push."""
        start, data = 0, self.data
        for at, (target_bytes, payload_bytes, _) in enumerate(ENTRY.iter_unpack(self.index)):
            end = start + target_bytes + payload_bytes
            yield self.entry(at), data[start:end]
            start = end

    def entry(self, index: int) -> bytes:
        """The packed entry of one push."""
        return self.index[index * ENTRY.size : (index + 1) * ENTRY.size]

    def part_of(self, index: int) -> Part:
        """The part that a push belongs to."""
        return self.parts[bisect_right(self.parts, index, key=lambda part: part.start) - 1]


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

    def take_all(self) -> list[Chunk]:
        """Everything that waits, in order, but pushes of answered requests; then it is empty."""
        self.drop_dead()
        chunks = self.chunks()
        self.clear()
        return chunks

    def chunks(self) -> list[Chunk]:
        """(part, its entries, its data) in order."""
        chunks, start = [], 0
        for part in self.parts:
            end = start + part.count
            chunks.append((part, self.entries[start:end], self.data[start:end]))
            start = end
        return chunks

    def _refill(self, chunks: Sequence[Chunk]) -> None:
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

    def take_with_terms(self) -> list[Part]:
        """Take out the pushes that are to be more than sent. Returns their parts; they are in no lane any more."""
        if all(part.pending.terms is None for part in self.parts):
            return []
        chunks = self.take_all()
        self._refill([chunk for chunk in chunks if chunk[0].pending.terms is None])
        taken = [part for part, _, _ in chunks if part.pending.terms is not None]
        for part in taken:
            part.lane = None
        return taken

    def next_batch(
        self, number: int, epoch: Epoch, now: float = 0.0, origins: bool = True
    ) -> tuple[Batch, list[bytes]] | None:
        """Take as many waiting pushes as fit a batch; None if nothing waits. Returns it with its frames.

        `origins`: its worker knows them.
        """
        self.drop_dead()
        if not self.entries:
            return None
        if len(self.entries) <= BATCH_PUSHES and self.size_bound <= BATCH_BYTES:
            parts = self.parts
            frames = _encode(number, epoch, parts, self.entries, self.data, now, origins)
            batch = Batch(number, epoch, parts, self.counted, frames)
            self.clear()
        else:
            count = self._fitting()
            parts = self._cut(count)
            frames = _encode(number, epoch, parts, self.entries[:count], self.data[:count], now, origins)
            batch = Batch(number, epoch, parts, count, frames)
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

    def put_back(self, batch: Batch) -> None:
        """A batch that could not be sent waits again, before everything else."""
        items = list(batch.items())
        self.entries[:0], self.data[:0] = [entry for entry, _ in items], [item for _, item in items]
        self.parts[:0] = batch.parts
        self.counted += batch.count
        self.size_bound += len(batch.data)
        for part in batch.parts:
            part.batch, part.lane = None, self
            if part.pending.answered:
                self.dead += part.count


def _encode(
    number: int,
    epoch: Epoch,
    parts: Sequence[Part],
    entries: Sequence[bytes],
    data: Sequence[bytes],
    now: float,
    tells_origins: bool,
) -> list[bytes]:
    segments = [Segment(part.count, *part.pending.segment) for part in parts]
    terms = [
        part.pending.terms._replace(age_ms=int((now - part.pending.since) * 1000))
        for part in parts
        if part.pending.terms is not None
    ]
    origins = [part.pending.journey.origin for part in parts if part.pending.journey is not None]
    if origins and not tells_origins:
        segments = [segment._replace(flags=segment.flags & ~ORIGIN) for segment in segments]
        origins = []
    return encode_batch(epoch, number, segments, entries, data, terms, origins)


def _assign(batch: Batch) -> None:
    start = 0
    for part in batch.parts:
        part.lane, part.batch, part.start = None, batch, start
        start += part.count
