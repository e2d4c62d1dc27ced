"""Out of the outbox, batch after batch, to one receiver: at least once, in order, one batch under way.

A batch that is not taken is tried again as it is, however long that takes; meanwhile the outbox keeps what comes up to
its bound. One process at a time serves a receiver, by a lease in the outbox: another host goes on when this one dies.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from services.events.counters import Counters
from services.events.receivers import NotTaken, Receiver
from services.storage.events import Kept, Outbox
from shared.errors import StorageError

logger = logging.getLogger(__name__)

#: Seconds: between two looks at an outbox that had nothing; between tries, first and last; between renewals.
IDLE_S, BACK_OFF_S, BACK_OFF_MAX_S, RENEW_S = 0.1, 0.5, 60.0, 5.0
LEASE_MS = 30_000
#: One and the same fault is logged once in so many seconds.
_TELL_S = 30.0


class Delivery:
    """A thread that serves one receiver, from `start` to `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        receiver: Receiver,
        consumers: Sequence[str],
        owner: str,
        counters: Counters,
        unix_ms: Callable[[], int],
    ) -> None:
        """`consumers`: names of all receivers: what all of them have goes. `owner`: the same after a restart."""
        self._outbox, self._receiver, self._consumers = outbox, receiver, consumers
        self._owner, self._counters, self._unix_ms = owner, counters, unix_ms
        self._ended = threading.Event()
        self._renewed = float("-inf")
        self._holds = False
        self._tell_at, self._said = 0.0, ""
        self._thread = threading.Thread(target=self._run, name=f"events-{receiver.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let the batch that is under way come to its end, for so long at most; then give the receiver to others."""
        self._ended.set()
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._receiver.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._serve()
            except StorageError as error:
                self._tell(f"the outbox cannot be read: {error}")
            except Exception:
                logger.exception("internal error in the delivery to %s", self._receiver.name)
            self._ended.wait(BACK_OFF_S)
        try:
            self._outbox.release(self._receiver.name, self._owner)
        except StorageError as error:
            self._tell(f"the lease ends by itself: {error}")

    def _serve(self) -> None:
        """Until another process serves this receiver, or the end. Raises StorageError."""
        confirmed = self._take()
        while confirmed is not None and self._holds and not self._ended.is_set():
            events = self._outbox.read(confirmed, self._receiver.most)
            if events and self._deliver(events):
                if not self._outbox.confirm(self._receiver.name, self._owner, events[-1].number):
                    return
                self._outbox.prune(self._consumers)
                confirmed = events[-1].number
            elif not events:
                self._ended.wait(IDLE_S)
            if self._is_due():
                confirmed = self._take()

    def _take(self) -> int | None:
        confirmed = self._outbox.take(self._receiver.name, self._owner, LEASE_MS, self._unix_ms())
        self._renewed = time.monotonic()
        if (confirmed is not None) != self._holds:
            self._holds = confirmed is not None
            logger.info(
                "events go to %s%s", self._receiver.name, f" from {confirmed}" if self._holds else " by another host"
            )
        return confirmed

    def _is_due(self) -> bool:
        return time.monotonic() - self._renewed >= RENEW_S

    def renew(self) -> None:
        """While a receiver takes long. From another thread; now and then."""
        if self._holds and self._is_due():
            self._take()

    def _deliver(self, events: Sequence[Kept]) -> bool:
        """Whether they were taken before the end."""
        attempt = 0
        while not self._ended.is_set() and self._holds:
            attempt += 1
            if self._try(events, attempt):
                self._counters.add(self._receiver.name, "delivered", len(events))
                return True
        return False

    def _try(self, events: Sequence[Kept], attempt: int) -> bool:
        name = self._receiver.name
        self._counters.add(name, "tries", 1)
        if attempt > 1:
            self._counters.add(name, "repeated", len(events))
        try:
            self._receiver.deliver(events, attempt)
        except NotTaken as fault:
            self._counters.add(name, "timeouts" if fault.late else "failures", 1)
            wait = max(fault.after_s, back_off(attempt))
            self._tell(f"{name} has not taken events {events[0].number} to {events[-1].number}: {fault.why}")
            self._ended.wait(wait)
            return False
        return True

    def _tell(self, fault: str) -> None:
        kind = fault.rpartition(": ")[2]
        if kind != self._said or time.monotonic() >= self._tell_at:
            self._said, self._tell_at = kind, time.monotonic() + _TELL_S
            logger.warning("%s", fault)


def back_off(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait behind try number `attempt`, from 1: doubled each time, between half and all of it."""
    longest: float = min(BACK_OFF_S * 2.0 ** min(attempt - 1, 16), BACK_OFF_MAX_S)
    return longest * (0.5 + chance() / 2)
