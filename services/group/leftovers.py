"""What dismissed groups leave behind is removed step by step in a thread of its own, so that nobody waits for it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from types import TracebackType

from shared.errors import StorageError

logger = logging.getLogger(__name__)

#: Dismissed groups that may wait; of one more whoever dismisses it removes the rest.
WAITING_MAX = 1000


class Leftovers:
    """A context manager. What is not done at its end is done when the storage is opened next, or expires there."""

    def __init__(self, most: int = WAITING_MAX) -> None:
        self._waiting: Queue[Iterator[None] | None] = Queue(most)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leftovers")

    def __enter__(self) -> "Leftovers":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with suppress(Full):  # it is awake then
            self._waiting.put_nowait(None)
        self._thread.join()

    def add(self, steps: Iterator[None]) -> None:
        """Take these steps some time, or now if too many wait already. From any thread."""
        try:
            self._waiting.put_nowait(steps)
        except Full:
            self._take(steps)

    def _run(self) -> None:
        while not self._ended.is_set():
            steps = self._waiting.get()
            if steps is not None:
                self._take(steps)

    def _take(self, steps: Iterator[None]) -> None:
        try:
            for _ in steps:
                if self._ended.is_set():
                    return
        except StorageError as error:
            logger.warning("members of a dismissed group stay in the storage for now: %s", error)
        except Exception:
            logger.exception("internal error: members of a dismissed group stay in the storage for now")
