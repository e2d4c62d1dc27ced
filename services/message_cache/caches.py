"""A message cache: the calls that wait become one transaction, and are answered when it is safe."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from services.library import ClientCall, Refusal, refusal
from services.message_cache.counters import Counters
from services.message_cache.events import MessageEvents
from services.storage.messages import MessageStore
from shared.cached_messages import Failed, Operation, Result, decode_operations, encode_results
from shared.errors import BusError, StorageError

logger = logging.getLogger(__name__)

#: Messages that a step of the sweep removes; between steps calls have their turn.
SWEEP_MOST = 500
_SWEEP_STEPS, _PAUSE_S = 200, 0.001
#: A store that fails is told of so often, in seconds.
_TELL_S = 10.0


class Cache:
    """A store, and what is done with it. From any thread."""

    def __init__(
        self, store: MessageStore, clock: Callable[[], float] = time.time, events: MessageEvents | None = None
    ) -> None:
        """`events`: None if nobody wants any. `clock`: Unix seconds. It is what messages expire by, so it may step;
        numbers grow all the same.
        """
        self.counters = Counters()
        self._store, self._clock, self._events = store, clock, events
        self._lock = threading.Lock()
        self._tell_at = 0.0

    def answer(self, calls: Sequence[ClientCall]) -> list[bytes | Refusal]:
        """The answers to all of them, in one transaction. A call that was answered already gives Copy."""
        bodies = [_operations(call) for call in calls]
        results = iter(self._apply([each for body in bodies if isinstance(body, list) for each in body]))
        answers: list[bytes | Refusal] = []
        for body in bodies:
            if isinstance(body, Refusal):
                self.counters["refused"] += 1
                answers.append(body)
            else:
                answers.append(encode_results([next(results) for _ in body]))
        return answers

    def _apply(self, operations: Sequence[Operation]) -> list[Result]:
        if not operations:
            return []
        with self._lock:
            results = self._do(operations, self._now_ms())
            self.counters.add(results)
        for result in results:
            if isinstance(result, Failed):
                self._tell(f"operations fail: {result.message}")
                break
        return results

    def _do(self, operations: Sequence[Operation], now_ms: int) -> list[Result]:
        if self._events is None:
            return self._store.apply(operations, now_ms)
        try:
            self._events.before(operations, now_ms)
            results = self._store.apply(operations, now_ms)
            self._events.behind(operations, results, now_ms)
        except StorageError as error:
            return [Failed(str(error))] * len(operations)
        return results

    def sweep(self) -> None:
        """Removes what has expired, in steps."""
        for _ in range(_SWEEP_STEPS):
            try:
                with self._lock:
                    now_ms = self._now_ms()
                    if self._events is not None:
                        self._events.expire(now_ms, SWEEP_MOST)
                    swept = self._store.sweep(now_ms, SWEEP_MOST)
                    self.counters["expired"] += swept.expired
            except StorageError as error:
                self._tell(str(error))
                return
            if not swept.more:
                return
            time.sleep(_PAUSE_S)

    def count(self) -> None:
        """Looks how much there is."""
        try:
            with self._lock:
                self.counters.holds(self._store.totals())
        except StorageError as error:
            self._tell(str(error))

    def close(self) -> None:
        """The end of the store."""
        with self._lock:
            self._store.close()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _tell(self, fault: str) -> None:
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_S
            logger.warning("%s", fault)


def _operations(call: ClientCall) -> list[Operation] | Refusal:
    try:
        return decode_operations(call.body)
    except BusError as error:
        return refusal(400, str(error))
