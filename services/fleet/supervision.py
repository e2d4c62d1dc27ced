"""supervisord as a child: started with what its configuration needs, asked how its processes are, and ended."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from services.catalogue import variables
from services.fleet.supervisors import Program, Supervisor, SupervisorError, socket_path
from shared import places
from shared.errors import SettingsError
from shared.settings import Settings

CONFIGURATION = Path(__file__).resolve().parents[2] / "supervisord.conf"

_PR_SET_PDEATHSIG = 1
#: Bytes that supervisord appends to its socket's path while it makes it.
_SOCKET_SUFFIX = len(".1234567")
_SOCKET_PATH_MAX = 107


class Failure(NamedTuple):
    """A process of the fleet that does not come up, and the last line that it wrote."""

    name: str
    line: str


def environment(settings: Settings) -> dict[str, str]:
    """What supervisord.conf takes from the environment, besides all settings as they are. Raises SettingsError."""
    wanted = {
        "PUSH_DATA_DIR": str(Path(settings.data_dir).absolute()),
        "PUSH_ROUTERS": str(settings.routers),
        "PUSH_WORKERS": str(settings.workers),
        "PUSH_DRAIN_TIMEOUT_S": str(settings.drain_timeout_s),
        **variables(settings),
        # The commands in it are found beside this Python, as in its virtualenv.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    return {**os.environ, **wanted}


def make_directories(settings: Settings) -> None:
    """`run` (0700) and `log`. Raises SettingsError (`data_dir`)."""
    run = places.run_dir(settings)
    if len(str(socket_path(settings)).encode()) + _SOCKET_SUFFIX > _SOCKET_PATH_MAX:
        raise SettingsError("data_dir", f"{settings.data_dir} is too long for Unix sockets: choose a shorter directory")
    try:
        for directory, mode in ((run, 0o700), (run.parent / "log", 0o755)):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(mode)
    except OSError as error:
        raise SettingsError("data_dir", f"{error.filename}: {(error.strerror or str(error)).lower()}") from None


class Supervision:
    """A running supervisord, in a session of its own so that the terminal's Ctrl-C does not reach it."""

    def __init__(self, settings: Settings, configuration: Path = CONFIGURATION) -> None:
        self._supervisor = Supervisor(settings)
        command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(configuration)]
        libc = ctypes.CDLL(None)
        launcher = os.getpid()

        def in_child() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != launcher:
                os._exit(1)

        self.process = subprocess.Popen(
            command,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509  (no thread runs yet)
        )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def not_up(self) -> list[str]:
        """What is not running yet, one line each."""
        programs = self._programs()
        if not programs:
            return ["supervisord: no answer"]
        return [f"{program.name}: {program.state_name}" for program in programs if not program.is_up]

    def failures(self) -> list[Failure]:
        """Processes that have ended or cannot start. Empty too while supervisord itself does not answer yet."""
        return [Failure(program.name, last_line(program.log)) for program in self._programs() if program.has_failed]

    def _programs(self) -> list[Program]:
        try:
            return self._supervisor.programs()
        except SupervisorError:
            return []

    def terminate(self) -> None:
        """Have it end itself and its processes."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> list[int]:
        """SIGKILL to it and to all that is left of its session; their pids."""
        pids = list(self.left())
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return pids

    def left(self) -> Iterator[int]:
        """Pids of its session: its processes stay in it, whoever is their parent by now.

        No process gets the pid of a session that has members: once it has ended, whoever has it is a stranger, and so
        is the session.
        """
        if self.process.returncode is not None and Path(f"/proc/{self.process.pid}").exists():
            return
        for name in os.listdir("/proc"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                if os.getsid(int(name)) == self.process.pid:
                    yield int(name)


def last_line(path: Path) -> str:
    """The last line of a log; empty if there is none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
