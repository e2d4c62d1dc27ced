"""A worker stopped (SIGSTOP) for 3 x worker_timeout_ms: dead means killed before its clients are served elsewhere."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from chaos.results import Result
from chaos.scenarios.kills import state_disconnects
from chaos.stages import Plan, Stage
from shared.outcomes import Outcome
from tests.fleet.processes import wait_until

WORKERS = 4


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts."""
    workers, timeout_ms, pauses = (2, 1000, 1) if plan.quick else (WORKERS, 5000, 2)
    about = f"One of {workers} workers stopped for 3 x {timeout_ms / 1000:g} s, {pauses} times."
    result = Result("pause", about)
    settings: dict[str, Any] = {"worker_timeout_ms": timeout_ms, "worker_heartbeat_ms": timeout_ms // 5}
    # The pushes wait for as long as the worker is away: those that it had not got are delivered.
    with Stage(plan, result, workers=workers, timeout_ms=4 * timeout_ms, **settings) as stage:
        gaps: list[tuple[int, int]] = []
        for index in range(pauses):
            stage.phase(f"worker {index} is stopped")
            gaps.append(_pause(stage, index, timeout_ms / 1000))
            stage.pause()
        stage.fleet.wait_ready(workers, seconds=60)
        stage.finish(
            lambda push: (
                push.outcome == Outcome.UNKNOWN
                and any(push.sent_ns <= back and push.answered_ns >= stopped for stopped, back in gaps)
            )
        )
        stage.promise_all(disconnects=None)
        state_disconnects(stage, pauses)
    yield result


def _pause(stage: Stage, index: int, timeout_s: float) -> tuple[int, int]:
    """Stops a worker, and lets it go on if it is still there; from when to when it was not served, ns."""
    pid = stage.fleet.worker_pid(index)
    begun = time.monotonic()
    gone: list[float] = []
    with _process(pid) as process:
        watcher = threading.Thread(target=lambda: gone.append(_end_of(process, begun + 4 * timeout_s) - begun))
        stage.fleet.kill_pid(pid, signal.SIGSTOP)
        watcher.start()
        served = stage.probes.ask(stage.names[index], begun, 3 * timeout_s)
        time.sleep(max(0.0, begun + 3 * timeout_s - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGCONT)
        watcher.join()
    result, name = stage.result, f"worker {index}"
    result.expect(f"{name}: gone after, s", round(gone[0], 3), f"before {3 * timeout_s:g}", gone[0] < 3 * timeout_s)
    result.expect(
        f"{name}: served again after, s", round(served.seconds, 3), "after it was gone", served.seconds >= gone[0]
    )
    result.at_most(f"{name}: probes without answer", served.silent, 0)
    wait_until(lambda: stage.fleet.worker_pid(index) not in (0, pid), f"{name} started again")
    return int(begun * 1e9), int((begun + served.seconds) * 1e9)


@contextlib.contextmanager
def _process(pid: int):  # type: ignore[no-untyped-def]
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end_of(process: int, deadline: float) -> float:
    """When a process (its pidfd) ended, or the deadline."""
    import select  # noqa: PLC0415

    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    return time.monotonic()
