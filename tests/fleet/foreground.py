"""A fleet as `make run` and `push-services fleet` run it, for tests of these."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared.settings import load
from tests.fleet.clones import processes_of
from tests.fleet.ports import free_port_range, free_ports
from tests.fleet.processes import Started, wait_until

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = [sys.executable, "-m", "services.main", "fleet"]


class Foreground:
    """Ports, a data directory, and the launcher in a session of its own."""

    def __init__(self, **settings: Any) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        self.data_dir = self.directory / "var"
        client_port, api_port = free_ports(2)
        sender_port = free_port_range(int(settings.get("routers", 1)), but=(client_port, api_port))
        ports = {"client_port": client_port, "sender_port": sender_port, "api_port": api_port}
        chosen = {"data_dir": self.data_dir, "host_name": "here", "services": "", **ports, **settings}
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith(("PUSH_", "MAKE"))}
        self.environ |= {f"PUSH_{name.upper()}": str(value) for name, value in chosen.items()}
        self.settings = load(self.environ)
        self.launcher: Started

    def start(self, command: list[str] | None = None, cwd: Path = ROOT) -> Started:
        """Without waiting."""
        self.launcher = Started("launcher", command or LAUNCHER, self.environ, self.directory / "log", cwd)
        return self.launcher

    def wait_ready(self) -> None:
        """Until the announcement."""
        wait_until(lambda: "Ctrl-C stops" in self.launcher.log or not self.launcher.running, "announcement")
        assert self.launcher.running, self.launcher.log

    def press_ctrl_c(self) -> None:
        """What a terminal does: SIGINT to everything in the foreground."""
        os.killpg(self.launcher.pid, signal.SIGINT)

    def call(self, *command: str | Path, seconds: float = 30) -> tuple[int, str]:
        """(exit status, output) of a command in this fleet's environment."""
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return done.returncode, done.stdout

    def pushctl(self, *arguments: str) -> tuple[int, str]:
        """(exit status, output)."""
        return self.call(sys.executable, "-m", "services.pushctl.main", *arguments, seconds=60)

    def supervisorctl(self, *arguments: str) -> str:
        return self.call(
            sys.executable, "-m", "supervisor.supervisorctl", "-c", str(ROOT / "supervisord.conf"), *arguments
        )[1]

    def pids(self) -> list[int]:
        """Every process of this fleet, its launcher included."""
        return processes_of(self.data_dir)

    def close(self) -> None:
        """Kill what is left. Raises AssertionError if there was any, or a log has a traceback."""
        left = self.pids()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.launcher.popen.wait()
        logs = {path.name: path.read_text(errors="replace") for path in self.data_dir.glob("log/*")}
        tracebacks = [name for name, text in logs.items() if "Traceback" in text]
        said = self.launcher.log
        shutil.rmtree(self.directory)
        assert not left, f"left behind: {left}\n{said}"
        assert not tracebacks, "\n".join([logs[name][-4000:] for name in tracebacks])
