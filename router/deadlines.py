"""Deadlines of many things at little cost each: a set of things for each sixty-fourth of a second."""

from heapq import heappop, heappush
from math import ceil
from typing import Generic, Protocol, TypeVar

PER_SECOND = 64


class HasTick(Protocol):
    """What may have a deadline: hashable by identity, with a place to note the tick it is filed under."""

    tick: int


T = TypeVar("T", bound=HasTick)


class Deadlines(Generic[T]):
    """Things with a deadline; none is due early, none more than 1/64 s late."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[T]] = {}
        self._ticks: list[int] = []

    def add(self, thing: T, deadline: float) -> None:
        """File under `deadline` (monotonic seconds)."""
        tick = thing.tick = ceil(deadline * PER_SECOND)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            heappush(self._ticks, tick)
        bucket.add(thing)

    def remove(self, thing: T) -> None:
        """It needs its deadline no longer. Harmless if it was due already."""
        bucket = self._buckets.get(thing.tick)
        if bucket is not None:
            bucket.discard(thing)

    def due(self, now: float) -> list[T]:
        """What is due at `now`; taken out."""
        things: list[T] = []
        while self._ticks and self._ticks[0] <= now * PER_SECOND:
            things += self._buckets.pop(heappop(self._ticks))
        return things

    def next(self) -> float | None:
        """When to ask again at the latest, in monotonic seconds; None: nothing has a deadline."""
        return self._ticks[0] / PER_SECOND if self._ticks else None
