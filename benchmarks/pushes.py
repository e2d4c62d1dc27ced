"""CPU per push: router and 2 workers, batches of 50, flat out, beside one send() per push in C."""

from collections.abc import Callable
from statistics import median

from benchmarks.figures import Figure, Plan
from benchmarks.senders import random_batches
from benchmarks.stages import FloorStage, Spent, Stage

BUDGET_US = 25
_VARIANTS = {
    ("text", False): "CPU per push, WebSocket text",
    ("text", True): "the same, requests with `id`",
    ("packets", False): "CPU per push, binary packets v2",
    ("packets", True): "the same, requests with `id`",
}


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """Fleet and floor hold the same number of clients at the same time and are pushed to in turn."""
    ours: dict[tuple[str, bool], list[Spent]] = {variant: [] for variant in _VARIANTS}
    bare: dict[str, list[Spent]] = {"text": [], "packets": []}
    batches = random_batches(plan.connections, plan.batch)
    for protocol, floors in bare.items():
        with FloorStage(plan.connections) as floor, Stage(2, plan.connections, protocol) as stage:
            stage.push(batches, plan.pushes // 10, plan.in_flight)
            stage.rest()
            for repeat in range(plan.repeats):
                progress(f"pushes, {protocol}, {repeat + 1} of {plan.repeats}")
                for with_id in (False, True):
                    ours[protocol, with_id].append(stage.push(batches, plan.pushes, plan.in_flight, with_id))
                floors.append(floor.push(plan.pushes))
    figures = [_cost(name, ours[variant], bare[variant[0]]) for variant, name in _VARIANTS.items()]
    return [*figures, _rate(plan, ours["text", False], bare["text"])]


def _cost(name: str, ours: list[Spent], bare: list[Spent]) -> Figure:
    note = f"router {median(one.router for one in ours):.1f}, workers {median(one.workers for one in ours):.1f}"
    totals, floors = [one.total for one in ours], [one.total for one in bare]
    return Figure(name, "us", totals, BUDGET_US, "at most 25", floors, note)


def _rate(plan: Plan, ours: list[Spent], bare: list[Spent]) -> Figure:
    note = f"batches of {plan.batch}, {plan.in_flight} requests in flight, {plan.connections} clients"
    rates, floors = [one.per_second for one in ours], [one.per_second for one in bare]
    return Figure("pushes per second on that core", "/s", rates, floor=floors, note=note)
