"""Ids of pushes that have been handled: the last few. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class RecentIds:
    """At most `limit` ids; `ids` come from where they were kept, oldest first."""

    def __init__(self, limit: int, ids: Iterable[str] = ()) -> None:
        self._limit = limit
        self._ids: dict[str, None] = {}
        for push_id in ids:
            self.add(push_id)

    def __contains__(self, push_id: str) -> bool:
        return push_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, push_id: str) -> None:
        """Remembers an id; forgets the oldest if there are too many. One that was seen again is the newest."""
        self._ids.pop(push_id, None)
        self._ids[push_id] = None
        if len(self._ids) > self._limit:
            del self._ids[next(iter(self._ids))]

    def forgotten_by(self, push_id: str) -> str | None:
        """Which id `add` will forget."""
        if push_id in self._ids or len(self._ids) < self._limit:
            return None
        return next(iter(self._ids))
