"""Time from a sender's push to its client, at a steady rate, beside the floor's at the same rate."""

from collections.abc import Callable
from statistics import median

from benchmarks.faults import BenchmarkFault
from benchmarks.figures import Figure, Plan
from benchmarks.senders import paced
from benchmarks.stages import FloorStage, Stage

BUDGET_RATIO = 3.0


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """Fleet and floor in turn; the sender stamps each push with the clock that the client reads."""
    ours: list[dict[str, float]] = []
    bare: list[dict[str, float]] = []
    with FloorStage(plan.connections) as floor, Stage(2, plan.connections) as stage:
        _one(plan, plan.paced_pushes // 10, stage)
        stage.rest()
        for repeat in range(plan.repeats):
            progress(f"latency, {repeat + 1} of {plan.repeats}")
            bare.append(_one(plan, plan.paced_pushes, floor))
            ours.append(_one(plan, plan.paced_pushes, stage))
    return [_p50(plan, ours, bare), _p99(ours, bare)]


def _one(plan: Plan, count: int, stage: Stage | FloorStage) -> dict[str, float]:
    stage.load.reset()
    paced(stage.sender, stage.clients, plan.rate, count)
    stage.load.await_pushes(count)
    if gaps := stage.load.stats()["gaps"]:
        raise BenchmarkFault(f"{gaps} pushes arrived out of order")
    return stage.load.ask("latency")


def _p50(plan: Plan, ours: list[dict[str, float]], bare: list[dict[str, float]]) -> Figure:
    ratios = [one["p50_us"] / other["p50_us"] for one, other in zip(ours, bare, strict=True)]
    here, floor = (median(one["p50_us"] for one in runs) for runs in (ours, bare))
    note = f"ours {here:.0f} us, floor {floor:.0f} us, at {plan.rate} pushes/s, {plan.connections} clients"
    return Figure("p50 sender to client", "x floor", ratios, BUDGET_RATIO, "at most 3", note=note)


def _p99(ours: list[dict[str, float]], bare: list[dict[str, float]]) -> Figure:
    samples, floors = [one["p99_us"] for one in ours], [one["p99_us"] for one in bare]
    return Figure("p99 sender to client", "us", samples, None, "stated", floors)
