"""The routers of this worker, by their place in its list: which of them it hears, and sending to one or to all.

Pure: the sockets (`gateway.bus_link`) and the clock are given. A router that says nothing for two heartbeats, and a
second at least, is not heard: nobody waits for it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol


class Sending(Protocol):
    """A bus link, as far as it is needed here."""

    def send(self, frames: Sequence[bytes]) -> bool: ...


class RouterLinks:
    """One link to each router. Numbers of batches, fan-outs and calls are each router's own."""

    def __init__(self, links: Sequence[Sending], tick: Callable[[], int], heartbeat_ms: int) -> None:
        """`tick` tells the time in seconds."""
        self._links = list(links)
        self._tick = tick
        self._silence = max(1, -(-2 * heartbeat_ms // 1000))
        self._last: list[int | None] = [None] * len(self._links)  # tick of the last message
        self._positions: list[int | None] = [None] * len(self._links)  # said in ALIVE1

    def __len__(self) -> int:
        return len(self._links)

    def note(self, router: int) -> bool:
        """A message of this router has come. True if it was heard before, and silent since."""
        last, now = self._last[router], self._tick()
        self._last[router] = now
        return last is not None and now - last > self._silence

    def alive(self, router: int, position: object) -> None:
        """This router has said ALIVE1."""
        self._positions[router] = position if isinstance(position, int) else router

    def knows_stale(self, router: int) -> bool:
        """Whether a router understands STALE; one of an older version, which never says ALIVE1, does not."""
        return self._positions[router] is not None

    @property
    def heard(self) -> list[int]:
        """Routers that are heard now."""
        now = self._tick()
        return [router for router, last in enumerate(self._last) if last is not None and now - last <= self._silence]

    @property
    def positions(self) -> list[int]:
        """The same by the positions that they gave themselves, for READY1 and BEAT1."""
        return [position if (position := self._positions[router]) is not None else router for router in self.heard]

    def send(self, router: int, frames: Sequence[bytes]) -> bool:
        """Send to one; False if it was dropped."""
        return self._links[router].send(frames)

    def send_all(self, frames: Sequence[bytes]) -> None:
        """Send to every router, also to those that are not heard: they get it when they are back."""
        for link in self._links:
            link.send(frames)
