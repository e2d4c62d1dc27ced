"""Pushes without ttl that have reached nobody, told to the events service.

Nothing is gathered unless somebody wants events. What is gathered in a turn goes in one call; one is under way at a
time, and what fails is told again. What the service refuses for good (4xx) is told again by halves, until the one that
it does not take is alone: that one goes, and is counted. What is stored is told of by the message cache.
"""

from collections.abc import Callable

import msgpack

from router.batches import Batch
from router.counters import Counters
from router.services import Services
from shared.bus import ENTRY
from shared.calls import Internal, internal
from shared.outcomes import Outcome
from shared.push_ids import push_id

#: Events in a call, and those that may wait for the service; over it the newest are dropped, and counted.
CALL_MAX, WAITING_MAX = 1000, 50_000
_TIMEOUT_S, _AGAIN_S = 5.0, 0.5
_TOPIC = internal(Internal.EVENTS)

_Told = tuple[str, str, int] | tuple[str, str, int, str]  # token, push id, when, request id if there is one


class Unreached:
    """What one router has to tell. Times are monotonic seconds, what is told is Unix ms."""

    def __init__(self, services: Services, counters: Counters, unix_ms: Callable[[float], int]) -> None:
        """`unix_ms`: of a time."""
        self._services, self._counters, self._unix_ms = services, counters, unix_ms
        self._waiting: list[_Told] = []
        self._asking: list[_Told] = []
        self._next = 0.0
        self._most = CALL_MAX

    def add_all(self, batch: Batch, outcomes: bytes, now: float) -> None:
        """Those of a batch that are OFFLINE."""
        for index, (_, item) in enumerate(batch.items()):
            if outcomes[index] == Outcome.OFFLINE:
                self.add(batch, index, item, now)

    def add(self, batch: Batch, index: int, item: bytes, now: float) -> None:
        """One of a batch. `item`: its token and payload."""
        if len(self._waiting) >= WAITING_MAX:
            self._counters["events_dropped"] += 1
            return
        target_bytes, _, position = ENTRY.unpack(batch.entry(index))
        pending = batch.part_of(index).pending
        token = item[:target_bytes].decode(errors="replace")
        told = token, push_id(pending.segment[1], position), self._unix_ms(now)
        request_id = pending.journey.origin.request_id if pending.journey is not None else ""
        self._waiting.append((*told, request_id) if request_id else told)

    def flush(self, now: float) -> None:
        """Tell what there is."""
        if not self._waiting or self._asking or now < self._next:
            return
        self._asking, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        body = msgpack.packb({"events": self._asking})
        self._services.ask(_TOPIC, "events", body, _TIMEOUT_S, now, self._done)

    def _done(self, code: int, body: bytes, now: float) -> None:
        told, self._asking = self._asking, []
        if not code:
            self._counters["events_told"] += len(told)
            self._most = min(2 * self._most, CALL_MAX)
        elif not _is_refused(body):
            self._waiting = told + self._waiting
            self._next = now + _AGAIN_S
        elif len(told) > 1:
            self._waiting = told + self._waiting
            self._most = len(told) // 2
        else:
            self._counters["events_refused"] += 1


def _is_refused(body: bytes) -> bool:
    """Whether an answer that is a fault says that it would be one again: a map with a status of 4xx."""
    try:
        status = msgpack.unpackb(body)["status"]
        return bool(400 <= status < 500)
    except Exception:  # msgpack raises whatever its input leads to
        return False
