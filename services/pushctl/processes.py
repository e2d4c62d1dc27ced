"""`pushctl wait-ready` and `stop`: the fleet's processes on this host."""

import contextlib
import os
import signal
import time

import click

from services.pushctl import options
from services.pushctl.faults import FAILED, UNREACHABLE, Fault
from shared import places
from shared.settings import Settings
from shared.startup.environment import read_settings

_POLL_S = 0.1


@click.command("wait-ready")
@options.timeout(30, "How long to wait.")
@options.as_json
def wait_ready(timeout: float, as_json: bool) -> None:
    """Wait until routers, workers and status service answer. Exit code 3, and what is missing, if they do not."""
    from services.status.readiness import not_ready  # noqa: PLC0415  (`stop` needs no ZeroMQ)

    settings = read_settings()
    started = time.monotonic()
    while missing := not_ready(settings):
        if time.monotonic() - started > timeout:
            if as_json:
                options.print_json({"ready": False, "missing": missing})
            raise Fault(f"not ready within {timeout:g} s: {'; '.join(missing)}", UNREACHABLE)
        time.sleep(_POLL_S)
    seconds = time.monotonic() - started
    if as_json:
        options.print_json({"ready": True, "seconds": round(seconds, 3)})
    else:
        from services.fleet.announcements import processes  # noqa: PLC0415

        click.echo(f"ready: {processes(settings)}")


@click.command()
@options.timeout(10, "How long to wait until all have ended.")
@options.as_json
def stop(timeout: float, as_json: bool) -> None:
    """Stop the fleet of this data_dir. Its clients are told DISCONNECT. Exit code 3 if none runs."""
    settings = read_settings()
    until = time.monotonic() + timeout
    running = _running(settings)
    if not running:
        raise Fault(f"no fleet runs in {settings.data_dir}", UNREACHABLE)
    _tell(settings, running, until)
    while left := _running(settings):
        if time.monotonic() > until:
            still = ", ".join([f"{name} ({pid})" for name, pid in left.items()])
            raise Fault(f"still running after {timeout:g} s: {still}", FAILED)
        time.sleep(_POLL_S / 5)
    if as_json:
        options.print_json({"stopped": list(running)})
    else:
        click.echo(f"stopped: {', '.join(running)}")


def _running(settings: Settings) -> dict[str, int]:
    """Pids by name of what runs in this data_dir: only a locked pid file counts, for supervisord a live process."""
    from shared.startup.pid_files import holder_of  # noqa: PLC0415

    run = places.run_dir(settings)
    found = {path.stem: holder_of(path) for path in sorted(run.glob("*.pid")) if path.stem != "supervisord"}
    return {name: pid for name, pid in {**found, "supervisord": _supervisord(settings)}.items() if pid}


def _tell(settings: Settings, running: dict[str, int], until: float) -> None:
    """The launcher stops everything itself; without one, the workers first, so that they can say goodbye."""
    from services.fleet.pid_files import guardians, stop_workers  # noqa: PLC0415
    from services.fleet.supervisors import Supervisor  # noqa: PLC0415

    if "fleet" in running:
        os.kill(running["fleet"], signal.SIGTERM)
        return
    stop_workers(settings)
    while guardians(settings) and time.monotonic() < until - 1.5:
        time.sleep(_POLL_S / 5)
    if "supervisord" in running:
        Supervisor(settings).shut_down()
        return
    for name, pid in running.items():
        if not name.startswith("gateway-"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _supervisord(settings: Settings) -> int | None:
    """supervisord's pid, as it says itself through its socket; None if none answers."""
    from services.fleet.supervisors import Supervisor, SupervisorError  # noqa: PLC0415  (costs 0.1 s)

    try:
        return Supervisor(settings).pid()
    except SupervisorError:
        return None
