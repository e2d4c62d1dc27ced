"""Pauses between attempts to connect: exponential, with full jitter. Pure."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """`chance` gives a number from 0 up to, but not including, 1."""

    def __init__(self, first_s: float, longest_s: float, chance: Callable[[], float]) -> None:
        self._first, self._longest, self._chance = first_s, longest_s, chance
        self._attempt = 0

    def pause(self, retry_after_s: float | None = None) -> float:
        """Seconds until the next attempt. What the gateway said is kept to: it gives each client another time."""
        ceiling = min(self._longest, self._first * 2 ** min(self._attempt, 30))
        self._attempt += 1
        return ceiling * self._chance() if retry_after_s is None else retry_after_s

    def reset(self) -> None:
        self._attempt = 0
