"""A fleet to measure: the tests' Fleet, on one core, with its processes counted."""

from benchmarks.costs import cpu_us_each
from benchmarks.machines import MEASURED_CORE, on_core
from tests.fleet.fleet_process import Fleet as AnyFleet
from tests.fleet.processes import children_of


class Fleet(AnyFleet):
    """Router, guardians and workers, all settings at their defaults. Ends with its `with` block."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers=workers)

    def start(self) -> None:
        with on_core(MEASURED_CORE):
            super().start()

    @property
    def pids(self) -> list[int]:
        """Every process of the fleet, the router first."""
        guardians = [self.guardian_pid(index) for index in range(self.settings.workers)]
        return [self.router_pid(), *guardians, *(child for pid in guardians for child in children_of(pid))]

    def router_and_workers_us(self) -> tuple[int, int]:
        """CPU time of the router, and of guardians and workers together."""
        router, *workers = cpu_us_each(self.pids)
        return router, sum(workers)
