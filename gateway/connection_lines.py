"""Log lines about connections, gathered for a moment and then written in a row.

Between other work a line costs a worker 24 us (its caches are cold), in a row 9 (2 CPUs, 2026-11; `make bench`,
connects): with 150 us for a whole connect that is worth a list.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from shared.log_events import Event

#: How long they wait (seconds).
PAUSE_S = 0.1


class ConnectionLines:
    """Each line has the time at which it was added. Whoever adds bounds them (`shared.log_limits`)."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._waiting: list[tuple[int, int, Callable[..., Event], tuple[Any, ...]]] = []
        #: Has a function called a moment later; until a worker says how, at once.
        self.later: Callable[[Callable[[], None]], None] = lambda write: write()

    def add(self, level: int, make: Callable[..., Event], *arguments: Any) -> None:
        """`make(*arguments)` is what the line says."""
        self._waiting.append((time.time_ns(), level, make, arguments))
        if len(self._waiting) == 1:
            self.later(self.write)

    def write(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for at_ns, level, make, arguments in waiting:
            record = logging.LogRecord(self._logger.name, level, "", 0, make(*arguments), (), None)
            record.created, record.msecs = at_ns / 1e9, at_ns // 1_000_000 % 1000
            self._logger.handle(record)
