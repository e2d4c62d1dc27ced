"""How long push requests are on their way to the router, by their senders' clocks and the router's own. Pure."""

from collections.abc import Callable

from router.counters import Counters
from shared.durations import Durations

#: A request that says it took longer (microseconds) comes from a clock that is off: nothing waits so long on the way.
_LONGEST_US = 60_000_000


class SenderTimes:
    """Takes the time of each request whose sender says when it was sent.

    The clock is read for each: a request that waits while the router is busy with others has waited that long, too.
    """

    def __init__(self, counters: Counters, unix_us: Callable[[], int]) -> None:
        """`unix_us`: what time it is, in Unix microseconds."""
        self._counters, self._unix_us = counters, unix_us
        self.times = Durations()

    def arrived(self, sent_at: int) -> None:
        """A request has come that was sent at this time, Unix microseconds; 0: its sender does not say."""
        if not sent_at:
            return
        way_us = self._unix_us() - sent_at
        if 0 <= way_us <= _LONGEST_US:
            self.times.add(way_us / 1e6)
        else:
            self._counters["sender_clock_off"] += 1
