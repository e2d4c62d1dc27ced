"""Two routers, one killed every 10 s and started again: senders go on with the other, and repeat what is unanswered."""

import random
import time
from collections.abc import Iterator, Sequence

from chaos.results import Result
from chaos.roles import has_ids
from chaos.stages import Plan, Stage

WORKERS = 4
_ROUTERS = 2
_PERIOD_S, _KILLS, _DOWN_S = 10.0, 6, 3.0


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts."""
    workers, kills, period, down = (2, 2, 3.0, 1.0) if plan.quick else (WORKERS, _KILLS, _PERIOD_S, _DOWN_S)
    result = Result(
        "routers", f"{_ROUTERS} routers, {workers} workers; kill -9 of a router {kills} times, every {period:g} s."
    )
    chance = random.Random(plan.seed)
    with Stage(plan, result, as_shipped=True, workers=workers, routers=_ROUTERS) as stage:
        for number in range(kills):
            router = number % _ROUTERS if number < _ROUTERS else chance.randrange(_ROUTERS)
            stage.phase(f"kill {number + 1} of {kills}: router {router}")
            stage.fleet.kill_router(router)
            time.sleep(down)
            stage.fleet.start_router(router)
            time.sleep(period - down)
        stage.fleet.wait_ready(workers, seconds=60)
        stage.finish()
        stage.promise_all(copies=True)
        _state_copies(stage)
    yield result


def _state_copies(stage: Stage) -> None:
    """Where copies went."""
    result, whole = stage.result, stage.result.whole()
    result.state("clients that asked for ids", sum(map(has_ids, stage.crowd.clients)))
    result.state("copies dropped by workers", stage.watch.counters()["copies_dropped"])
    result.state("copies dropped by clients, by their ids", whole.copies_dropped)
    result.state("routers lost, as the senders count", sum(one.routers_lost for one in stage.load.statistics))
