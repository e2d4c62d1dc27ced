"""This host's workers, one by one: what supervisord, the pid file and the routers say, and how each is told to go."""

import contextlib
import os
import signal
from collections.abc import Iterator

import click

from services.fleet.pid_files import guardian, guardians
from services.fleet.supervision import last_line
from services.fleet.supervisors import Program, Supervisor, SupervisorError
from services.pushctl import options
from services.pushctl.faults import UNREACHABLE, Fault
from services.pushctl.rings import Rings, Sighting
from shared import places
from shared.settings import Settings
from shared.startup.environment import read_settings
from shared.startup.pid_files import holder_of

#: The group of the workers in supervisord.conf.
GROUP = "gateway"


class Host:
    """The fleet of this data_dir. `supervisor` is None where no supervisord answers."""

    def __init__(self, settings: Settings, rings: Rings) -> None:
        self.settings, self.rings = settings, rings
        self.supervisor: Supervisor | None = Supervisor(settings)
        try:
            self.supervisor.pid()
        except SupervisorError:
            self.supervisor = None

    def programs(self, group: str) -> list[Program]:
        """supervisord's processes of a group, in the order of their numbers; none without supervisord."""
        found = self.supervisor.programs() if self.supervisor else []
        return sorted([program for program in found if program.group == group], key=number_of)

    def worker(self, name: str) -> "Worker":
        """By `host/1`, `gateway-1` or `1`. Raises Fault if there is none."""
        index = worker_index(self.settings, name)
        worker = Worker(self, index)
        if worker.program() is None and not worker.is_held():
            running = [*guardians(self.settings)]
            if not running and self.supervisor is None:
                raise Fault(f"no fleet runs in {self.settings.data_dir}", UNREACHABLE)
            raise click.UsageError(f"no worker {worker.name} here: {', '.join(sorted(running)) or 'none'} run")
        return worker

    def need_supervisor(self, command: str) -> Supervisor:
        """Raises Fault where nobody would start a worker again."""
        if self.supervisor is None:
            where = self.settings.data_dir
            raise Fault(
                f"no supervisord answers in {where}: `pushctl {command}` needs it to start processes", UNREACHABLE
            )
        return self.supervisor


class Worker:
    """Worker `index` of this host."""

    def __init__(self, host: Host, index: int) -> None:
        self._host, self.index = host, index
        self.name = places.worker_name(host.settings, index)
        self._pid_path = places.pid_path(host.settings, index)

    def program(self) -> Program | None:
        """Its guardian in supervisord; None if that does not know it."""
        return next((found for found in self._host.programs(GROUP) if number_of(found) == self.index), None)

    def is_held(self) -> bool:
        """Whether guardian or worker lives."""
        return holder_of(self._pid_path) is not None

    def has_ended(self) -> bool:
        """Nothing of it runs, and supervisord knows it."""
        program = self.program()
        return not self.is_held() and (program is None or program.is_down)

    def sightings(self) -> list[Sighting | None]:
        """How each router that answers sees it."""
        return self._host.rings.sightings(self.name)

    def clients(self) -> int | None:
        """As its last heartbeat said; None if no router knows it."""
        return max([sighting.clients for sighting in self.sightings() if sighting], default=None)

    def is_leaving(self) -> bool:
        """Told once, it must not be told again: that would mean to stop at once."""
        program = self.program()
        orphan = self.is_held() and guardian(self._pid_path) is None
        return bool(program and program.is_stopping) or orphan or "leaving" in self._states()

    def _states(self) -> set[str]:
        return {sighting.state for sighting in self.sightings() if sighting}

    def tell_to_leave(self) -> None:
        """Has it hand its clients over and end, and not be started again. Nothing if it leaves already."""
        if self.is_leaving():
            return
        program = self.program()
        if program and not program.is_down and self._host.supervisor:
            self._host.supervisor.stop(program)
        else:
            self._signal(signal.SIGTERM)

    def tell_to_stop(self) -> None:
        """Has it end within 5 s, whatever becomes of its clients."""
        self._signal(signal.SIGINT)

    def _signal(self, number: signal.Signals) -> None:
        if pid := guardian(self._pid_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def is_in_ring(self, not_run: frozenset[tuple[int, str]]) -> bool:
        """Whether every router that answers, and one at least, gives it slots, and it is none of the runs `not_run`."""
        sightings = self.sightings()
        return bool(sightings) and all(
            seen and seen.state == "live" and seen.slots and seen.run not in not_run for seen in sightings
        )

    def runs(self) -> frozenset[tuple[int, str]]:
        """The present run, as the routers know it."""
        return frozenset([seen.run for seen in self.sightings() if seen])

    def last_words(self) -> str:
        """The last line of its log; empty if there is none."""
        program = self.program()
        return last_line(program.log) if program else ""


@contextlib.contextmanager
def open_host(way: options.Way) -> Iterator[Host]:
    """This host, seen through its routers, or those that `--router` names."""
    settings = read_settings()
    endpoints, curve = options.routers_and_keys(settings, way)
    with Rings(endpoints, curve) as rings:
        yield Host(settings, rings)


def number_of(program: Program) -> int:
    """1 of `gateway-1`."""
    number = program.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def worker_index(settings: Settings, name: str) -> int:
    """1 of `host/1`, `gateway-1` and `1`. Raises UsageError."""
    host, slash, number = name.rpartition("/")
    if not slash:
        number = name.removeprefix(f"{GROUP}-")
    if not (number.isascii() and number.isdecimal()):
        raise click.UsageError(f"{name!r} is no worker: expected {settings.host_name}/1, gateway-1 or 1")
    if slash and host != settings.host_name:
        raise click.UsageError(f"worker {name} is not of this host, which is {settings.host_name}")
    return int(number)
