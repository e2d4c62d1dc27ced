"""100,000 clients on this machine, 1,000 pushes/s, every worker restarted once; what the fleet takes in memory.

It runs in a network namespace of its own, where the kernel keeps little output for each connection: for 20,000 slow
clients it would else need more memory than it has for TCP, and drop what they are sent.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chaos.crowds import Pace
from chaos.insides import answer, run_inside
from chaos.networks import Host, NetworkFault, limit_send_buffers
from chaos.results import Result
from chaos.scenarios.rolling import restart_all
from chaos.stages import Plan, Stage

#: 20,000 descriptors a process, less some, and one worker away: seven must hold all.
WORKERS = 8
_CLIENTS, _PROCESSES, _RATE = 100_000, 6, 1_000
#: With 20,000 busy and 20,000 slow clients, what each does must be less, or two cores did nothing else.
_PACE = Pace(slow_bytes=128, busy_ms=60_000)
_SEND_BUFFER_BYTES = 16 << 10


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts. Raises NetworkFault where a namespace cannot be had, unless `plan.quick`."""
    if not plan.quick and plan.clients == Plan().clients:
        plan = replace(plan, clients=_CLIENTS, processes=_PROCESSES, rate=_RATE, pace=_PACE)
    try:
        with Host() as host:
            yield run_inside(host.name, "chaos.scenarios.hundred_thousand", plan)
    except NetworkFault:
        if not plan.quick:
            raise
        yield _run_here(plan)


def _run_here(plan: Plan) -> Result:
    workers = 3 if plan.quick else WORKERS
    result = Result("hundred-thousand", f"{plan.clients:,} clients, {workers} workers restarted in turn.")
    with Stage(plan, result, workers=workers, drain_timeout_s=120) as stage:
        stage.pause()
        restart_all(stage, "once")
        stage.finish()
        stage.promise_all()
    return result


def _run_inside(plan: Plan) -> Result:
    limit_send_buffers(_SEND_BUFFER_BYTES)
    return _run_here(plan)


if __name__ == "__main__":
    answer(sys.argv[1], lambda plan, _: _run_inside(plan))
