"""How long something took, many times over, as a histogram of fixed buckets: one count for a whole batch. Pure."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

#: Upper bounds (seconds) of the buckets; a last one has what took longer.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Durations:
    """`counts` has one number more than BOUNDS_S; `total_s` is the sum (seconds). Both only grow."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """So many took this long."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += times
        self.total_s += seconds * times

    def fields(self) -> dict[str, Any]:
        """As BEAT1 and STAT1 say it."""
        return {"counts": self.counts, "total_s": round(self.total_s, 6)}


def checked_durations(said: object) -> dict[str, Any]:
    """What another process says, or what nobody has counted if it is no such thing."""
    if isinstance(said, Mapping):
        counts, total_s = said.get("counts"), said.get("total_s")
        if isinstance(counts, list) and len(counts) == len(BOUNDS_S) + 1 and all(map(_is_count, counts)):
            return {"counts": counts, "total_s": _seconds(total_s)}
    return Durations().fields()


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < float("inf") else 0.0


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
