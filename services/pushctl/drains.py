"""`pushctl drain` and `start`: one worker is taken out, and put in again."""

import contextlib
import time
from typing import Any

import click

from services.pushctl import options
from services.pushctl.bars import Bar
from services.pushctl.completions import worker_names
from services.pushctl.faults import FAILED, Fault
from services.pushctl.workers import Host, Worker, open_host
from shared.settings import Settings

#: Seconds beyond `drain_timeout_s` that a worker may take to end: DISCONNECTs, and its processes' ends.
GRACE_S = 15.0
#: Seconds that a worker which is started may take until it is in the ring.
RETURN_S = 30.0
POLL_S = 0.05

_worker = click.argument("worker", metavar="WORKER", shell_complete=worker_names)


@click.command()
@_worker
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Default: drain_timeout_s + 15.")
@options.sender_options
@options.as_json
def drain(worker: str, timeout: float | None, way: options.Way, as_json: bool) -> None:
    """Have WORKER (here/1, gateway-1 or 1) hand its clients to the others and end; wait for that.

    It stays away until `pushctl start`. Ctrl-C ends the waiting, not the drain.
    Exit code 1 if it has not ended in time.
    """
    with open_host(way) as host:
        leaving = host.worker(worker)
        if leaving.has_ended():
            _print(as_json, f"{leaving.name} does not run", worker=leaving.name, seconds=0.0, clients=0)
            return
        warn_if_alone(host, leaving)
        clients = leaving.clients()
        try:
            seconds = leave(leaving, timeout or longest_leave(host.settings), show=not as_json)
        except KeyboardInterrupt:
            raise Fault(f"{leaving.name} goes on leaving", FAILED) from None
        if fault := bad_end(leaving):
            raise Fault(fault, FAILED)
        text = f"{leaving.name} has left after {seconds:.1f} s"
        _print(as_json, text, worker=leaving.name, seconds=round(seconds, 3), clients=clients)


@click.command()
@_worker
@options.timeout(RETURN_S, "How long to wait until it is in the ring.")
@options.sender_options
@options.as_json
def start(worker: str, timeout: float, way: options.Way, as_json: bool) -> None:
    """Have supervisord start WORKER (here/1, gateway-1 or 1) again, and wait until it is in the ring."""
    with open_host(way) as host:
        host.need_supervisor("start")
        coming = host.worker(worker)
        if coming.is_leaving():
            raise Fault(
                f"{coming.name} is leaving: wait until `pushctl drain {coming.index}` says that it has left", FAILED
            )
        seconds = come_back(host, coming, timeout, frozenset())
        _print(as_json, f"{coming.name} is in the ring", worker=coming.name, seconds=round(seconds, 3))


def leave(worker: Worker, seconds: float, show: bool) -> float:
    """Tell a worker to leave, and wait until it has ended; the seconds that took. `show`: a bar on a terminal.

    Raises Fault if it still runs after `seconds`; then it goes on leaving.
    """
    began = time.monotonic()
    with Bar(worker, show) as bar:
        worker.tell_to_leave()
        while not worker.has_ended():
            if time.monotonic() - began > seconds:
                left = worker.clients()
                some = f" with {left} clients" if left else ""
                raise Fault(f"{worker.name} has not left after {seconds:g} s{some}{_last_words(worker)}", FAILED)
            bar.look()
            time.sleep(POLL_S)
    return time.monotonic() - began


def come_back(host: Host, worker: Worker, seconds: float, not_run: frozenset[tuple[int, str]]) -> float:
    """Have a worker started, and wait until it is in the ring; the seconds that took.

    `not_run`: what the routers knew before it ended. Raises Fault that has the last line of its log.
    """
    began = time.monotonic()
    program = worker.program()
    if program is None:
        raise Fault(f"supervisord knows no {worker.name}", FAILED)
    host.need_supervisor("start").start(program)
    while True:
        program = worker.program()
        if program and program.is_up and worker.is_in_ring(not_run):
            return time.monotonic() - began
        if program and program.is_down:
            raise Fault(f"{worker.name} does not start ({program.state_name}){_last_words(worker)}", FAILED)
        if time.monotonic() - began > seconds:
            raise Fault(f"{worker.name} is not in the ring after {seconds:g} s{_last_words(worker)}", FAILED)
        time.sleep(POLL_S)


def longest_leave(settings: Settings) -> float:
    """Seconds after which a worker that leaves must have ended."""
    return settings.drain_timeout_s + GRACE_S


def bad_end(worker: Worker) -> str:
    """How a worker that has ended did so, if not as it should."""
    program = worker.program()
    if program is None or program.exit_status == 0:
        return ""
    return f"{worker.name} ended with status {program.exit_status}{_last_words(worker)}"


def warn_if_alone(host: Host, worker: Worker) -> None:
    """Nobody may be there to take its clients."""
    live = {
        name for figures in host.rings.figures() for name, seen in figures["workers"].items() if seen["state"] == "live"
    }
    others = [name for name in live if name.rpartition("/")[0] == host.settings.host_name and name != worker.name]
    if live and not others:
        warn(f"{worker.name} is the only worker of this host: its clients are told to connect again")


def warn(text: str) -> None:
    """A line on stderr. A terminal that is gone must not end what is half done."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _last_words(worker: Worker) -> str:
    words = worker.last_words()
    return f"; its log ends: {words}" if words else ""


def _print(as_json: bool, text: str, **said: Any) -> None:
    if as_json:
        options.print_json(said)
    else:
        click.echo(text)
