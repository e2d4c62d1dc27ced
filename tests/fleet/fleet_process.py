"""A real fleet for a test: routers, workers with their guardians and, if wanted, services and the status service.

Started without supervisord, which is quicker and leaves each process to the test.
"""

import http.client
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services import catalogue
from services.status.keys import status_keys
from services.status.readiness import live_workers, missing_services
from shared import places
from shared.settings import Settings, load
from tests.clients.senders import RawSender
from tests.fleet.ports import free_port_range, free_ports
from tests.fleet.processes import DEADLINE_S, Started, children_of, wait_until

ROOT = Path(__file__).resolve().parents[2]

#: Exit status of a guardian whose worker died again and again, and was left down on purpose.
LEFT_DOWN = 3

_ENTRIES = {
    "router": ("router.main", []),
    "gateway": ("gateway.launch", []),
    "status": ("services.main", ["status"]),
    "service": ("services.main", ["run"]),
    "events": ("services.main", ["events"]),
    "bridge": ("services.main", ["kafka-bridge"]),
}


class Fleet:
    """Processes, ports and data directory of one fleet.

    `settings` override defaults by keyword: `Fleet(workers=8, routers=2, hello_timeout_s=1)`. With `router_list=...`
    the workers talk to a proxy of the test, or to routers elsewhere. `services="subscribe,login"`: these run too.
    Use as a context manager, or call start() and stop(). `processes` has them by name: `router-0`, `gateway-0`, ...,
    `status`, `subscribe`, ...
    """

    #: A command that runs another, for a fleet in another network namespace.
    within: tuple[str, ...] = ()

    def __init__(self, *, status: bool = False, services: str = "", **settings: Any) -> None:
        self.has_status = status
        self.directory = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        client_port, api_port = free_ports(2)
        sender_port = free_port_range(int(settings.get("routers", 1)), but=(client_port, api_port))
        ports = {"client_port": client_port, "sender_port": sender_port, "api_port": api_port}
        chosen = {
            "data_dir": str(self.directory / "var"),
            "host_name": "here",
            "services": services,
            **ports,
            **settings,
        }
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("PUSH_")}
        self.environ |= _variables(chosen)
        self.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.settings: Settings = load(self.environ)
        self.processes: dict[str, Started] = {}
        self._retired: list[Started] = []

    # where

    @property
    def endpoint(self) -> str:
        """ZeroMQ endpoint for senders, of router 0."""
        return places.sender_endpoint(self.settings)

    @property
    def endpoints(self) -> list[str]:
        """Those of all routers."""
        return [places.sender_endpoint(self.settings, router) for router in range(self.settings.routers)]

    @property
    def host(self) -> str:
        return self.settings.host

    @property
    def client_port(self) -> int:
        return self.settings.client_port

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) for clients."""
        return self.host, self.client_port

    @property
    def api_port(self) -> int:
        return self.settings.api_port

    @property
    def data_dir(self) -> Path:
        return Path(self.settings.data_dir)

    # life

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            print(self.logs())
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Everything, without waiting."""
        for router in range(self.settings.routers):
            self.start_router(router)
        for name, count in catalogue.chosen(self.settings).items():
            for index in range(count):
                self.start_service(name, index)
        if self.settings.keeps_events:
            self.start_events()
        for index in range(self.settings.workers):
            self.start_worker(index)
        if self.has_status:
            self._start("status", "status")

    def start_router(self, router: int = 0, **settings: Any) -> Started:
        """Router `router`; `settings` are this router's alone."""
        return self._start(f"router-{router}", "router", "--index", str(router), **_variables(settings))

    def start_worker(self, index: int, **settings: Any) -> Started:
        """Guardian and worker `index`; `settings` are this worker's alone."""
        return self._start(f"gateway-{index}", "gateway", "--index", str(index), **_variables(settings))

    def start_service(self, name: str, index: int = 0, **settings: Any) -> Started:
        """Process `index` of a service; `settings` are its alone."""
        instance = catalogue.instance(name, index)
        return self._start(instance, "service", name, "--index", str(index), **_variables(settings))

    def start_events(self, **settings: Any) -> Started:
        """The events service; `settings` are its alone."""
        return self._start(catalogue.EVENTS, "events", **_variables(settings))

    def start_kafka_bridge(self, index: int = 0, **settings: Any) -> Started:
        """A Kafka bridge, which `start` does not start."""
        name = catalogue.instance(catalogue.KAFKA_BRIDGE, index)
        return self._start(name, "bridge", "--index", str(index), **_variables(settings))

    def _start(self, name: str, kind: str, *arguments: str, **environ: str) -> Started:
        if name in self.processes:
            self._retired.append(self.processes[name])
        module, first = _ENTRIES[kind]
        code = f"import sys; from {module} import main; sys.exit(main())"
        command = [*self.within, sys.executable, "-c", code, *first, *arguments]
        log = self.directory / f"{name}.log"
        self.processes[name] = started = Started(name, command, self.environ | environ, log, self.directory)
        return started

    def guardian_pid(self, index: int) -> int:
        return self.processes[f"gateway-{index}"].pid

    def worker_pid(self, index: int) -> int:
        """Pid of the worker process itself, the guardian's child; 0 if there is none now."""
        children = children_of(self.guardian_pid(index))
        return children[0] if children else 0

    def router_pid(self, router: int = 0) -> int:
        return self.processes[f"router-{router}"].pid

    def stop_worker(self, index: int, number: signal.Signals = signal.SIGTERM, seconds: float = DEADLINE_S) -> int:
        """Drain worker `index` (SIGINT: stop it at once); the guardian's exit status."""
        process = self.processes[f"gateway-{index}"]
        process.send(number)
        return process.wait(seconds)

    def kill_worker(self, index: int) -> int:
        """SIGKILL to the worker alone (its guardian starts it again); the pid that died."""
        wait_until(lambda: self.worker_pid(index), f"worker {index} lives")  # 0 would be all of this process group
        pid = self.worker_pid(index)
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.worker_pid(index) != pid, f"worker {index} dead")
        return pid

    def kill_guardian(self, index: int) -> int:
        """SIGKILL to the guardian alone (its worker goes on for a while); the pid that died."""
        return self._kill(f"gateway-{index}")

    def stop_router(self, router: int = 0, number: signal.Signals = signal.SIGTERM) -> int:
        """End a router; its exit status."""
        process = self.processes[f"router-{router}"]
        process.send(number)
        return process.wait()

    def kill_router(self, router: int = 0) -> int:
        """SIGKILL to a router; the pid that died."""
        return self._kill(f"router-{router}")

    def stop_service(self, name: str, index: int = 0, number: signal.Signals = signal.SIGTERM) -> int:
        """End a process of a service; its exit status."""
        process = self.processes[catalogue.instance(name, index)]
        process.send(number)
        return process.wait()

    def kill_service(self, name: str, index: int = 0) -> int:
        """SIGKILL to a process of a service; the pid that died."""
        return self._kill(catalogue.instance(name, index))

    def _kill(self, name: str) -> int:
        process = self.processes[name]
        process.send(signal.SIGKILL)
        process.wait()
        return process.pid

    # state

    def wait_ready(self, workers: int | None = None, seconds: float = DEADLINE_S) -> None:
        """Until every running router has `workers` (default: as many as run here) live and all else answers."""
        deadline = time.monotonic() + seconds
        while True:
            missing = self.missing(workers)
            self._raise_if_one_failed()
            if not missing:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {seconds} s: {missing}\n{self.logs()}")
            time.sleep(0.02)

    def _raise_if_one_failed(self) -> None:
        for process in self.processes.values():
            left_down = process.name.startswith("gateway-") and process.popen.poll() == LEFT_DOWN
            if not left_down and process.popen.poll() not in (None, 0, -signal.SIGKILL):
                raise RuntimeError(f"{process.name} exited with status {process.popen.returncode}:\n{process.log}")

    def missing(self, workers: int | None = None) -> str:
        """What does not answer yet; empty when the fleet is ready."""
        running = [name for name, process in self.processes.items() if process.running]
        wanted = sum(name.startswith("gateway-") for name in running) if workers is None else workers
        for router in range(self.settings.routers):
            if f"router-{router}" in running and (fault := self._missing_in(router, wanted)):
                return fault
        if wanted and not http_answers(self.host, self.client_port, "/health"):
            return "no worker answers on the client port"
        if self.has_status and not http_answers(self.host, self.api_port, "/health/ready"):
            return "the status service does not answer"
        return ""

    def _missing_in(self, router: int, wanted: int) -> str:
        try:
            figures = self.stat(router=router)
        except TimeoutError:
            return f"router-{router} does not answer"
        live = len(live_workers(figures))
        if live != wanted:
            return f"{live} of {wanted} workers are live in router-{router}"
        running = {name for name, process in self.processes.items() if process.running}
        missing = [name for name in missing_services(self.settings, figures) if name in running]
        return f"{missing[0]} is not known to router-{router}" if missing else ""

    def live_workers(self, router: int = 0) -> list[str]:
        """Names of the workers in the ring, as a router sees it."""
        return live_workers(self.stat(router=router))

    def stat(self, seconds: float = 1.0, router: int = 0) -> dict[str, Any]:
        """STAT1 of a router, with the keys of `status_key_file` if the router wants some. Raises TimeoutError."""
        keys = status_keys(self.settings)
        names = ("curve_serverkey", "curve_publickey", "curve_secretkey")
        options: dict[str, Any] = dict(zip(names, keys, strict=True)) if keys else {}
        with RawSender(places.sender_endpoint(self.settings, router), deadline=seconds, **options) as sender:
            return sender.stat()

    def log(self, name: str) -> str:
        """Output of `router-0` (also `router`), `gateway-0`, ..., `status`, `subscribe`, ..., over all its starts."""
        return self.processes["router-0" if name == "router" else name].log

    def logs(self, lines: int = 60) -> str:
        """The end of every log, for a failed test's report."""
        parts = []
        for path in sorted(self.directory.glob("*.log")):
            parts.append(f"--- {path.name}")
            parts += path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(parts)

    # end

    def stop(self) -> None:
        """End everything at once. Raises AssertionError if a process stays or any log has a traceback."""
        guardians = [process for name, process in self.processes.items() if name.startswith("gateway-")]
        others = [process for process in self.processes.values() if process not in guardians]
        late = _end(guardians, signal.SIGINT) + _end(others, signal.SIGTERM)
        faults = [f"{name} did not stop" for name in late] + self.kill()
        tracebacks = [
            path.name for path in self.directory.glob("*.log") if "Traceback" in path.read_text(errors="replace")
        ]
        faults += [f"{name} has a traceback" for name in sorted(tracebacks)]
        report = self.logs() if faults else ""
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not faults, f"{', '.join(faults)}\n{report}"

    def kill(self) -> list[str]:
        """SIGKILL to whatever is left of this fleet; what that was. The directory stays."""
        faults = []
        for process in [*self._retired, *self.processes.values()]:
            if left := process.kill():
                faults.append(f"{process.name} left {left} behind")
        return faults


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    return {f"PUSH_{name.upper()}": str(value) for name, value in settings.items()}


def _end(processes: list[Started], number: signal.Signals, seconds: float = 8.0) -> list[str]:
    """Signal all, wait for all; names of those that stay."""
    for process in processes:
        process.send(number)
    late = []
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.01, deadline - time.monotonic()))
        except TimeoutError:
            late.append(process.name)
    return late


def http_answers(host: str, port: int, path: str, seconds: float = 1.0) -> bool:
    """Whether a GET is answered 200."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
