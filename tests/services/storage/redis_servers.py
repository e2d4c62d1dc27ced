"""Real Redis servers for tests: each on a port of its own, with a directory of its own, ended by its pid."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fleet.ports import free_ports
from tests.fleet.processes import wait_until

HOST = "127.0.0.1"
SLOTS = 16_384


def program() -> str:
    """Path of redis-server. Where there is none the test is skipped, and on a CI machine it fails."""
    found = shutil.which("redis-server")
    if found is None:
        reason = "no redis-server: install one (Debian: apt-get install redis-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    return found


class RedisServer:
    """One server; also as a context manager. `options`: further ones of its command line, without dashes."""

    def __init__(self, directory: Path, **options: str | int) -> None:
        self.port = free_ports(1)[0]
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._options = {"port": self.port, "bind": HOST, "dir": directory, "save": "", "appendfsync": "no", **options}
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """As in the setting `storage`."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Also again after `kill`, on the same port."""
        command = [self._program]
        for name, value in self._options.items():
            command += [f"--{name.replace('_', '-')}", *(str(value).split() if value != "" else [""])]
        log = (self._directory / "redis.log").open("ab")
        self._process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        wait_until(self._answers, "redis-server")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def client(self) -> Any:
        """A client for tests, which tries nothing twice."""
        return redis.Redis(HOST, self.port, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        """Forget everything."""
        self.client().flushall()

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.exceptions.BusyLoadingError:
            return False
        except redis.exceptions.RedisError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class RedisClusterServers:
    """A cluster of three nodes; `options` as of RedisServer."""

    def __init__(self, directory: Path, **options: str | int) -> None:
        self._directory, self._options = directory, {"cluster_enabled": "yes", **options}
        self._bus_ports = free_ports(3)
        self.nodes: list[RedisServer] = []
        try:
            for port in self._bus_ports:
                self.nodes.append(self._server(port))
            self._join()
        except BaseException:
            self.kill()
            raise

    def add_replica(self, number: int) -> RedisServer:
        """A further node, which has what node `number` has and takes over when that dies. The caller ends it."""
        bus_port = free_ports(1)[0]
        replica = self._server(bus_port)
        client, name = replica.client(), self.nodes[number].client().execute_command("CLUSTER MYID")
        client.execute_command("CLUSTER MEET", HOST, self.nodes[0].port, self._bus_ports[0])
        wait_until(lambda: name in str(client.execute_command("CLUSTER NODES")), "the replica knows its node")
        client.execute_command("CLUSTER REPLICATE", name)
        wait_until(lambda: client.info("replication").get("master_link_status") == "up", "the replica is in step")
        return replica

    def _server(self, bus_port: int) -> RedisServer:
        return RedisServer(self._directory / str(bus_port), cluster_port=bus_port, **self._options)

    def _join(self) -> None:
        bounds = [number * SLOTS // len(self.nodes) for number in range(len(self.nodes) + 1)]
        for number, node in enumerate(self.nodes):
            client = node.client()
            client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER MEET", HOST, self.nodes[0].port, self._bus_ports[0])
        wait_until(self._is_whole, "redis cluster")

    @property
    def url(self) -> str:
        """As in the setting `storage`."""
        return "redis-cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def flush(self) -> None:
        """Forget everything."""
        for node in self.nodes:
            node.flush()

    def kill(self) -> None:
        """SIGKILL to all."""
        for node in self.nodes:
            node.kill()

    def _is_whole(self) -> bool:
        said = [node.client().execute_command("CLUSTER INFO") for node in self.nodes]
        return all(
            each["cluster_state"] == "ok" and each["cluster_known_nodes"] == str(len(self.nodes)) for each in said
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
