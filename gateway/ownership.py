"""Which tokens are this worker's, and of which slots it does not yet know whether their clients are still to come.

Pure. A slot that a ring change brings is *unsettled* until every other worker has said MOVED for that
epoch, which it does after the last client it had to hand over. Until then a push for a token that is
not here waits; afterwards absent means OFFLINE. Workers of other hosts cannot hand clients over and do not say MOVED:
they claim what they keep, and for that they are given a moment.
"""

from shared.bus_rings import RingNews
from shared.places import host_of
from shared.rings import NO_EPOCH, Epoch, owners_of_slots
from shared.tokens import SLOTS, slot_of

#: Stands among the awaited for all workers of other hosts.
OTHER_HOSTS = "*"


class Ownership:
    """The ring as this worker knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = host_of(name)
        self.epoch = NO_EPOCH
        self.live: dict[str, str] = {}  # worker -> hand-over socket
        self.leaving: dict[str, str] = {}
        self._follows: Epoch | None = None
        self._owners: list[str] = []
        self._mine: frozenset[int] = frozenset()
        self._unsettled: frozenset[int] = frozenset()
        self._awaited: set[str] = set()
        self._moved: dict[str, Epoch] = {}

    @property
    def known(self) -> bool:
        """Whether any ring has come."""
        return self.epoch > NO_EPOCH

    @property
    def share(self) -> int:
        """Slots owned."""
        return len(self._mine)

    @property
    def awaited(self) -> frozenset[str]:
        """Workers of this host whose MOVED is still to come, and OTHER_HOSTS."""
        return frozenset(self._awaited)

    @property
    def news(self) -> RingNews:
        """The ring, as it was told."""
        return RingNews(self.epoch, self.live, self.leaving, self._follows)

    @property
    def others(self) -> list[str]:
        """The other live workers of this host: those that clients can be given to."""
        return [worker for worker in self.live if worker != self.name and self.is_near(worker)]

    @property
    def peers(self) -> set[str]:
        """The other workers of this host, leaving ones too."""
        return {worker for worker in [*self.live, *self.leaving] if worker != self.name and self.is_near(worker)}

    def is_near(self, worker: str) -> bool:
        """Whether a worker is on this host."""
        return host_of(worker) == self.host

    def follow(self, news: RingNews) -> bool:
        """Take a newer ring; False if it is not newer."""
        if news.epoch <= self.epoch:
            return False
        settled = self._mine - self._unsettled
        before = {host_of(worker) for worker in self.live}  # one that was cut off is among the leaving ones
        if not before.issuperset(map(host_of, news.live)):
            settled = frozenset()  # a host comes (back) that may have clients for any slot, and has yet to claim them
        if news.follows not in (None, self.epoch):
            settled = frozenset()  # others have had these slots by a ring that did not come here
        self._follows = news.follows
        self.epoch, self.live, self.leaving = news.epoch, news.live, news.leaving
        self._owners = owners_of_slots(list(news.live))
        self._mine = frozenset(slot for slot in range(SLOTS) if self._owners and self._owners[slot] == self.name)
        peers = self.peers | (set() if all(map(self.is_near, [*news.live, *news.leaving])) else {OTHER_HOSTS})
        self._moved = {peer: epoch for peer, epoch in self._moved.items() if peer in peers}
        # who has moved by a greater ring has given to others what this one would have brought here
        self._awaited = {peer for peer in peers if self._moved.get(peer) != news.epoch}
        self._unsettled = self._mine - settled if self._awaited else frozenset()
        return True

    def moved(self, peer: str, epoch: Epoch) -> bool:
        """`peer` has handed over everything that the ring of `epoch` took from it. True if it was the last awaited."""
        self._moved[peer] = max(epoch, self._moved.get(peer, NO_EPOCH))
        if epoch != self.epoch or peer not in self._awaited:
            return False
        self._awaited.discard(peer)
        if self._awaited:
            return False
        self.settle()
        return True

    def settle(self) -> bool:
        """Wait no longer. True if anything was unsettled."""
        waiting, self._unsettled = bool(self._unsettled), frozenset()
        self._awaited.clear()
        return waiting

    def owner(self, token: bytes) -> str | None:
        """The worker that owns a token; None while no worker is live."""
        return self._owners[slot_of(token)] if self._owners else None

    def owns(self, token: bytes) -> bool:
        """Whether a token is this worker's."""
        return slot_of(token) in self._mine

    def is_settled(self, token: bytes) -> bool:
        """Whether a token that is not here is nowhere."""
        return not self._unsettled or slot_of(token) not in self._unsettled
