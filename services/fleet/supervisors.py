"""A supervisord that runs already, asked and told through its socket."""

import socket
import xmlrpc.client
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.xmlrpc import Faults, SupervisorTransport, UnixStreamHTTPConnection

from shared import places
from shared.errors import PushError
from shared.settings import Settings

#: Longest wait (seconds) for an answer of supervisord, which gives all of them at once.
ANSWER_S = 5.0

#: States of a process in supervisord's own numbers.
_STARTING, _RUNNING, _BACKOFF, _STOPPING = 10, 20, 30, 40
_FAILED = frozenset({_BACKOFF, 100, 200, 1000})  # also EXITED, FATAL, UNKNOWN

_NOTHING_TO_DO = frozenset({Faults.NOT_RUNNING, Faults.ALREADY_STARTED})


class Program(NamedTuple):
    """A process of the fleet, as supervisord sees it. `pid` 0: none runs."""

    name: str
    group: str
    state: int
    state_name: str
    pid: int
    exit_status: int
    log: Path

    @property
    def is_up(self) -> bool:
        return self.state == _RUNNING

    @property
    def has_failed(self) -> bool:
        """It has ended, or cannot start."""
        return self.state in _FAILED

    @property
    def is_down(self) -> bool:
        """There is no process, and none will come by itself."""
        return self.state not in (_STARTING, _RUNNING, _BACKOFF, _STOPPING)

    @property
    def is_stopping(self) -> bool:
        return self.state == _STOPPING


class SupervisorError(PushError):
    """supervisord does not answer, or does not do what it was told; str() says what."""


class Supervisor:
    """Asks and tells. Every method raises SupervisorError."""

    def __init__(self, settings: Settings) -> None:
        transport = _Transport(None, None, f"unix://{socket_path(settings)}")
        self._remote: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def pid(self) -> int:
        """Its own."""
        return int(_ask(self._remote.getPID))

    def programs(self) -> list[Program]:
        """All processes of its configuration."""
        return [_program(said) for said in _ask(self._remote.getAllProcessInfo)]

    def start(self, program: Program) -> None:
        """Has it start a process that is down, without waiting; nothing if it runs."""
        _ask(self._remote.startProcess, f"{program.group}:{program.name}", False)

    def stop(self, program: Program) -> None:
        """Has it send its stop signal, without waiting, and not start it again; nothing if it does not run."""
        _ask(self._remote.stopProcess, f"{program.group}:{program.name}", False)

    def shut_down(self) -> None:
        """Has it end all processes, and itself."""
        _ask(self._remote.shutdown)


def socket_path(settings: Settings) -> Path:
    """supervisord's own socket, for supervisorctl too."""
    return places.run_dir(settings) / "supervisor.sock"


def _program(said: dict[str, Any]) -> Program:
    state = int(said["state"])
    log = Path(said["stdout_logfile"])
    return Program(said["name"], said["group"], state, said["statename"], said["pid"], said["exitstatus"], log)


def _ask(question: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return question(*arguments)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode in _NOTHING_TO_DO:
            return None
        raise SupervisorError(f"supervisord: {fault.faultString.lower()}") from None
    except (OSError, HTTPException, xmlrpc.client.Error) as error:
        raise SupervisorError(f"supervisord: no answer ({error})") from None


class _Connection(UnixStreamHTTPConnection):  # type: ignore[misc]  # supervisor has no types
    """With a time limit: a supervisord that was stopped would hold its caller for ever."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.socketfile)


class _Transport(SupervisorTransport):  # type: ignore[misc]
    """One connection for each question: a supervisord that was restarted meanwhile costs no error."""

    def request(self, host: str, handler: str, request_body: bytes, verbose: int = 0) -> Any:
        self.connection = connection = _Connection("localhost")
        connection.socketfile = self.serverurl.removeprefix("unix://")
        self.headers = {"User-Agent": self.user_agent, "Content-Type": "text/xml", "Accept": "text/xml"}
        try:
            return super().request(host, handler, request_body, verbose)
        finally:
            self.close()
