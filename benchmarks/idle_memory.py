"""Memory in user space per idle WebSocket client with its token bound."""

from collections.abc import Callable

from benchmarks.costs import Memory, memory, wait_until_quiet
from benchmarks.figures import Figure, Plan
from benchmarks.fleets import Fleet
from benchmarks.programs import Floor, Load

BUDGET_BYTES = 1000


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """A fresh fleet of 2 workers each time: what it holds with all clients, less what it held with none."""
    pss, private, floor = [], [], []
    for repeat in range(plan.repeats):
        progress(f"idle memory, {plan.idle_connections} clients, {repeat + 1} of {plan.repeats}")
        ours = _fleet_growth(plan.idle_connections)
        pss.append(ours.pss / plan.idle_connections)
        private.append(ours.private / plan.idle_connections)
        floor.append(_floor_growth(plan.idle_connections) / plan.idle_connections)
    note = f"{plan.idle_connections} clients, 2 workers"
    return [
        Figure("memory per idle WebSocket client (PSS)", "bytes", pss, BUDGET_BYTES, "at most 1,000", floor, note),
        Figure("the same, private pages only", "bytes", private, BUDGET_BYTES, "at most 1,000", [], note),
    ]


def _fleet_growth(clients: int) -> Memory:
    with Fleet(2) as fleet:
        wait_until_quiet(fleet.pids)
        before = memory(fleet.pids)
        with Load(fleet.client_port) as load:
            load.open(clients)
            wait_until_quiet(fleet.pids)
            after = memory(fleet.pids)
    return Memory(after.pss - before.pss, after.private - before.private)


def _floor_growth(clients: int) -> int:
    with Floor() as floor:
        before = memory([floor.pid]).pss
        with Load(floor.port) as load:
            load.open(clients)
            return memory([floor.pid]).pss - before
