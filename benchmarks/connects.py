"""CPU per WebSocket connect and SUB, the hand-over of about half the clients included."""

from collections.abc import Callable

from benchmarks.costs import cpu_us, wait_until_quiet
from benchmarks.figures import Figure, Plan
from benchmarks.fleets import Fleet
from benchmarks.programs import Floor, Load

BUDGET_US = 150


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """The same fleet each time, empty and at rest before; each client waits for every answer."""
    samples, floor = [], []
    with Fleet(2) as fleet:
        _one(fleet, plan.connections // 10)
        for repeat in range(plan.repeats):
            progress(f"connects, {plan.connections} clients, {repeat + 1} of {plan.repeats}")
            samples.append(_one(fleet, plan.connections))
            floor.append(_floor(plan.connections))
    note = "2 workers: about half are handed over"
    return [Figure("CPU per WebSocket connect + SUB", "us", samples, BUDGET_US, "at most 150", floor, note)]


def _one(fleet: Fleet, clients: int) -> float:
    wait_until_quiet(fleet.pids)
    with Load(fleet.client_port) as load:
        before = cpu_us(fleet.pids)
        load.open(clients)
        spent = cpu_us(fleet.pids) - before
    return spent / clients


def _floor(clients: int) -> float:
    with Floor() as floor, Load(floor.port) as load:
        before = cpu_us([floor.pid])
        load.open(clients)
        return (cpu_us([floor.pid]) - before) / clients
