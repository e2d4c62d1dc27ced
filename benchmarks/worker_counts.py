"""CPU per push with 8 workers against 1: a push must not cost more because the fleet is larger."""

from collections.abc import Callable
from statistics import median

from benchmarks.figures import Figure, Plan
from benchmarks.senders import random_batches
from benchmarks.stages import Stage

BUDGET_RATIO = 1.3


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """Both fleets on the same core at the same time, pushed to in turn."""
    batches = random_batches(plan.connections, plan.batch)
    loads = {plan.in_flight: plan.pushes, 1: plan.pushes // 4}
    few: dict[int, list[float]] = {in_flight: [] for in_flight in loads}
    many: dict[int, list[float]] = {in_flight: [] for in_flight in loads}
    with Stage(1, plan.connections) as small, Stage(8, plan.connections) as large:
        for stage in (small, large):
            stage.push(batches, plan.pushes // 10, plan.in_flight)
            stage.rest()
        for repeat in range(plan.repeats):
            progress(f"1 and 8 workers, {repeat + 1} of {plan.repeats}")
            for in_flight, pushes in loads.items():
                few[in_flight].append(small.push(batches, pushes, in_flight).total)
                many[in_flight].append(large.push(batches, pushes, in_flight).total)
    return [
        _figure(few[plan.in_flight], many[plan.in_flight], plan.in_flight, BUDGET_RATIO, "at most 1.3"),
        _figure(few[1], many[1], 1, None, "stated"),
    ]


def _figure(few: list[float], many: list[float], in_flight: int, limit: float | None, budget: str) -> Figure:
    ratios = [one / other for one, other in zip(many, few, strict=True)]
    note = f"1 worker {median(few):.1f} us, 8 workers {median(many):.1f} us"
    return Figure(f"CPU per push, 8 workers to 1, {in_flight} in flight", "x", ratios, limit, budget, note=note)
