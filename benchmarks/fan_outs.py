"""CPU per copy of a push to all, beside one send() per copy in C."""

from collections.abc import Callable
from statistics import median

from benchmarks.figures import Figure, Plan
from benchmarks.stages import FloorStage, Stage

BUDGET_RATIO = 1.3


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """Fleet of 2 workers and floor in turn, for text and for packets."""
    return [
        _measure(plan, progress, "text", "WebSocket text"),
        _measure(plan, progress, "packets", "binary packets v2"),
    ]


def _measure(plan: Plan, progress: Callable[[str], None], protocol: str, name: str) -> Figure:
    ours, bare = [], []
    with FloorStage(plan.connections) as floor, Stage(2, plan.connections, protocol) as stage:
        stage.push_to_all(1)
        stage.rest()
        for repeat in range(plan.repeats):
            progress(f"push to all, {protocol}, {repeat + 1} of {plan.repeats}")
            ours.append(stage.push_to_all(plan.fan_outs).total)
            bare.append(floor.push_to_all(plan.fan_outs).total)
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    note = f"ours {median(ours):.1f} us, floor {median(bare):.1f} us"
    return Figure(f"CPU per copy of a push to all, {name}", "x floor", ratios, BUDGET_RATIO, "at most 1.3", note=note)
