"""What is to be answered, in which order: calls of one topic and key one after the other, others side by side."""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from services.library.calls import ClientCall
from services.library.topics import Entry


class Job(NamedTuple):
    """A call to be answered, by `number`, on the connection of that life of a link."""

    link: int
    life: int
    number: int
    call: ClientCall
    until: float  # monotonic seconds; nobody waits for its answer after that


class Work(NamedTuple):
    """What one thread does next: one call, or the batch that waits. Nothing else of its lane runs meanwhile."""

    lane: Hashable
    entry: Entry
    jobs: list[Job]


class Agenda:
    """Lanes: one for each (topic, key), one for each topic answered in batches. One thread at a time."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Job]] = {}  # of each lane that has work or is at work
        self._entries: dict[Hashable, Entry] = {}
        self._ready: deque[Hashable] = deque()
        self._loose = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is at work."""
        return not self._waiting

    @property
    def ready(self) -> int:
        """How many threads find work."""
        return len(self._ready)

    def put(self, entry: Entry, job: Job) -> None:
        lane = self._lane(entry, job)
        line = self._waiting.get(lane)
        if line is None:
            line = self._waiting[lane] = deque()
            self._entries[lane] = entry
            self._ready.append(lane)
        line.append(job)

    def _lane(self, entry: Entry, job: Job) -> Hashable:
        if entry.batch_handler is not None:
            return entry.topic
        if job.call.key is not None:
            return entry.topic, job.call.key
        self._loose += 1
        return self._loose

    def take(self) -> Work | None:
        """Work for a thread, which calls `done` afterwards. Its lane is closed until then."""
        while self._ready:
            lane = self._ready.popleft()
            entry, line = self._entries[lane], self._waiting[lane]
            if line:
                return Work(lane, entry, [line.popleft() for _ in range(min(len(line), entry.most))])
            self._end(lane)  # its calls were dropped
        return None

    def done(self, work: Work) -> None:
        if self._waiting[work.lane]:
            self._ready.append(work.lane)
        else:
            self._end(work.lane)

    def _end(self, lane: Hashable) -> None:
        del self._waiting[lane], self._entries[lane]

    def drop(self, link: int) -> int:
        """Forget what waits and came over a connection that is gone: its router has given these calls away."""
        dropped = 0
        for line in self._waiting.values():
            kept = [job for job in line if job.link != link]
            dropped += len(line) - len(kept)
            line.clear()
            line.extend(kept)
        return dropped

    def waiting(self) -> Iterator[Job]:
        """What no thread has begun."""
        for line in self._waiting.values():
            yield from line
