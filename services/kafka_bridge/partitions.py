"""One partition: its records from taken to committed, in order per key. Pure.

A record waits behind others of its key, is under way, then, if its outcome is to be told or it is a dead letter, is
being written; then it is done. What may be committed is everything before the first record that is not done.
"""

from collections import deque
from enum import Enum

from services.kafka_bridge.records import Place, Record, Wanted

#: Pause (seconds) before a partition repeats what failed; it doubles up to the second.
BACKOFF_S, BACKOFF_MAX_S = 0.1, 5.0


class State(Enum):
    """Where a record is."""

    WAITING = "waiting"
    UNDER_WAY = "under way"
    RESTING = "resting"
    WRITING = "writing"
    DONE = "done"


class Entry:
    """A record that has been taken. Of one that is done only the state is left."""

    __slots__ = ("again", "id", "line", "offset", "partition", "record", "size", "state", "told", "wanted")

    def __init__(self, partition: "Partition", record: Record, wanted: Wanted | None) -> None:
        self.partition, self.offset, self.size = partition, record.offset, record.size
        self.record: Record | None = record
        self.wanted = wanted
        #: Its key; those of one line go one after the other.
        self.line = wanted.target if wanted else b""
        self.id = (wanted.id if wanted else None) or record.id
        self.state = State.WAITING
        self.again = False
        #: What is to be written of it: headers and value of the caller's.
        self.told: object = None


class Partition:
    """The records of one partition that this process has and has not committed."""

    def __init__(self, place: Place, records_max: int, bytes_max: int) -> None:
        self.place = place
        self._records_max, self._bytes_max = records_max, bytes_max
        self._entries: dict[int, Entry] = {}
        self._lines: dict[bytes, deque[Entry]] = {}
        self._ready: deque[Entry] = deque()
        self._resting: list[Entry] = []
        self._repeating: set[int] = set()
        self._unwritten: list[Entry] = []
        self._next = 0
        self._bytes = self._under_way = self._writing = self._failures = 0
        self._due = self._write_due = float("inf")
        self.is_paused = self.is_leaving = False
        self.committed: int | None = None

    def __len__(self) -> int:
        return len(self._entries)

    # --- records

    def take(self, record: Record, wanted: Wanted | None) -> Entry:
        """A record behind all others. Without `wanted` it goes nowhere, but to `write`."""
        self._next = record.offset + 1
        entry = self._entries[record.offset] = Entry(self, record, wanted)
        self._bytes += entry.size
        if wanted is not None:
            self._line_up(entry)
        return entry

    def goes_back(self, record: Record) -> bool:
        """Whether it lies before one that was taken: the topic was cut, or made anew."""
        return record.offset < self._next

    def _line_up(self, entry: Entry) -> None:
        line = self._lines.get(entry.line)
        if line is None:
            self._lines[entry.line] = deque()
            self._ready.append(entry)
        else:
            line.append(entry)

    def next_pushes(self, now: float) -> list[Entry]:
        """What is to be pushed now. While something failed, only that, in the order of offsets, and nothing new."""
        if self.is_leaving:
            return []
        if self._resting:
            if self._under_way or now < self._due:
                return []
            found = sorted(self._resting, key=lambda entry: entry.offset)
            self._resting, self._due = [], float("inf")
            self._repeating = {entry.offset for entry in found}
        elif self._repeating:
            return []
        else:
            found, self._ready = list(self._ready), deque()
        for entry in found:
            entry.state = State.UNDER_WAY
        self._under_way += len(found)
        return found

    def rest(self, entry: Entry, now: float) -> None:
        """It failed, and not by its own fault: the partition pauses, and repeats it."""
        if entry.state is not State.UNDER_WAY:
            return
        if not self._resting:
            self._due = now + min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(self._failures, 10))
            self._failures += 1
        entry.state, entry.again = State.RESTING, True
        self._under_way -= 1
        self._resting.append(entry)

    def land(self, entry: Entry) -> bool:
        """It has its last word: the next of its key may go. False if that was known."""
        if entry.state is not State.UNDER_WAY:
            return False
        self._under_way -= 1
        self._repeating.discard(entry.offset)
        if not self._repeating and not self._resting:
            self._failures = 0
        line = self._lines[entry.line]
        if line:
            self._ready.append(line.popleft())
        else:
            del self._lines[entry.line]
        return True

    def write(self, entry: Entry, told: object) -> None:
        """It is done when `told` has been written."""
        entry.state, entry.told = State.WRITING, told
        self._writing += 1

    def write_later(self, entry: Entry, now: float) -> None:
        """It could not be written: it is tried again."""
        if not self._unwritten:
            self._write_due = now + BACKOFF_MAX_S / 5
        self._unwritten.append(entry)

    def next_writes(self, now: float) -> list[Entry]:
        """What is to be written again."""
        if now < self._write_due:
            return []
        found, self._unwritten, self._write_due = self._unwritten, [], float("inf")
        return found

    def finish(self, entry: Entry) -> None:
        """Nothing is left to do for it."""
        if entry.state is State.WRITING:
            self._writing -= 1
        entry.state = State.DONE
        self._bytes -= entry.size
        entry.record = entry.wanted = entry.told = None

    def deadline(self) -> float:
        """When time alone makes something due."""
        # What rests waits first for the end of what is under way.
        return self._write_due if self._under_way or self.is_leaving else min(self._due, self._write_due)

    # --- offsets and bounds

    def position(self) -> int | None:
        """The offset to commit, if it is another than before: that of the first record which is not done."""
        for offset in self._done():
            del self._entries[offset]
        first = next(iter(self._entries), self._next)
        if first == self.committed or not self._next:
            return None
        self.committed = first
        return first

    def _done(self) -> list[int]:
        """Offsets of the records at the front that are done."""
        done = []
        for offset, entry in self._entries.items():
            if entry.state is not State.DONE:
                break
            done.append(offset)
        return done

    def is_settled(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way and self._writing == len(self._unwritten)

    def should_pause(self) -> bool:
        """Whether it holds all that it may."""
        return len(self._entries) >= self._records_max or self._bytes >= self._bytes_max

    def should_resume(self) -> bool:
        """Whether there is room again, for more than a few."""
        return len(self._entries) <= self._records_max // 2 and self._bytes <= self._bytes_max // 2
