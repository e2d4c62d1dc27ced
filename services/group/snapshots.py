"""Who was in a group a moment ago, for whoever reads it in pages. From any thread.

To put all members in order costs as much as the group is large; so it is done for the first page, and the pages behind
it are cut from the same list. Whoever joins or leaves meanwhile counts for the next reader.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

#: Groups, and how long (seconds) one is good: longer than a reader needs for one page.
_MOST, _AGE_S = 4, 10.0


class _Snapshot(NamedTuple):
    tokens: Sequence[str]
    used: float  # monotonic seconds


class Snapshots:
    """The lists of the groups that were read last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._by_group: OrderedDict[str, _Snapshot] = OrderedDict()  # the one that was used last comes last

    def keep(self, group: str, tokens: Sequence[str]) -> None:
        """The first page of a group has been read, and there are others."""
        with self._lock:
            self._put(group, tokens)

    def find(self, group: str) -> Sequence[str] | None:
        """The list from which the page before was cut; None: it is not there any more."""
        with self._lock:
            snapshot = self._by_group.get(group)
            if snapshot is None or self._clock() - snapshot.used > _AGE_S:
                return None
            self._put(group, snapshot.tokens)
            return snapshot.tokens

    def forget_old(self) -> None:
        """Give back what nobody will ask for any more."""
        with self._lock:
            now = self._clock()
            for group in [group for group, one in self._by_group.items() if now - one.used > _AGE_S]:
                del self._by_group[group]

    def _put(self, group: str, tokens: Sequence[str]) -> None:
        self._by_group[group] = _Snapshot(tokens, self._clock())
        self._by_group.move_to_end(group)
        while len(self._by_group) > _MOST:
            self._by_group.popitem(last=False)
