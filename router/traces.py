"""What became of pushes of late, hop by hop, for EXPLAIN1. Pure.

Noted batch by batch, as they were sent and answered: some us for a batch however many pushes it has
(docs/pushctl.md); looked into only when somebody asks.
"""

from collections.abc import Sequence
from typing import Any

from router.batches import Batch
from router.counters import Counters
from shared.traces import ENTRY_BYTES, Found, Messages, Packed, Recent, Wanted, find_in, outcome_name, packed

_GIVEN, _ANSWERED, _SETTLED = range(3)


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

    def _note(self, entry: tuple[Any, ...]) -> None:
        dropped = self._recent.note(entry)
        if dropped:
            self._counters["recent_dropped"] += dropped

    def find(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Messages with their hops: received, given (to whom), answered and settled (outcome)."""
        messages = Messages()
        batches: dict[int, dict[int, list[list[Any]]]] = {}
        for _, _, kind, number, at, *more in self._recent:
            if kind == _GIVEN:
                worker, since, kept = more
                found = find_in(Packed(*kept), wanted)
                if found:
                    batches[number] = {push.place: _given(messages, push, since, at, worker) for push in found}
            elif number in batches:
                pairs = more[0] if kind == _SETTLED else enumerate(more[0])
                what = "settled" if kind == _SETTLED else "answered"
                for place, outcome in pairs:
                    if place in batches[number]:
                        batches[number][place].append([at, what, outcome_name(outcome)])
        return messages.newest()


def _given(messages: Messages, push: Found, since: Sequence[float], at: float, worker: str) -> list[list[Any]]:
    hops = messages.of(push)
    received = [since[push.segment], "received", ""]
    if received not in hops:  # routed again, it is the same request
        hops.append(received)
    hops.append([at, "given", worker])
    return hops
