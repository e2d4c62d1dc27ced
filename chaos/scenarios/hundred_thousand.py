"""100,000 clients on this machine, 1,000 pushes/s, every worker restarted once; what the fleet takes in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from chaos.crowds import Pace
from chaos.results import Result
from chaos.scenarios.rolling import restart_all
from chaos.stages import Plan, Stage

#: 20,000 descriptors a process, less some, and one worker away: seven must hold all.
WORKERS = 8
_CLIENTS, _PROCESSES, _RATE = 100_000, 6, 1_000
#: With 20,000 busy and 20,000 slow clients, what each does must be less, or two cores did nothing else.
_PACE = Pace(slow_bytes=128, busy_ms=60_000)


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts."""
    workers = WORKERS
    if plan.quick:
        workers = 3
    elif plan.clients == Plan().clients:
        plan = replace(plan, clients=_CLIENTS, processes=_PROCESSES, rate=_RATE, pace=_PACE)
    result = Result("hundred-thousand", f"{plan.clients:,} clients, {workers} workers restarted in turn.")
    with Stage(plan, result, workers=workers, drain_timeout_s=120) as stage:
        stage.pause()
        restart_all(stage, "once")
        stage.finish()
        stage.promise_all()
    yield result
