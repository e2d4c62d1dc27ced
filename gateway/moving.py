"""Moving: clients go to their owners when the ring changes; who is still to come is waited for.

Nothing moves before every router that is heard has fenced the present ring. MOVED is said behind the last client.
"""

from collections.abc import Callable, Iterable

from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.fences import Fences
from gateway.hand_over_messages import Moved
from gateway.hand_overs import HandOvers
from gateway.ownership import OTHER_HOSTS, Ownership
from gateway.peers import PeerLink
from shared.rings import NO_EPOCH, Epoch

#: Clients looked at, and clients under way, per turn of a move.
_SCAN_PER_TURN = 500
_UNDER_WAY_MAX = 400
#: Pause of a scan that has as many clients under way as may be, and before what was lost is said again.
_BREATH_S, RETRY_S = 0.002, 0.02
#: Workers of other hosts have claimed what they keep this many ticks after a change of the ring.
_CLAIMED_TICKS = 2


class Moving:
    """Looks at all clients after each change of the ring, in slices."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        hand_overs: HandOvers,
        consider: Callable[[Connection], None],
        *,
        timeout_s: int,
    ) -> None:
        """`consider(connection)` gives a client away, claims it, or leaves it where it is."""
        self._clients = clients
        self._ownership = ownership
        self._hand_overs = hand_overs
        self._consider = consider
        self._timeout_s = timeout_s
        self._fences = Fences()
        self.heard: Callable[[], Iterable[int]] = tuple  # routers
        self.is_gone: Callable[[str], bool] = lambda worker: False
        self.settled: Callable[[bool], None] = lambda in_time: None
        #: Whether a bound client that is to go is still owed something.
        self.owing: Callable[[], bool] = lambda: False
        self.told = NO_EPOCH  # MOVED has been said for this ring
        self._scan_at: int | None = None  # next descriptor to look at
        self._scan_scheduled = False
        self._opened = NO_EPOCH  # all fences of this ring have been seen
        self._ring_tick = 0
        self._missing: frozenset[str] = frozenset()  # awaited, and gone at the last look
        hand_overs.moved = self._moved
        hand_overs.link_lost = self._link_lost

    # --- fences

    def fence(self, router: int, epoch: Epoch) -> None:
        """What this router sends from now on it has routed by the ring of `epoch`."""
        self._fences.told(router, epoch)
        self._look_at_fences()

    def behind(self, routers: Iterable[int]) -> list[int]:
        """Routers that have not told the present ring."""
        return self._fences.behind(self._ownership.epoch, routers)

    @property
    def open(self) -> bool:
        """Whether clients may go: every router that is heard routes by the present ring."""
        return self._ownership.known and self._fences.passed(self._ownership.epoch, self.heard())

    def _look_at_fences(self) -> None:
        if self._opened != self._ownership.epoch and self.open:
            self._opened = self._ownership.epoch
            self.start_scan(0)

    # --- what this worker gives

    def ring_changed(self) -> None:
        """Another ring. Clients that are claimed need not wait for its fences."""
        self._ring_tick = self._clients.wheel.tick
        self.start_scan(0)
        if not self._ownership.awaited:
            self._settle()

    @property
    def scanning(self) -> bool:
        """Whether a look at all clients is under way."""
        return self._scan_at is not None

    def start_scan(self, seconds: float) -> None:
        """Look at every connection, from the first on; a scan under way begins anew."""
        self._scan_at = 0
        self._schedule_scan(seconds)

    def _schedule_scan(self, seconds: float) -> None:
        if not self._scan_scheduled:
            self._scan_scheduled = True
            self._clients.later(seconds, self._scan)

    def _scan(self) -> None:
        """Look at some connections, as many as may be under way."""
        self._scan_scheduled = False
        if self._scan_at is None:
            return
        by_fd = self._clients.table.by_fd
        end = min(self._scan_at + _SCAN_PER_TURN, len(by_fd))
        for fd in range(self._scan_at, end):
            connection = by_fd[fd]
            if connection is not None:
                self._clients.guarded(self._consider, connection)
            if self._hand_overs.count >= _UNDER_WAY_MAX:
                end = fd + 1
                break
        self._scan_at = end if end < len(by_fd) else None
        if self._scan_at is None:
            self._say_moved()
        else:
            self._schedule_scan(0 if self._hand_overs.count < _UNDER_WAY_MAX else _BREATH_S)

    def _say_moved(self) -> None:
        epoch = self._ownership.epoch
        if self.scanning or self.told == epoch or self._opened != epoch:
            return
        if self._hand_overs.moving or self.owing():
            self._clients.later(_BREATH_S if self._hand_overs.moving else RETRY_S, self._say_moved)
            return
        self.told = epoch
        self._hand_overs.say_moved()

    def _link_lost(self, worker: str) -> None:
        """MOVED may have been lost with the link: say it again."""
        if self.told == self._ownership.epoch and worker in self._ownership.live:
            self._clients.later(RETRY_S, self._hand_overs.say_moved)

    def greeted(self, link: PeerLink) -> None:
        """A worker has called. If it has started just now, it has not heard what was said before."""
        if self.told == self._ownership.epoch and self._ownership.known:
            link.send(Moved(self._ownership.name, self._ownership.epoch))

    # --- what it is to get

    def _moved(self, peer: str, message: Moved) -> None:
        self._has_moved(message.worker, message.epoch)

    def _has_moved(self, worker: str, epoch: Epoch) -> None:
        if self._ownership.moved(worker, epoch):
            self._settle()

    def _settle(self) -> None:
        """All that could come has come: what is still held is for clients that are nowhere."""
        self._ownership.settle()
        self.settled(True)

    def tick(self, tick: int) -> None:
        """Once a second."""
        waited = tick - self._ring_tick
        if waited >= self._timeout_s:
            self._fences.give_up(self._ownership.epoch)
        self._look_at_fences()
        if not self._ownership.awaited:
            return
        if waited >= self._timeout_s:
            self._clients.counters["moves_timed_out"] += 1
            self.settled(False)
            self._ownership.settle()
            self.settled(True)
            return
        if waited >= _CLAIMED_TICKS:
            self._has_moved(OTHER_HOSTS, self._ownership.epoch)
        self._pass_over_gone()

    def _pass_over_gone(self) -> None:
        """A worker of which no process lives has nothing to give. Seen twice, so that its last words have been read."""
        gone = frozenset(worker for worker in self._ownership.awaited if worker != OTHER_HOSTS and self.is_gone(worker))
        for worker in gone & self._missing:
            self._has_moved(worker, self._ownership.epoch)
        self._missing = gone
