"""Telling a worker of this host to leave. What blocks runs in a thread."""

import contextlib
import os
import signal

import gevent

from services.api.problems import Problem
from services.fleet.pid_files import guardian
from services.fleet.supervisors import Program, Supervisor, SupervisorError
from shared import places
from shared.settings import Settings

_GROUP = "gateway"


class Drains:
    """Of the workers of this host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Pids of guardians that were signalled: a second SIGTERM would end a worker at once.
        self._told: set[int] = set()

    def tell_to_leave(self, index: int) -> None:
        """By supervisord, which then does not start it again, or without one by a signal. Raises Problem."""
        problem = gevent.get_hub().threadpool.apply(self._tell, (index,))
        if problem is not None:
            raise problem

    def _tell(self, index: int) -> Problem | None:
        name = places.worker_name(self._settings, index)
        try:
            supervisor = Supervisor(self._settings)
            programs = {program.name: program for program in supervisor.programs() if program.group == _GROUP}
        except SupervisorError:
            return self._signal(index, name)
        program: Program | None = programs.get(f"{_GROUP}-{index}")
        if program is None:
            return Problem("no_such_worker", f"there is no worker {name}")
        if not program.is_up:
            return Problem("already_leaving", f"{name} is {program.state_name.lower()}")
        try:
            supervisor.stop(program)
        except SupervisorError as error:
            return Problem("unavailable", str(error))
        return None

    def _signal(self, index: int, name: str) -> Problem | None:
        pid = guardian(places.pid_path(self._settings, index))
        if pid is None:
            return Problem("no_such_worker", f"there is no worker {name}")
        if pid in self._told:
            return Problem("already_leaving", f"{name} is leaving")
        self._told.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        return None
