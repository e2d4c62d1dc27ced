"""What a message cache has done since its start."""

from collections import Counter
from collections.abc import Sequence

from shared.cached_messages import Cleared, Copy, Dropped, Failed, Full, Messages, Result, Stored


class Counters(Counter[str]):
    """Of messages: stored, copies of such, refused_full, dropped_for_newer, replayed, taken_out (acknowledged or
    cleared), expired. Of others: transactions, failed operations, refused calls."""

    def add(self, results: Sequence[Result]) -> None:
        """What came of a transaction."""
        self["transactions"] += 1
        for result in results:
            match result:
                case Stored():
                    self["stored"] += 1
                    self["dropped_for_newer"] += result.dropped
                case Messages():
                    self["replayed"] += len(result.messages)
                case Dropped() | Cleared():
                    self["taken_out"] += result.number
                case Copy():
                    self["copies"] += 1
                case Full():
                    self["refused_full"] += 1
                case Failed():
                    self["failed"] += 1

    def told(self) -> str:
        """All that are not 0, in one line."""
        return ", ".join([f"{name} {number:,}" for name, number in sorted(self.items()) if number])
