"""Fences: by which ring each router routes what it sends to this worker.

Pure. RING1 comes on the link that carries a router's pushes, behind the last that the older ring routed. So a worker
may give clients away when every router that it hears has told it the ring that it follows: nothing for them can come
after that.
"""

from collections.abc import Iterable

from shared.rings import Epoch


class Fences:
    """The last epoch that each router has told."""

    def __init__(self) -> None:
        self._told: dict[int, Epoch] = {}
        self._passed: Epoch | None = None

    def told(self, router: int, epoch: Epoch) -> None:
        """A RING1. A router that has started again may tell an older ring than before."""
        self._told[router] = epoch

    def behind(self, epoch: Epoch, routers: Iterable[int]) -> list[int]:
        """Those of the routers that have not told this epoch, or a greater one."""
        return [router for router in routers if router not in self._told or self._told[router] < epoch]

    def passed(self, epoch: Epoch, heard: Iterable[int]) -> bool:
        """Whether every router that is heard has told this epoch. Once true, it is so for good."""
        if self._passed != epoch and not self.behind(epoch, heard):
            self._passed = epoch
        return self._passed == epoch

    def give_up(self, epoch: Epoch) -> None:
        """Wait for nobody any longer."""
        self._passed = epoch
