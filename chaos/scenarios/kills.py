"""kill -9 of a random worker every 5 s for 2 minutes: its clients stay, but those amid something."""

import random
import time
from collections.abc import Iterator, Sequence
from statistics import median

from chaos.ledgers import Pushed
from chaos.probes import Served
from chaos.results import Result
from chaos.stages import Plan, Stage
from shared.outcomes import Outcome

WORKERS = 4
_PERIOD_S, _KILLS = 5.0, 24
#: How long a worker may take to be back, for the probes.
_BACK_S = 20.0
#: Median of the same that is too late; in a test, which may have a busy machine.
_LATE_S, _LATE_QUICK_S = 1.0, 5.0


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts."""
    workers, kills, period = (2, 3, 2.0) if plan.quick else (WORKERS, _KILLS, _PERIOD_S)
    result = Result("kills", f"kill -9 of one of {workers} workers, {kills} times, every {period:g} s.")
    chance = random.Random(plan.seed)
    with Stage(plan, result, workers=workers) as stage:
        gaps: list[tuple[int, int]] = []  # from the kill until served again, ns
        served: list[Served] = []
        for number in range(kills):
            index = chance.randrange(workers)
            stage.phase(f"kill {number + 1} of {kills}: worker {index}")
            begun = time.monotonic()
            served.append(_kill(stage, index, gaps))
            time.sleep(max(0.0, begun + period - time.monotonic()))
        stage.fleet.wait_ready(workers, seconds=60)
        stage.pause()
        stage.finish(lambda push: push.outcome == Outcome.UNKNOWN and _was_under_way(push, gaps))
        stage.promise_all(disconnects=None)
        state_disconnects(stage, kills)
        _state_times(result, served, _LATE_QUICK_S if plan.quick else _LATE_S)
    yield result


def _kill(stage: Stage, index: int, gaps: list[tuple[int, int]]) -> Served:
    pid = stage.fleet.worker_pid(index)
    start_ns = time.monotonic_ns()
    stage.fleet.kill_pid(pid)
    served = stage.probes.ask(stage.names[index], start_ns / 1e9, _BACK_S)
    gaps.append((start_ns, start_ns + int(served.seconds * 1e9)))
    return served


def _was_under_way(push: Pushed, gaps: list[tuple[int, int]]) -> bool:
    """Whether it was sent before its worker was back, and had no outcome yet when a worker was killed."""
    return any(push.sent_ns <= back and push.answered_ns >= killed for killed, back in gaps)


def state_disconnects(stage: Stage, kills: int) -> None:
    """Only who had a mark may be dropped, one idle client for each kill besides, and all with the reason."""
    result, whole = stage.result, stage.result.whole()
    idle = sum(finding.disconnects for role, finding in result.findings.items() if role == "idle")
    result.state("disconnects", whole.disconnects)
    result.at_most("idle clients disconnected", idle, kills)
    result.at_most("disconnected without being amid anything, as far as they know", whole.unmarked, kills)
    counted = stage.watch.counters()["close_worker_lost"]
    dropped = whole.disconnects + stage.probes.dropped
    result.expect("of the disconnects counted as worker_lost", f"{counted} of {dropped}", "all", counted == dropped)


def _state_times(result: Result, served: list[Served], late_s: float) -> None:
    seconds = [one.seconds for one in served]
    result.at_most("kill to served again, median, s", round(median(seconds), 3), late_s)
    result.state("kill to served again, worst, s", round(max(seconds), 3))
    result.at_most("probes without answer", sum(one.silent for one in served), 0)
    result.state("probes disconnected", sum(one.dropped for one in served))
