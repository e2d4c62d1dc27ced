"""What a message cache has done since its start."""

from collections import Counter
from collections.abc import Sequence

from services.storage.messages import Totals
from shared.cached_messages import Cleared, Copy, Dropped, Failed, Full, Messages, Result, Stored

NAMES = (
    "stored",
    "copies",
    "refused_full",
    "dropped_for_newer",
    "collapsed",
    "replayed",
    "acknowledged",
    "cleared",
    "expired",
    "transactions",
    "failed",
    "refused",
    "messages",
    "bytes",
)


class Counters(Counter[str]):
    """Of messages: stored, copies of such, refused_full, dropped_for_newer, collapsed, replayed, acknowledged, cleared,
    expired. Of others: transactions, failed operations, refused calls. Not counted up but set: messages and bytes that
    the store has (`holds`)."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(NAMES, 0))

    def holds(self, totals: Totals) -> None:
        """What is kept in all, by all caches of this store."""
        self["messages"], self["bytes"] = totals

    def add(self, results: Sequence[Result]) -> None:
        """What came of a transaction."""
        self["transactions"] += 1
        for result in results:
            match result:
                case Stored():
                    self["stored"] += 1
                    self["dropped_for_newer"] += result.dropped
                    self["collapsed"] += result.collapsed
                case Messages():
                    self["replayed"] += len(result.messages)
                case Dropped():
                    self["acknowledged"] += result.number
                case Cleared():
                    self["cleared"] += result.number
                case Copy():
                    self["copies"] += 1
                case Full():
                    self["refused_full"] += 1
                case Failed():
                    self["failed"] += 1

    def told(self) -> str:
        """All that are not 0, in one line."""
        return ", ".join([f"{name} {number:,}" for name, number in sorted(self.items()) if number])
