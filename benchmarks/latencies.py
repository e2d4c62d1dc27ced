"""Time from a sender's push to its client, at a steady rate, beside the floor's at the same rate."""

from collections.abc import Callable
from contextlib import closing
from statistics import median

from benchmarks.faults import BenchmarkFault
from benchmarks.figures import Figure, Plan
from benchmarks.machines import undisturbed
from benchmarks.programs import Load
from benchmarks.senders import AnySender, FloorSender, PlainFloorSender, paced
from benchmarks.stages import FloorStage, Stage

BUDGET_RATIO = 3.0


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Figure]:
    """Fleet and floor in turn; the sender stamps each push with the clock that the client reads."""
    ours: list[dict[str, float]] = []
    bare: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []
    with undisturbed() as alone, FloorStage(plan.connections) as floor, Stage(2, plan.connections) as stage:
        paced_run(plan, plan.paced_pushes // 10, stage.sender, stage.load)
        stage.rest()
        for repeat in range(plan.repeats):
            progress(f"latency, {repeat + 1} of {plan.repeats}")
            for samples, kind in ((bare, FloorSender), (plain, PlainFloorSender)):
                with closing(kind(floor.floor.request_port)) as sender:
                    samples.append(paced_run(plan, plan.paced_pushes, sender, floor.load))
            ours.append(paced_run(plan, plan.paced_pushes, stage.sender, stage.load))
    return [_p50(plan, ours, bare, plain), _p99(ours, bare, alone)]


def paced_run(plan: Plan, count: int, sender: AnySender, load: Load) -> dict[str, float]:
    """Percentiles of `count` pushes, each checked to have arrived, in order. Raises BenchmarkFault."""
    load.reset()
    paced(sender, plan.connections, plan.rate, count)
    load.await_pushes(count)
    if gaps := load.stats()["gaps"]:
        raise BenchmarkFault(f"{gaps} pushes arrived out of order")
    return load.ask("latency")


def _p50(
    plan: Plan, ours: list[dict[str, float]], bare: list[dict[str, float]], plain: list[dict[str, float]]
) -> Figure:
    ratios = [one["p50_us"] / other["p50_us"] for one, other in zip(ours, bare, strict=True)]
    here, floor, least = (median(one["p50_us"] for one in runs) for runs in (ours, bare, plain))
    note = f"ours {here:.0f} us, floor {floor:.0f} us (with a bare TCP sender {least:.0f} us), {plan.rate} pushes/s"
    return Figure("p50 sender to client", "x floor", ratios, BUDGET_RATIO, "at most 3", note=note)


def _p99(ours: list[dict[str, float]], bare: list[dict[str, float]], alone: bool) -> Figure:
    samples, floors = [one["p99_us"] for one in ours], [one["p99_us"] for one in bare]
    note = "at real-time priority" if alone else "at normal priority: other processes count"
    return Figure("p99 sender to client", "us", samples, None, "stated", floors, note)
