"""`pushctl restart`: one process after the other leaves, is started anew, and is back before the next one's turn."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from services.pushctl import options
from services.pushctl.completions import worker_names
from services.pushctl.drains import POLL_S, RETURN_S, bad_end, come_back, leave, longest_leave, warn, warn_if_alone
from services.pushctl.faults import FAILED, UNREACHABLE, Fault
from services.pushctl.interruptions import Interruptions
from services.pushctl.router_restarts import GROUP as ROUTERS
from services.pushctl.router_restarts import restart_router
from services.pushctl.service_restarts import GROUP as SERVICES
from services.pushctl.service_restarts import restart_service
from services.pushctl.workers import GROUP, Host, Worker, number_of, open_host
from shared import places
from shared.errors import PushError, SettingsError
from shared.startup.pid_files import hold

#: Seconds that a worker which was told to stop at once may take.
_STOP_S = 10.0

#: Restarts one process: seconds until it had left, and from then on until it was back. Raises PushError or Fault.
Step = Callable[[], tuple[float, float]]


@click.command()
@click.argument("workers", nargs=-1, metavar="[WORKER...]", shell_complete=worker_names)
@click.option("--services", is_flag=True, help="Restart this host's services too, before the workers.")
@click.option("--routers", is_flag=True, help="Restart this host's routers too, after the workers.")
@options.timeout(RETURN_S, "How long each may take to be back.")
@options.sender_options
@options.as_json
def restart(
    workers: tuple[str, ...], services: bool, routers: bool, timeout: float, way: options.Way, as_json: bool
) -> None:
    """Restart every running worker of this host, or each WORKER (here/1, gateway-1 or 1), with the code on disk now.

    One after the other hands its clients over and ends; supervisord starts it and its guardian anew; the next one
    has its turn when it is in the ring. No client notices.

    Ctrl-C: the one whose turn it is is brought back, then it ends. A worker that does not come back ends it too.
    Exit code 1 if not all were restarted.
    """
    with open_host(way) as host, _alone(host):
        steps = _steps(host, workers, timeout, show=not as_json)
        if services:
            steps = [*_service_steps(host, timeout), *steps]
        if routers:
            steps += _router_steps(host, way, timeout)
        if not steps:
            raise Fault("no worker runs here: `pushctl start WORKER`", UNREACHABLE)
        roll = Roll(steps, quiet=as_json)
        roll.run()
    if as_json:
        options.print_json(roll.report())
    elif roll.done:
        click.echo(f"restarted: {', '.join(roll.done)}")
    if roll.fault:
        raise Fault(roll.fault + (f"; not restarted: {', '.join(roll.left)}" if roll.left else ""), FAILED)


class Roll:
    """The steps by name, in order. Afterwards: `done`, with figures; what is `left`, and the `fault` that says why."""

    def __init__(self, steps: Sequence[tuple[str, Step]], quiet: bool) -> None:
        self._steps, self._quiet = steps, quiet
        self._current = ""
        self.done: dict[str, dict[str, float]] = {}
        self.fault = ""

    @property
    def left(self) -> list[str]:
        return [name for name, _ in self._steps if name not in self.done]

    def run(self) -> None:
        """Until all is done, one does not come back, or a signal comes; then the present step is finished first."""
        with Interruptions(self._tell) as interruptions:
            for name, step in self._steps:
                if interruptions.came:
                    self.fault = "interrupted"
                    return
                self._current = name
                try:
                    left_s, back_s = step()
                except (PushError, Fault) as fault:
                    self.fault = str(fault) if isinstance(fault, PushError) else fault.message
                    return
                self.done[name] = {"left_s": round(left_s, 3), "back_s": round(back_s, 3)}
                self._say(f"{name}: left in {left_s:.1f} s, back in {back_s:.1f} s")

    def report(self) -> dict[str, Any]:
        """For --json."""
        restarted = [{"name": name, **figures} for name, figures in self.done.items()]
        return {"restarted": restarted, "not_restarted": self.left, "fault": self.fault or None}

    def _tell(self) -> None:
        warn(f"\n{self._current} is brought back first")

    def _say(self, text: str) -> None:
        if not self._quiet:
            with contextlib.suppress(OSError):
                click.echo(text)


def _steps(host: Host, names: Sequence[str], seconds: float, show: bool) -> list[tuple[str, Step]]:
    """Workers to be restarted. Those that are down stay so, unless they are named."""
    running = [program for program in host.programs(GROUP) if not program.is_down]
    chosen = [host.worker(name) for name in names] or [Worker(host, number_of(program)) for program in running]
    for worker in chosen:
        if worker.program() is None:
            raise Fault(f"supervisord knows no {worker.name}", FAILED)
    return [
        (worker.name, partial(_restart_worker, host, worker, seconds, show))
        for worker in {worker.index: worker for worker in chosen}.values()
    ]


def _service_steps(host: Host, seconds: float) -> list[tuple[str, Step]]:
    """Those that run."""
    running = [program for program in host.programs(SERVICES) if not program.is_down]
    return [(program.name, partial(restart_service, host, program, seconds)) for program in running]


def _router_steps(host: Host, way: options.Way, seconds: float) -> list[tuple[str, Step]]:
    _, curve = options.routers_and_keys(host.settings, way)
    programs = host.programs(ROUTERS)
    return [(program.name, partial(restart_router, host, program, curve, seconds)) for program in programs]


def _restart_worker(host: Host, worker: Worker, seconds: float, show: bool) -> tuple[float, float]:
    warn_if_alone(host, worker)
    before = worker.runs()
    try:
        left_s = leave(worker, longest_leave(host.settings), show)
    except (PushError, Fault):
        # It must not end later, when nobody is here to start it again.
        _end_now(worker)
        come_back(host, worker, seconds, before)
        raise
    if fault := bad_end(worker):
        warn(fault)
    return left_s, come_back(host, worker, seconds, before)


def _end_now(worker: Worker) -> None:
    worker.tell_to_stop()
    until = time.monotonic() + _STOP_S
    while not worker.has_ended() and time.monotonic() < until:
        time.sleep(POLL_S)


@contextlib.contextmanager
def _alone(host: Host) -> Any:
    """Two at a time would take down two workers at a time."""
    host.need_supervisor("restart")
    path = places.run_dir(host.settings) / "restart.lock"
    try:
        descriptor = hold(path, "another `pushctl restart` is at work")
    except SettingsError as error:
        raise Fault(error.message, FAILED) from None
    try:
        yield
    finally:
        os.close(descriptor)
