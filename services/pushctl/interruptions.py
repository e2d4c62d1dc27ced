"""Ctrl-C where something must not be left half done: noted, told, and asked for at the next good moment."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

#: Also what a closed terminal sends, and a service manager.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """While it is entered, a signal to stop only sets `came`; `tell` is called for each."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self.came = False
        self._tell = tell
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self._tell()
