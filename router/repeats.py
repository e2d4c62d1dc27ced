"""Idempotency: what became of requests with an `id` (docs/sender-protocol.md, section Repeating)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from shared.errors import RequestError
from shared.outcomes import RETRYABLE

if TYPE_CHECKING:
    from router.pending import Pending

#: What remembering one request costs beside its outcomes, about.
ENTRY_BYTES = 600


class Repeat:
    """One request of one sender name. `pending` is what works on it; None when it is finished."""

    __slots__ = ("content", "detail", "finished_at", "id", "incomplete", "name", "outcomes", "pending")

    def __init__(self, name: bytes, id: str, content: int, pending: Pending) -> None:
        self.name, self.id, self.content = name, id, content
        self.pending: Pending | None = pending
        self.outcomes = b""
        self.detail = b""
        self.incomplete = False
        self.finished_at = 0.0

    @property
    def size(self) -> int:
        """Bytes that remembering it costs, about."""
        return ENTRY_BYTES + 2 * len(self.id) + len(self.outcomes) + len(self.detail)

    def to_try_again(self) -> list[int]:
        """Positions that a retry tries again: those with OVERLOADED, UNAVAILABLE or UNKNOWN; if incomplete, all."""
        if self.incomplete:
            return list(range(len(self.outcomes)))
        if not self.outcomes.strip(b"\0"):
            return []
        return [position for position, outcome in enumerate(self.outcomes) if outcome in RETRYABLE]


class Repeats:
    """Requests by (name, id): unfinished ones, and finished ones for a while, bounded per name and in bytes."""

    def __init__(self, window_s: float, per_name: int, bytes_max: int) -> None:
        self._window_s, self._per_name, self._bytes_max = window_s, per_name, bytes_max
        self._unfinished: dict[tuple[bytes, str], Repeat] = {}
        self._finished: OrderedDict[tuple[bytes, str], Repeat] = OrderedDict()  # oldest first
        self._of_name: dict[bytes, OrderedDict[str, None]] = {}  # the finished ones' ids, oldest first
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._finished) + len(self._unfinished)

    def find(self, name: bytes, id: str, content: Hashable, now: float) -> Repeat | None:
        """What is known of a request. Raises RequestError `id_reused` if its content was another."""
        key = (name, id)
        known = self._unfinished.get(key) or self._finished.get(key)
        if known is None or (known.pending is None and now - known.finished_at > self._window_s):
            return None
        if known.content != content_mark(content):
            raise RequestError("id_reused", f"id {id[:64]!r} was used for another request")
        return known

    def named(self, *ids: str) -> list[tuple[bytes, str]]:
        """(name, id) of the requests with one of these ids, whoever's they are."""
        return [key for known in (self._unfinished, self._finished) for key in known if key[1] in ids]

    def begin(self, name: bytes, id: str, content: Hashable, pending: Pending) -> Repeat:
        """Remember a request that `pending` works on, from now on unfinished."""
        self._forget(name, id)
        repeat = self._unfinished[name, id] = Repeat(name, id, content_mark(content), pending)
        return repeat

    def begin_again(self, repeat: Repeat, pending: Pending) -> None:
        """A retry tries some of its targets again."""
        self._forget(repeat.name, repeat.id)
        repeat.pending = pending
        self._unfinished[repeat.name, repeat.id] = repeat

    def finish(self, repeat: Repeat, outcomes: bytes, detail: bytes, now: float, *, incomplete: bool = False) -> None:
        """Keep its outcomes, and let the oldest go where a bound is passed. `incomplete`: some targets are left."""
        repeat.incomplete = incomplete
        del self._unfinished[repeat.name, repeat.id]
        repeat.pending, repeat.outcomes, repeat.detail, repeat.finished_at = None, outcomes, detail, now
        self._finished[repeat.name, repeat.id] = repeat
        ids = self._of_name.setdefault(repeat.name, OrderedDict())
        ids[repeat.id] = None
        self.bytes += repeat.size
        if len(ids) > self._per_name:
            self._forget(repeat.name, next(iter(ids)))
        while self.bytes > self._bytes_max:
            self._forget(*next(iter(self._finished)))

    def forget_old(self, now: float) -> None:
        """Let go what is older than the window."""
        while self._finished:
            key, oldest = next(iter(self._finished.items()))
            if now - oldest.finished_at <= self._window_s:
                return
            self._forget(*key)

    def _forget(self, name: bytes, id: str) -> None:
        repeat = self._finished.pop((name, id), None)
        if repeat is None:
            return
        self.bytes -= repeat.size
        ids = self._of_name[name]
        del ids[id]
        if not ids:
            del self._of_name[name]


def content_mark(content: Hashable) -> int:
    """64 bits that tell contents apart: an honest sender's slip is found; a forger would only cheat itself.

    Python's own hash: it stays in this process, and costs a tenth of a cryptographic one.
    """
    return hash(content)
