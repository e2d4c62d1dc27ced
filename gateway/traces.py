"""What became of pushes here of late, hop by hop, for EXPLAIN1. Pure.

Noted batch by batch, as they came and went: some us for a batch however many pushes it has (docs/pushctl.md);
looked into only when somebody asks. What clients acknowledge is noted one by one, and costs only those who do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.bus import FanOut
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

_BATCH, _SETTLED, _SHOWN, _ACKNOWLEDGED, _REPLAYED, _TO_MANY, _COUNTED = range(7)
#: What an entry about one push costs, about.
_SMALL_BYTES = 250


class Traces:
    """Batches and what came of them; times in monotonic seconds. `router`: place in this worker's list."""

    def __init__(self, most: int, most_bytes: int, counters: dict[str, int]) -> None:
        self._recent = Recent(most, most_bytes)
        self._counters = counters

    def batch(
        self, router: int, number: int, frames: Sequence[bytes], began: float, ended: float, outcomes: bytes
    ) -> None:
        """A PUSHES1, gone through."""
        kept = packed(frames)
        size = len(kept[0]) + len(kept[1]) + len(kept[2]) + len(kept[4]) + len(outcomes) + ENTRY_BYTES
        self._note((len(outcomes), size, _BATCH, router, number, began, ended, outcomes, kept))

    def settled(self, router: int, number: int, late: Sequence[tuple[int, int]], at: float) -> None:
        """A LATE1."""
        pairs = tuple(late)
        self._note((0, 8 * len(pairs) + _SMALL_BYTES, _SETTLED, router, number, at, pairs))

    def shown(self, token: bytes, message_id: int, prefix: bytes, position: int) -> None:
        """A push goes to a client that acknowledges, under this message id."""
        self._note((0, _SMALL_BYTES, _SHOWN, token, message_id, prefix, position))

    def acknowledged(self, token: bytes, message_id: int, at: float) -> None:
        """PUB_ACK of it."""
        self._note((0, _SMALL_BYTES, _ACKNOWLEDGED, token, message_id, at))

    def replayed(self, token: bytes, prefix: bytes, position: int, size: int, at: float, request_id: str = "") -> None:
        """A stored push goes to its client, which has come. `request_id`: empty if it has none."""
        self._note((1, _SMALL_BYTES, _REPLAYED, token, prefix, position, size, at, request_id))

    def to_many(self, router: int, fan_out: FanOut, at: float) -> None:
        """An ALL1 has come."""
        self._note((1, ENTRY_BYTES, _TO_MANY, router, fan_out.number, at, to_many(fan_out)))

    def counted(self, router: int, number: int, counts: Mapping[str, int], at: float) -> None:
        """Its COUNTS1."""
        self._note((0, ENTRY_BYTES, _COUNTED, router, number, at, counts_text(counts)))

    def _note(self, entry: tuple[Any, ...]) -> None:
        dropped = self._recent.note(entry)
        if dropped:
            self._counters["recent_dropped"] += dropped

    def find(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Messages and hops: received, done and settled (outcome), shown (message id), acknowledged, replayed."""
        if wanted.message_id:
            shown = [entry[5:] for entry in self._recent if entry[2:5] == (_SHOWN, wanted.token, wanted.message_id)]
            wanted = wanted._replace(keys=(*wanted.keys, *shown))
        search = _Search(wanted)
        for _, _, kind, *entry in self._recent:
            search.look(kind, entry)
        return search.messages.newest()


class _Search:
    """Goes through the entries in their order."""

    def __init__(self, wanted: Wanted) -> None:
        self.messages = Messages()
        self._wanted = wanted
        self._batches: dict[tuple[int, int], dict[int, Found]] = {}
        self._many: dict[tuple[int, int], list[list[Any]]] = {}
        #: By token and message id the last push; by push its message id, which is noted before what came of it.
        self._shown_as: dict[tuple[bytes, int], tuple[bytes, int]] = {}
        self._message_ids: dict[tuple[bytes, bytes, int], int] = {}

    def look(self, kind: int, entry: list[Any]) -> None:
        if kind == _BATCH:
            self._batch(*entry)
        elif kind == _SETTLED:
            self._settled(*entry)
        elif kind == _TO_MANY:
            self._to_many(*entry)
        elif kind == _COUNTED:
            router, number, at, counts = entry
            self._many.get((router, number), []).append([at, "counted", counts])
        elif self._wanted.token in (None, entry[0]):
            (self._shown if kind == _SHOWN else self._acknowledged if kind == _ACKNOWLEDGED else self._replayed)(*entry)

    def _batch(self, router: int, number: int, began: float, ended: float, outcomes: bytes, kept: Any) -> None:
        found = find_in(Packed(*kept), self._wanted)
        if found:
            self._batches[router, number] = {push.place: push for push in found}
        for push in found:
            self.messages.of(push).append([began, "received", ""])
            self._ended(push, ended, "done", outcomes[push.place])

    def _ended(self, push: Found, at: float, what: str, outcome: int) -> None:
        hops = self.messages.of(push)
        message_id = self._message_ids.pop((push.token, push.prefix, push.position), 0)
        if message_id:
            hops.append([at, "shown", message_id])
        hops.append([at, what, outcome_name(outcome)])

    def _settled(self, router: int, number: int, at: float, late: Sequence[tuple[int, int]]) -> None:
        batch = self._batches.get((router, number), {})
        for place, outcome in late:
            if place in batch:
                self._ended(batch[place], at, "settled", outcome)

    def _to_many(self, router: int, number: int, at: float, kept: Any) -> None:
        push = ToMany(*kept)
        if self._wanted.matches_many(push):
            self._many[router, number] = self.messages.of_many(push)
            self._many[router, number].append([at, "received", ""])

    def _shown(self, token: bytes, message_id: int, prefix: bytes, position: int) -> None:
        self._shown_as[token, message_id] = prefix, position
        self._message_ids[token, prefix, position] = message_id

    def _acknowledged(self, token: bytes, message_id: int, at: float) -> None:
        push = self._shown_as.pop((token, message_id), None)
        hops = self.messages.get(token, *push) if push else None
        if hops is not None:
            hops.append([at, "acknowledged", ""])

    def _replayed(self, token: bytes, prefix: bytes, position: int, size: int, at: float, request_id: str) -> None:
        message_id = self._message_ids.pop((token, prefix, position), 0)
        if self._wanted.matches(token, prefix, position, request_id):
            hops = self.messages.of(Found(0, 0, token, prefix, position, size, request_id))
            hops.append([at, "replayed", message_id or ""])
