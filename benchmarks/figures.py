"""A figure: what was measured how often, and the budget it is held against."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `connections` for CPU and latency, `idle_connections` for memory."""

    repeats: int = 3
    connections: int = 10_000
    idle_connections: int = 19_000
    pushes: int = 100_000
    fan_outs: int = 10
    paced_pushes: int = 20_000
    rate: int = 2_000  # paced pushes per second
    batch: int = 50
    in_flight: int = 64


QUICK = Plan(repeats=1, connections=2_000, idle_connections=4_000, pushes=20_000, fan_outs=5, paced_pushes=4_000)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `limit` is the budget in `unit`; `floor` holds the floor's samples of the same run."""

    name: str
    unit: str
    samples: list[float]
    limit: float | None = None
    budget: str = ""
    floor: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def measured(self) -> float:
        """Median of the repeats."""
        return median(self.samples)

    @property
    def floor_measured(self) -> float | None:
        return median(self.floor) if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the budget is kept; None where there is none."""
        return None if self.limit is None else self.measured <= self.limit


#: Measures some figures by a plan; progress goes to the callable.
Measurement = Callable[[Plan, Callable[[str], None]], list[Figure]]
