"""Which ring comes next: this router's own if it decides, else the greatest that it hears of.

Several routers may take themselves for the one that decides, for a moment. Then workers follow the greatest epoch and
tell it to the other, which goes on from it. No two routers ever begin the same epoch.
"""

from collections.abc import Set

from shared.bus_rings import RingNews
from shared.rings import NO_EPOCH, Epoch


class Epochs:
    """The ring that this router has told last, and what it has heard of others'.

    `started_ms`: Unix milliseconds. `position`: this router's place among `routers` routers.
    """

    def __init__(self, started_ms: int, position: int, routers: int) -> None:
        self.ring = RingNews(NO_EPOCH, {}, {})
        self.heard: RingNews | None = None  # greater than `ring`
        self._passed = NO_EPOCH  # an epoch of which nobody can tell the ring
        self._started_ms, self._position = started_ms, position
        self._routers = max(routers, position + 1)

    @property
    def greatest(self) -> Epoch:
        """The greatest epoch whose ring is known."""
        return self.heard.epoch if self.heard is not None else self.ring.epoch

    def hear(self, news: RingNews) -> bool:
        """A ring that another router told; whether it is news."""
        if news.epoch <= self.greatest:
            return False
        self.heard = news
        return True

    def pass_epoch(self, epoch: Epoch) -> None:
        """Begin none up to this one, whose ring is not known."""
        self._passed = max(self._passed, epoch)

    def next(self, decides: bool, live: dict[str, str], leaving: dict[str, str], gone: Set[str]) -> RingNews | None:
        """The ring to tell now, or None: the present one stays.

        `live`, `leaving`: the workers as this router sees them. `gone`: those that have nothing left to give.
        """
        known = self.heard or self.ring
        same = live == known.live and leaving.keys() <= known.leaving.keys() and not gone & known.leaving.keys()
        if not decides or (same and self._passed <= known.epoch != NO_EPOCH):
            chosen = self.heard
        else:
            chosen = RingNews(self._following(max(known.epoch, self._passed)), live, leaving, known.epoch)
        if chosen is not None:
            self.ring, self.heard = chosen, None
        return chosen

    def _following(self, epoch: Epoch) -> Epoch:
        """This router's first epoch after that one. Their counters, modulo the number of routers, are its alone."""
        started_ms, counter = max(epoch, Epoch(self._started_ms, 0))
        counter += 1
        return Epoch(started_ms, counter + (self._position - counter) % self._routers)
