"""Message stores to be tested: both engines, each made anew by the same call."""

import shutil
import subprocess
import time
from pathlib import Path

import redis

from services.storage.messages_redis import RedisMessages
from services.storage.messages_sqlite import open_sqlite

ENGINES = ["sqlite", "memory", "redis"]


class RedisServer:
    """A server of its own on a Unix socket, with its files in `directory`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory, self.socket = directory, directory / "redis.sock"
        self._options = options
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "no redis-server: install one (Debian: apt-get install redis-server)"
        command = [program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory)]
        command += ["--save", "", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.exceptions.RedisError:
            return False

    def client(self) -> redis.Redis:
        retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, retry=retry)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Stores:
    """Makes stores of one engine; `reopened` is what a restart of the service gives."""

    def __init__(self, engine: str, directory: Path, server: RedisServer | None) -> None:
        self.engine, self._directory, self._server = engine, directory, server
        self._number = 0

    def new(self, bounds):
        """An empty one."""
        self._number += 1
        if self._server:
            self._server.client().flushall()
        return self.reopened(bounds)

    def reopened(self, bounds):
        if self._server:
            return RedisMessages(self._server.client(), bounds)
        durability = "memory" if self.engine == "memory" else "written"
        return open_sqlite(self._directory / f"{self._number}.db", durability, bounds)
