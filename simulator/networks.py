"""The network between hosts: how late messages are, and which hosts cannot reach each other."""

from collections.abc import Callable

from simulator.worlds import World


class Network:
    """Latency by chance, with a long tail; a host that is cut off."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cut_off: dict[str, None] = {}
        self._waiting: list[Callable[[], None]] = []

    def latency(self) -> float:
        chance = self._world.network
        late = chance.uniform(0.00005, 0.0015)
        return late if chance.random() < 0.97 else late + chance.uniform(0, 0.03)

    def cut(self, one: str, other: str) -> bool:
        """Whether nothing goes between two hosts now."""
        return one != other and (one in self._cut_off or other in self._cut_off)

    @property
    def is_cut(self) -> bool:
        return bool(self._cut_off)

    def cut_off(self, host: str) -> None:
        self._cut_off[host] = None
        self._world.note("network", "%s is cut off", host)

    def heal(self) -> None:
        """Everything that waits comes, in the order in which it would have come."""
        self._cut_off.clear()
        self._world.note("network", "healed")
        waiting, self._waiting = self._waiting, []
        for arrive in waiting:
            arrive()

    def when_healed(self, arrive: Callable[[], None]) -> None:
        self._waiting.append(arrive)
