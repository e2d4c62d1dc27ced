"""Bounds on what a process logs: a crowd, or an attack, must not fill the disk. What is left out is counted."""

import logging
import time

logger = logging.getLogger(__name__)


class LineLimit:
    """So many lines a second about one kind of thing. How many were left out is said once their second is over."""

    def __init__(self, kind: str, lines_per_s: int) -> None:
        self._kind, self._most = kind, lines_per_s
        self._second = 0
        self._lines = self._left_out = self._told = 0

    def allows(self) -> bool:
        """Whether a line may be written now. To be asked before the line is made."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
            self._tell()
        self._lines += 1
        self._left_out += self._lines > self._most
        return self._lines <= self._most

    def take_left_out(self) -> int:
        """How many lines were left out since the last call; also says so in the log. Once a second."""
        self._tell()
        left_out, self._told = self._told, 0
        return left_out

    def _tell(self) -> None:
        if self._left_out:
            logger.info("%d lines about %s were left out", self._left_out, self._kind)
            self._told += self._left_out
            self._left_out = 0
