"""What takes a batch of events: the class of all of them, and what one that has not taken it says."""

from collections.abc import Sequence
from typing import Protocol

from services.storage.events import Kept


class NotTaken(Exception):
    """A batch has to be tried again. `after_s`: not before; `late`: nobody knows whether it was taken."""

    def __init__(self, why: str, after_s: float = 0.0, *, late: bool = False) -> None:
        super().__init__(why)
        self.why, self.after_s, self.late = why, after_s, late


class Receiver(Protocol):
    """One at a time, in order."""

    name: str
    most: int  # events in a batch

    def deliver(self, events: Sequence[Kept], attempt: int) -> None:
        """Returns when it has taken all of them. `attempt`: from 1. Raises NotTaken."""
        ...

    def close(self) -> None:
        """Nothing is delivered afterwards."""
        ...
