"""What became of pushes of late, hop by hop, for EXPLAIN1. Pure.

Noted batch by batch, as they were sent and answered: some us for a batch however many pushes it has
(docs/pushctl.md); looked into only when somebody asks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from router.batches import Batch, Lane
from router.counters import Counters
from shared.bus import ENTRY, FanOut
from shared.traces import (
    ENTRY_BYTES,
    Found,
    Messages,
    Packed,
    Recent,
    ToMany,
    Wanted,
    counts_text,
    find_in,
    outcome_name,
    packed,
    to_many,
)

_GIVEN, _ANSWERED, _SETTLED, _TO_MANY, _COUNTED, _CONCLUDED = range(6)

_Hops = list[list[Any]]


class Traces:
    """Batches given to workers, and their answers; times in monotonic seconds."""

    def __init__(self, most: int, most_bytes: int, counters: Counters) -> None:
        self._recent = Recent(most, most_bytes)
        self._counters = counters

    def given(self, worker: str, batch: Batch, frames: Sequence[bytes], now: float) -> None:
        """A batch goes to a worker."""
        kept = packed(frames)
        since = tuple([part.pending.since for part in batch.parts])
        size = len(kept[0]) + len(kept[1]) + len(kept[2]) + len(kept[4]) + ENTRY_BYTES
        self._note((batch.count, size, _GIVEN, batch.number, now, worker, since, kept))

    def answered(self, number: int, outcomes: bytes, now: float) -> None:
        """Its OUTCOMES1."""
        self._note((0, len(outcomes) + ENTRY_BYTES, _ANSWERED, number, now, outcomes))

    def settled(self, number: int, late: Sequence[tuple[int, int]], now: float) -> None:
        """A LATE1."""
        pairs = tuple(late)
        self._note((0, 8 * len(pairs) + ENTRY_BYTES, _SETTLED, number, now, pairs))

    def given_to_many(self, fan_out: FanOut, workers: Sequence[str], now: float) -> None:
        """A push to all, or to all of a group or user, goes to these workers."""
        size = sum(map(len, workers)) + ENTRY_BYTES
        self._note((1, size, _TO_MANY, fan_out.number, now, ", ".join(sorted(workers)), to_many(fan_out)))

    def counted(self, number: int, worker: str, counts: Mapping[str, int], now: float) -> None:
        """COUNTS1 of such a push."""
        self._note((0, ENTRY_BYTES, _COUNTED, number, now, worker, counts_text(counts)))

    def concluded(self, number: int, outcome: int, now: float) -> None:
        """What its sender is told."""
        self._note((0, ENTRY_BYTES, _CONCLUDED, number, now, outcome))

    def _note(self, entry: tuple[Any, ...]) -> None:
        dropped = self._recent.note(entry)
        if dropped:
            self._counters["recent_dropped"] += dropped

    def find(self, wanted: Wanted, lanes: Iterable[Lane] = (), now: float = 0.0) -> list[dict[str, Any]]:
        """Messages and hops: received, given (to whom), answered and settled (outcome), counted (by whom, what).

        What waits in `lanes` has a hop of `now`, waits (for whom; empty: until its slot has changed hands).
        """
        search = _Search(wanted)
        for _, _, kind, number, at, *more in self._recent:
            if kind == _GIVEN:
                search.given(number, at, *more)
            elif kind == _TO_MANY:
                search.given_to_many(number, at, *more)
            elif kind in (_ANSWERED, _SETTLED):
                pairs = more[0] if kind == _SETTLED else enumerate(more[0])
                search.answered(number, at, "settled" if kind == _SETTLED else "answered", pairs)
            elif number in search.many:
                counted = [at, "counted", f"by {more[0]}: {more[1]}"] if kind == _COUNTED else None
                search.many[number].append(counted or [at, "answered", outcome_name(more[0])])
        for lane in lanes:
            for push, since in _waiting(lane, wanted):
                hops = search.messages.of(push)
                hops += [[since, "received", ""]] if [since, "received", ""] not in hops else []
                hops.append([now, "waits", lane.worker])
        return search.messages.newest()


def _waiting(lane: Lane, wanted: Wanted) -> Iterator[tuple[Found, float]]:
    """The wanted pushes in a lane, and since when they are here."""
    for part, entries, data in lane.chunks():
        pending = part.pending
        prefix, journey = pending.segment[1], pending.journey
        request_id = journey.origin.request_id if journey else ""
        for entry, item in zip(entries, data, strict=True):
            token_bytes, payload_bytes, position = ENTRY.unpack(entry)
            token = item[:token_bytes]
            if wanted.matches(token, prefix, position, request_id):
                yield Found(0, 0, token, prefix, position, payload_bytes, request_id), pending.since


class _Search:
    """Goes through the entries in their order. `many`: hops of pushes to many, whose numbers are their own."""

    def __init__(self, wanted: Wanted) -> None:
        self.messages = Messages()
        self.many: dict[int, _Hops] = {}
        self._wanted = wanted
        self._batches: dict[int, dict[int, _Hops]] = {}

    def given(self, number: int, at: float, worker: str, since: Sequence[float], kept: Any) -> None:
        found = find_in(Packed(*kept), self._wanted)
        if found:
            self._batches[number] = {push.place: self._given(push, since, at, worker) for push in found}

    def _given(self, push: Found, since: Sequence[float], at: float, worker: str) -> _Hops:
        hops = self.messages.of(push)
        received = [since[push.segment], "received", ""]
        if received not in hops:  # routed again, it is the same request
            hops.append(received)
        hops.append([at, "given", worker])
        return hops

    def answered(self, number: int, at: float, what: str, outcomes: Iterable[tuple[int, int]]) -> None:
        batch = self._batches.get(number, {})
        for place, outcome in outcomes if batch else ():
            if place in batch:
                batch[place].append([at, what, outcome_name(outcome)])

    def given_to_many(self, number: int, at: float, workers: str, kept: Any) -> None:
        push = ToMany(*kept)
        if self._wanted.matches_many(push):
            self.many[number] = self.messages.of_many(push)
            self.many[number] += [[at, "received", ""], [at, "given", workers]]
