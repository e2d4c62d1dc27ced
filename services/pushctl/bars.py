"""The bar of clients that have moved, on stderr, if that is a terminal. A terminal that is gone is no fault."""

import contextlib
import sys
import time
from types import TracebackType
from typing import Any, Self

from services.pushctl.workers import Worker

#: Period (seconds) of the question how many clients are left.
_PERIOD_S = 0.5


class Bar:
    """Use as a context manager; `look` as often as one likes."""

    def __init__(self, worker: Worker, show: bool) -> None:
        from tqdm import tqdm  # noqa: PLC0415  (costs 0.1 s)

        self._worker = worker
        self._next_look = 0.0
        off = not (show and sys.stderr.isatty())
        total = None if off else worker.clients()
        text = f"{worker.name} leaves"
        self._bar: Any = tqdm(total=total, unit=" clients", desc=text, disable=off, leave=False, file=sys.stderr)

    def look(self) -> None:
        """Shows how far it is."""
        now = time.monotonic()
        if self._bar.disable or now < self._next_look:
            return
        self._next_look = now + _PERIOD_S
        left = self._worker.clients()
        if self._bar.total and left is not None:
            with contextlib.suppress(OSError):
                self._bar.update(max(0, self._bar.total - left - self._bar.n))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._bar.close()
