"""Message stores to be tested: every engine, each made anew by the same call."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.storage.messages import Bounds, MessageStore
from services.storage.messages_redis import open_redis
from services.storage.messages_sqlite import open_sqlite
from tests.fleet.ports import free_ports
from tests.fleet.processes import wait_until

ENGINES = ["sqlite", "memory", "redis", "cluster"]


class RedisServer:
    """A server of its own on a Unix socket, with its files in `directory`."""

    def __init__(self, directory: Path, *options: str | int) -> None:
        self.socket = directory / "redis.sock"
        self.setting = f"unix://{self.socket}"
        self._directory, self._options = directory, options or ("--port", 0)
        self.start()

    def start(self) -> None:
        """Also again, after `kill`."""
        program = shutil.which("redis-server")
        assert program, "no redis-server: install one (Debian: apt-get install redis-server)"
        command = [program, "--unixsocket", self.socket, "--dir", self._directory, "--save", "", *self._options]
        self._process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        wait_until(self._answers, "redis-server")

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.exceptions.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        self.client().flushall()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class RedisCluster:
    """Two servers that share the shards."""

    def __init__(self, directory: Path) -> None:
        ports, bus_ports = free_ports(2), free_ports(2)
        self.setting = "redis-cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        self._servers = []
        for port, bus_port in zip(ports, bus_ports, strict=True):
            (directory / str(port)).mkdir()
            options = ("--port", port, "--cluster-enabled", "yes", "--cluster-port", bus_port)
            self._servers.append(RedisServer(directory / str(port), *options))
        try:
            self._join(ports[1], bus_ports[1])
        except BaseException:
            self.kill()
            raise

    def _join(self, port: int, bus_port: int) -> None:
        first, second = (server.client() for server in self._servers)
        first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        second.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 2)
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus_port)
        wait_until(self._is_whole, "redis cluster")

    def _is_whole(self) -> bool:
        said = [str(server.client().execute_command("CLUSTER", "INFO")) for server in self._servers]
        return all("cluster_state:ok" in each and "cluster_known_nodes:2" in each for each in said)

    def flush(self) -> None:
        for server in self._servers:
            server.flush()

    def kill(self) -> None:
        for server in self._servers:
            server.kill()


class Stores:
    """Makes stores of one engine."""

    def __init__(self, engine: str, directory: Path, server: RedisServer | RedisCluster | None) -> None:
        self.engine, self._directory, self._server = engine, directory, server
        self._number = 0

    def new(self, bounds: Bounds) -> MessageStore:
        """An empty one."""
        self._number += 1
        if self._server:
            self._server.flush()
        return self.reopened(bounds)

    def reopened(self, bounds: Bounds) -> MessageStore:
        """What a restart of the service gives."""
        if self._server:
            return open_redis(self._server.setting, bounds)
        durability = "memory" if self.engine == "memory" else "written"
        return open_sqlite(self._directory / f"{self._number}.db", durability, bounds)


@contextmanager
def stores_of(engine: str, directory: Path) -> Iterator[Stores]:
    """With a server of its own, if it needs one."""
    server = {"redis": RedisServer, "cluster": RedisCluster}[engine](directory) if engine in ENGINES[2:] else None
    try:
        yield Stores(engine, directory, server)
    finally:
        if server:
            server.kill()
