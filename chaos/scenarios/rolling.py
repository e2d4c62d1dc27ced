"""Every worker restarted in turn, twice; the router; then workers of another version and back: nobody is to notice."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos.results import Result
from chaos.stages import Plan, Stage
from chaos.trees import NEWER, previous_commit, with_added_field

WORKERS = 4


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """All parts, or those named: plain, router, versions."""
    known = {"plain": _plain, "router": _router, "versions": _versions}
    for part in parts or known:
        yield known[part](plan)


def _router(plan: Plan) -> Result:
    """With the sender library as shipped: a router that ends answers what it has not sent with UNAVAILABLE."""
    result = Result(
        "router restarted",
        "The router ended by SIGTERM and started again, twice; senders repeat, as they do by default.",
    )
    workers = 2 if plan.quick else WORKERS
    with Stage(plan, result, as_shipped=True, workers=workers) as stage:
        for _ in range(1 if plan.quick else 2):
            stage.phase("the router is restarted")
            stage.fleet.stop_router()
            stage.fleet.start_router()
            stage.fleet.wait_ready(workers, seconds=60)
            stage.pause()
        stage.finish()
        stage.promise_all()
    return result


def _plain(plan: Plan) -> Result:
    result = Result("rolling", f"{WORKERS} workers restarted in turn, twice.")
    workers, rounds = (2, 1) if plan.quick else (WORKERS, 2)
    with Stage(plan, result, workers=workers) as stage:
        for number in range(rounds):
            restart_all(stage, f"round {number + 1}")
        stage.finish()
        stage.promise_all()
    return result


def _versions(plan: Plan) -> Result:
    result = Result("versions", "Workers go from the previous commit to one with an added record field, and back.")
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        older = previous_commit(Path(folder, "older"))
        newer = with_added_field(older, Path(folder, "newer"))
        with Stage(plan, result, workers=2 if plan.quick else WORKERS, tree=older) as stage:
            for text, tree in (("to the newer", newer), ("back to the older", older)):
                stage.fleet.take_code_from(tree)
                restart_all(stage, text)
                stage.watch.settle(1)
                _expect_version(stage, text, tree == newer)
            stage.finish()
            stage.promise_all()
    return result


def restart_all(stage: Stage, text: str) -> None:
    """Every worker in turn: SIGTERM to its guardian, the end awaited, started anew."""
    fleet = stage.fleet
    for index in range(fleet.settings.workers):
        stage.phase(f"worker {index} is restarted, {text}")
        status = fleet.stop_worker(index, seconds=60)
        if status:
            stage.result.expect(f"exit status of worker {index}", status, "0", False)
        fleet.start_worker(index)
        fleet.wait_ready(fleet.settings.workers, seconds=60)
        stage.pause()


def _expect_version(stage: Stage, text: str, is_newer: bool) -> None:
    """That the code was the one meant."""
    versions = {str(worker["version"]) for worker in stage.watch.now["workers"].values()}
    kept = all(version.endswith(NEWER) is is_newer for version in versions)
    stage.result.expect(f"versions of the workers, {text}", ", ".join(sorted(versions)), "all the one meant", kept)
