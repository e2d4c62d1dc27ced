"""A real nginx with deploy/nginx.conf, in which only user, ports, paths and numbers of processes are others."""

import os
import pwd
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree, which
from typing import Self

from tests.fleet.ports import free_ports
from tests.fleet.processes import Started, children_of, wait_until

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
#: Debian's place for it is in root's PATH only.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key, by openssl."""
    certificate, key = directory / "push.pem", directory / "push.key"
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost"
    more = ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True, timeout=60)
    return certificate, key


def missing() -> str:
    """What this machine lacks to run it; empty: nothing."""
    if not which("nginx", path=_PATH):
        return "no nginx on this machine"
    module = re.search(r"load_module (\S+);", CONFIGURATION.read_text())
    return "" if module and Path(module[1]).exists() else "nginx has no stream module on this machine"


def substitute(text: str, values: dict[str, str]) -> str:
    """Replaces what must stand in the file. Raises ValueError if one does not."""
    for old, new in values.items():
        if old not in text:
            raise ValueError(f"{CONFIGURATION.name} has no {old!r}")
        text = text.replace(old, new)
    return text


class Nginx:
    """One nginx. Ends with its `with` block.

    `sockets`: the workers' nginx sockets; `other_host`: address of another host's client port; `processes`: its own.
    """

    def __init__(self, sockets: Sequence[Path], other_host: tuple[str, int], *, processes: int = 2) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ngx", dir="/tmp"))
        self.certificate, key = write_certificate(self.directory)
        self.port = free_ports(1)[0]
        self.configuration = self.directory / "nginx.conf"
        text = substitute(
            CONFIGURATION.read_text(),
            {
                "user www-data;": f"user {pwd.getpwuid(os.getuid()).pw_name};",
                "/run/nginx.pid": str(self.directory / "nginx.pid"),
                "/var/log/nginx/error.log": str(self.directory / "error.log"),
                "worker_processes auto;": f"worker_processes {processes};",
                "worker_rlimit_nofile 200000;": "worker_rlimit_nofile 20000;",
                "worker_connections 200000;": "worker_connections 19900;",
                "10.0.0.2:6789": f"{other_host[0]}:{other_host[1]}",
                "listen 443 ": f"listen 127.0.0.1:{self.port} ",
                "/etc/ssl/push.pem": str(self.certificate),
                "/etc/ssl/push.key": str(key),
            },
        )
        self.configuration.write_text(_with_sockets(text, sockets))

    def __enter__(self) -> Self:
        program = which("nginx", path=_PATH) or "nginx"
        command = [program, "-p", str(self.directory), "-c", str(self.configuration), "-g", "daemon off;"]
        self.process = Started("nginx", command, os.environ, self.directory / "output.log", self.directory)
        try:
            wait_until(lambda: not self.process.running or self._listens(), "nginx listens")
            assert self.process.running, self.process.log
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        rmtree(self.directory, ignore_errors=True)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def workers(self) -> list[int]:
        """Pids of its processes that serve clients, those of earlier configurations too."""
        return children_of(self.process.pid)

    def reload(self) -> list[int]:
        """`nginx -s reload`, by pid; pids of the new processes, which serve new clients from now on."""
        old = set(self.workers)
        self.process.send(signal.SIGHUP)
        wait_until(lambda: set(self.workers) - old and self._all_old_leave(old), "new nginx processes")
        return sorted(set(self.workers) - old)

    def _all_old_leave(self, old: set[int]) -> bool:
        """Each has taken it in: it is gone, or says that it is shutting down."""
        return all(b"shutting down" in _command_line(pid) for pid in old & set(self.workers))

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0


def _with_sockets(text: str, sockets: Sequence[Path]) -> str:
    """One line for each worker in place of those that the file has."""
    lines = re.findall(r" *server unix:\S+/nginx/\d+\.sock .*\n", text)
    assert lines, "no worker's socket"
    ours = [re.sub(r"unix:\S+", f"unix:{path}", lines[0]) for path in sockets]
    for line in lines[1:]:
        text = text.replace(line, "")
    return text.replace(lines[0], "".join(ours))


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b"shutting down"
