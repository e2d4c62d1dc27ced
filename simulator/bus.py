"""ZeroMQ's links, DEALER to ROUTER, with ZeroMQ's rules.

Ordered on each link, each message late by chance; nothing is promised between links. What a DEALER says while it has no
connection waits for the next one, even to a restarted router. What is under way when a connection ends is lost, in both
directions. A ROUTER learns a moment later that a peer is gone; until then what it sends is lost, afterwards it is told
(ROUTER_MANDATORY). A newer connection of an identity takes the older one's place (ROUTER_HANDOVER).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from simulator.networks import Network
from simulator.worlds import World

Frames = list[bytes]
_RETRY_S = (0.02, 0.4)
_NOTICED_S = (0.0005, 0.02)


class Listening(Protocol):
    """A ROUTER socket's owner."""

    host: str
    open: bool

    def arrived(self, link: Link, frames: Frames) -> None: ...


class Exchange:
    """The ROUTER sockets of the world, by endpoint."""

    def __init__(self, world: World, network: Network) -> None:
        self.world, self.network = world, network
        self.routers: dict[str, RouterSocket] = {}
        self.observers: list[Callable[[str, str, Frames], None]] = []  # (from, to, frames) as it arrives


class RouterSocket:
    """A bound ROUTER."""

    def __init__(self, exchange: Exchange, endpoint: str, host: str, name: str) -> None:
        self.exchange, self.endpoint, self.host, self.name = exchange, endpoint, host, name
        self.peers: dict[bytes, Link] = {}
        self.receive: Callable[[bytes, Frames], None] = lambda identity, frames: None
        self.open = True
        exchange.routers[endpoint] = self

    def send(self, identity: bytes, frames: Frames) -> bool:
        """False: unreachable."""
        link = self.peers.get(identity)
        if link is None:
            return False
        link.to_dealer(frames)
        return True

    def close(self) -> None:
        """The process has ended."""
        self.open = False
        self.exchange.routers.pop(self.endpoint, None)
        for link in list(self.peers.values()):
            link.breaks()
        self.peers.clear()


class Link:
    """One connection of a DEALER, made anew for ever. `generation` counts the connections."""

    def __init__(self, exchange: Exchange, dealer: Dealer, endpoint: str) -> None:
        self._exchange, self._world, self._dealer, self.endpoint = exchange, exchange.world, dealer, endpoint
        self.router: RouterSocket | None = None
        self.generation = 0
        self.closed = False
        self.slow = 0.0  # seconds that a fault adds to each message
        self._waiting: deque[Frames] = deque()
        self._last = [0.0, 0.0]  # when the last message in each direction arrives
        self._retry()

    def _chance(self, low: float, high: float) -> float:
        return self._world.network.uniform(low, high)

    def _retry(self) -> None:
        self._world.after(self._chance(*_RETRY_S) if self.generation else self._chance(0.001, 0.01), self._connect)

    def _connect(self) -> None:
        if self.closed or self.router is not None:
            return
        self.generation += 1
        router = self._exchange.routers.get(self.endpoint)
        if router is None or self._exchange.network.cut(self._dealer.host, router.host):
            self._retry()
            return
        older = router.peers.get(self._dealer.identity)
        if older is not None and older is not self:
            older.router = None
            older.generation += 1
            if not older.closed:
                older._retry()
        self.router = router
        router.peers[self._dealer.identity] = self
        waiting, self._waiting = self._waiting, deque()
        for frames in waiting:
            self.to_router(frames)
        self._dealer.connected(self)

    # --- messages

    @property
    def has_room(self) -> bool:
        return self.router is not None or len(self._waiting) < self._dealer.high_water

    def to_router(self, frames: Frames) -> bool:
        if not self.has_room:
            return False
        if self.router is None:
            self._waiting.append(frames)
            return True
        self._travel(0, self._at_router, frames)
        return True

    def to_dealer(self, frames: Frames) -> None:
        self._travel(1, self._at_dealer, frames)

    def _travel(self, way: int, arrive: Callable[[int, Frames], None], frames: Frames) -> None:
        late = self._exchange.network.latency() + self.slow
        self._last[way] = max(self._last[way], self._world.now + late)
        self._world.at(self._last[way], arrive, self.generation, frames)

    def _held_up(self, arrive: Callable[[int, Frames], None], generation: int, frames: Frames) -> bool:
        """Whether the network between the hosts is cut: then it comes when that is over, if the link still stands."""
        network, router = self._exchange.network, self.router
        if router is None or not network.cut(self._dealer.host, router.host):
            return False
        network.when_healed(lambda: arrive(generation, frames))
        return True

    def _at_router(self, generation: int, frames: Frames) -> None:
        router = self.router
        if generation != self.generation or router is None or not router.open:
            return
        if not self._held_up(self._at_router, generation, frames):
            for observer in self._exchange.observers:
                observer(self._dealer.name, router.name, frames)
            router.receive(self._dealer.identity, frames)

    def _at_dealer(self, generation: int, frames: Frames) -> None:
        if generation != self.generation or self.closed or self.router is None:
            return
        if not self._held_up(self._at_dealer, generation, frames):
            for observer in self._exchange.observers:
                observer(self.router.name, self._dealer.name, frames)
            self._dealer.arrived(frames)

    # --- ends

    def breaks(self) -> None:
        """The connection ends: what is under way is lost, and a new one is tried."""
        self.generation += 1
        router, self.router = self.router, None
        if router is not None and router.peers.get(self._dealer.identity) is self:
            del router.peers[self._dealer.identity]
        if not self.closed:
            self._world.after(self._chance(*_NOTICED_S), self._dealer.disconnected, self)
            self._retry()

    def close(self, linger: bool) -> None:
        """The DEALER's process closes it (what it said still goes) or is dead (what is under way may be lost)."""
        if self.closed:
            return
        self.closed = True
        if linger:
            self._world.at(max(self._last[0], self._world.now) + 0.0001, self._gone, self.generation)
        else:
            self._world.after(self._chance(*_NOTICED_S), self._gone, self.generation)

    def _gone(self, generation: int) -> None:
        if generation == self.generation:
            self.breaks()


class Dealer:
    """A DEALER with links to one or more routers; `arrived` and `disconnected` are its owner's."""

    def __init__(self, exchange: Exchange, name: str, host: str, high_water: int = 10_000) -> None:
        self.exchange, self.name, self.host, self.high_water = exchange, name, host, high_water
        self.identity = name.encode()
        self.links: list[Link] = []
        self.arrived: Callable[[Frames], None] = lambda frames: None
        self.connected: Callable[[Link], None] = lambda link: None
        self.disconnected: Callable[[Link], None] = lambda link: None

    def connect(self, endpoint: str) -> Link:
        link = Link(self.exchange, self, endpoint)
        self.links.append(link)
        return link

    def close(self, linger: bool = True) -> None:
        for link in self.links:
            link.close(linger)
