"""A worker added, a worker removed, under load: about K/N clients move, nobody is disconnected."""

import time
from collections.abc import Iterator, Sequence

from chaos.probes import EACH
from chaos.results import Result
from chaos.stages import Plan, Stage

WORKERS = 4
_TOLERANCE = 1.3


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts."""
    workers = 2 if plan.quick else WORKERS
    result = Result("resize", f"{workers} workers, one added, one removed.")
    with Stage(plan, result, workers=workers, worker_heartbeat_ms=100) as stage:
        clients = plan.clients + workers * EACH
        stage.pause()
        _change(stage, "added", workers, clients / (workers + 1), lambda: stage.fleet.start_worker(workers))
        _change(stage, "removed", workers + 1, clients / (workers + 1), lambda: stage.fleet.stop_worker(0, seconds=60))
        stage.finish()
        stage.promise_all()
    yield result


def _change(stage, text, before, share, change) -> None:  # type: ignore[no-untyped-def]
    """One worker more or less; how many clients moved, and how fast."""
    watch, result = stage.watch, stage.result
    stage.phase(f"a worker is {text}")
    watch.settle(0.2)
    start, moved = time.monotonic(), watch.counters()["taken_over"]
    change()
    after = before + 1 if text == "added" else before - 1
    stage.fleet.wait_ready(after, seconds=60)
    _await_still(watch)
    moved = watch.counters()["taken_over"] - moved
    steps = [(when, total) for when, _, total in watch.changed if when > start]
    took = steps[-1][0] - steps[0][0] + watch.period_s if steps else 0.0
    result.at_most(f"clients moved when a worker was {text}", moved, round(_TOLERANCE * share))
    result.state(f"of K/N, {text}", f"{moved / share:.2f}")
    result.state(f"hand-over rate when a worker was {text}, sockets/s", round(moved / took) if took else 0)
    stage.pause()


def _await_still(watch) -> None:  # type: ignore[no-untyped-def]
    """Until the counter of moves stands still for a second."""
    last, since = -1, time.monotonic()
    deadline = since + 60
    while time.monotonic() < min(since + 1.5, deadline):
        now = watch.counters()["taken_over"]
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.05)
