"""The bridge's decisions: records and outcomes in, and what to do about them out. Pure.

The shell says what has happened, then calls `turn` and does what that says. Entries are its handles of records.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from services.kafka_bridge.partitions import Entry, Partition, State
from services.kafka_bridge.records import Place, Poison, Record, wanted
from shared.outcomes import Outcome

#: These concern the fleet, not one client: nothing of the partition goes on before them.
_OF_THE_FLEET = frozenset({Outcome.UNAVAILABLE, Outcome.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for one partition, and for one payload; what is written of records."""

    records_max: int
    bytes_max: int
    payload_max: int
    writes_dead_letters: bool = False
    writes_outcomes: bool = False


class DeadLetter(NamedTuple):
    """Write a record to the dead-letter topic."""

    reason: str


class Report(NamedTuple):
    """Write an outcome; `push_id` as clients see it, `counts` of a push to many."""

    outcome: Outcome
    push_id: str | None
    counts: dict[str, int] | None


@dataclass(slots=True)
class Turn:
    """What is to be done now."""

    pushes: list[Entry] = field(default_factory=list)
    writes: list[Entry] = field(default_factory=list)
    positions: list[tuple[Place, int]] = field(default_factory=list)
    pauses: list[Place] = field(default_factory=list)
    resumes: list[Place] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)


def new_counters() -> dict[str, int]:
    """Records taken, repeated and dead, and outcomes by name: all from the start, so that zeros show."""
    return dict.fromkeys(["records", "repeats", "dead_letters", *(outcome.name.lower() for outcome in Outcome)], 0)


class Bridge:
    """All partitions that are assigned to this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._partitions: dict[Place, Partition] = {}
        self._writes: list[Entry] = []
        self._dropped: list[tuple[str, str]] = []
        self.counters = new_counters()

    # --- partitions

    def assign(self, places: Iterable[Place]) -> None:
        """Records of these will come, from what was last committed."""
        for place in places:
            self._partitions[place] = Partition(place, self._limits.records_max, self._limits.bytes_max)

    def leave(self, places: Iterable[Place]) -> None:
        """These go to another process: nothing more of them is begun."""
        for place in places:
            if place in self._partitions:
                self._partitions[place].is_leaving = True

    def is_settled(self, places: Iterable[Place]) -> bool:
        """Whether nothing of these is under way."""
        return all(self._partitions[place].is_settled() for place in places if place in self._partitions)

    def forget(self, places: Iterable[Place]) -> list[tuple[Place, int]]:
        """The end of these here; what is to be committed of them. Answers for their records do nothing any more."""
        found = []
        for place in places:
            partition = self._partitions.pop(place, None)
            if partition is not None:
                partition.position()
                if partition.committed is not None:
                    found.append((place, partition.committed))
        return found

    @property
    def places(self) -> list[Place]:
        """What is assigned."""
        return list(self._partitions)

    # --- records

    def take(self, record: Record) -> None:
        """A record. One of a partition that is not, or no longer, assigned is dropped: its next reader gets it."""
        partition = self._partitions.get(record.place)
        if partition is None or partition.is_leaving:
            return
        if partition.goes_back(record):
            partition = self._begin_again(partition)
        self.counters["records"] += 1
        try:
            asked = wanted(record, self._limits.payload_max)
        except Poison as poison:
            self._bury(partition.take(record, None), str(poison))
        else:
            partition.take(record, asked)

    def _begin_again(self, partition: Partition) -> Partition:
        """What was taken of it is no longer in Kafka, or comes again."""
        self.assign([partition.place])
        self._partitions[partition.place].is_paused = partition.is_paused
        return self._partitions[partition.place]

    def settle(
        self,
        entry: Entry,
        outcome: Outcome,
        now: float,
        push_id: str | None = None,
        counts: dict[str, int] | None = None,
    ) -> None:
        """What became of a push."""
        if not self._is_here(entry):
            return
        if outcome in _OF_THE_FLEET:
            entry.partition.rest(entry, now)
            self.counters[outcome.name.lower()] += 1
            return
        if not entry.partition.land(entry):
            return
        self.counters[outcome.name.lower()] += 1
        if outcome is Outcome.TOO_LARGE:
            self._bury(entry, "larger than its client or the router takes")
        elif self._limits.writes_outcomes:
            self._write(entry, Report(outcome, push_id, counts))
        else:
            entry.partition.finish(entry)

    def refuse(self, entry: Entry, code: str, message: str, now: float) -> None:
        """The request as a whole was refused: with `id_reused` the topic was made anew and its offsets begin again."""
        if not self._is_here(entry) or entry.record is None:
            return
        if code == "id_reused" and entry.id == entry.record.id:
            entry.id = f"{entry.record.id}/{entry.record.timestamp}"
            entry.partition.rest(entry, now)
        elif entry.partition.land(entry):
            self._bury(entry, f"{code}: {message}")

    def written(self, entry: Entry, ok: bool, now: float) -> None:
        """A dead letter or an outcome has arrived in its topic, or not."""
        if entry.state is not State.WRITING or not self._is_here(entry):
            return
        if ok:
            entry.partition.finish(entry)
        else:
            entry.partition.write_later(entry, now)

    def _is_here(self, entry: Entry) -> bool:
        """Whether its partition has stayed here all the time."""
        return self._partitions.get(entry.partition.place) is entry.partition

    def _bury(self, entry: Entry, reason: str) -> None:
        self.counters["dead_letters"] += 1
        if self._limits.writes_dead_letters:
            self._write(entry, DeadLetter(reason))
            return
        assert entry.record is not None
        self._dropped.append((entry.record.shown, reason))
        entry.partition.finish(entry)

    def _write(self, entry: Entry, told: DeadLetter | Report) -> None:
        entry.partition.write(entry, told)
        self._writes.append(entry)

    # --- what to do

    def turn(self, now: float) -> Turn:
        """What is to be done now, each thing once."""
        turn = Turn(writes=self._writes, dropped=self._dropped)
        self._writes, self._dropped = [], []
        for place, partition in self._partitions.items():
            turn.pushes += partition.next_pushes(now)
            turn.writes += partition.next_writes(now)
            position = partition.position()
            if position is not None:
                turn.positions.append((place, position))
            if not partition.is_paused and partition.should_pause():
                partition.is_paused = True
                turn.pauses.append(place)
            elif partition.is_paused and partition.should_resume():
                partition.is_paused = False
                turn.resumes.append(place)
        self.counters["repeats"] += sum([entry.again for entry in turn.pushes])
        return turn

    def next_deadline(self) -> float:
        """When time alone makes something due."""
        return min([partition.deadline() for partition in self._partitions.values()], default=float("inf"))
