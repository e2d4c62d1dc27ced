"""The fleet's figures for many watchers: one question at a time, its answer shared."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent.lock import RLock

#: Figures younger than this (seconds) are given out again.
FRESH_S = 0.5


class Figures:
    """STAT1's answers. `ask` is a sender's `stat`, called from one greenlet at a time."""

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self._ask = ask
        self._lock = RLock()
        self._latest: dict[str, Any] = {}
        self._asked_at = -FRESH_S

    def latest(self) -> dict[str, Any]:
        """Figures of now or of the last half second. Raises SenderError if the router does not answer."""
        with self._lock:
            if monotonic() - self._asked_at >= FRESH_S:
                self._latest = self._ask()
                self._asked_at = monotonic()
            return self._latest
