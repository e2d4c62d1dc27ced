"""What the events service has done since its start."""

import threading
from collections.abc import Sequence

from services.storage.events import Totals

#: Of each receiver: events that it has taken; batches tried, failed, timed out; events that were sent once more.
OF_A_RECEIVER = ("delivered", "tries", "failures", "timeouts", "repeated")


class Counters:
    """From any thread. `told`: events that other processes have handed in. waiting, last, dropped: of the outbox."""

    def __init__(self, receivers: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys([f"{name}_{what}" for name in receivers for what in OF_A_RECEIVER], 0)
        self._counts |= {"told": 0, "waiting": 0, "last": 0, "dropped": 0}

    def add(self, receiver: str, what: str, count: int) -> None:
        """Count more of one of OF_A_RECEIVER."""
        with self._lock:
            self._counts[f"{receiver}_{what}"] += count

    def add_told(self, count: int) -> None:
        """Count more events that were handed in."""
        with self._lock:
            self._counts["told"] += count

    def holds(self, totals: Totals) -> None:
        """Take over what the outbox says."""
        with self._lock:
            self._counts |= totals._asdict()

    def figures(self) -> dict[str, int]:
        """All of them, for STAT1."""
        with self._lock:
            return dict(self._counts)
