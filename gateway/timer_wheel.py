"""A coarse timer wheel: one tick a second, four bytes per waiting connection.

A record carries its own deadline, so activity costs one assignment. The wheel holds descriptors;
when a bucket comes due, each is looked at: past its deadline it is reported, else it is put
into the bucket of its present deadline. An entry whose record was scheduled anew is stale and ignored.
"""

from array import array
from collections.abc import Iterator
from typing import Protocol


class Timed(Protocol):
    """What the wheel needs of a record."""

    fd: int
    deadline: int  # tick
    scheduled: int  # tick of the bucket that holds it; the wheel's own


class TimerWheel:
    """Buckets of descriptors by tick (seconds of the monotonic clock, whole)."""

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self._buckets: dict[int, array[int]] = {}

    def schedule(self, record: Timed, deadline: int) -> None:
        """Set a record's deadline. A later one than before costs nothing but the assignment."""
        record.deadline = deadline
        if not self.tick < record.scheduled <= deadline:
            self._insert(record, max(deadline, self.tick + 1))

    def _insert(self, record: Timed, tick: int) -> None:
        record.scheduled = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = array("i")
        bucket.append(record.fd)

    def advance(self, tick: int, table: "list[Timed | None]") -> Iterator[Timed]:
        """Move to `tick` and yield each record past its deadline; it is no longer in the wheel."""
        while self.tick < tick:
            self.tick += 1
            for fd in self._buckets.pop(self.tick, ()):
                record = table[fd] if fd < len(table) else None
                if record is None or record.scheduled != self.tick:
                    continue
                if record.deadline > self.tick:
                    self._insert(record, record.deadline)
                else:
                    record.scheduled = 0
                    yield record
