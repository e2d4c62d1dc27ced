"""Message stores to be tested: every engine, each made anew by the same call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.storage.messages import Bounds, MessageStore
from services.storage.messages_redis import RedisMessages
from services.storage.messages_sqlite import open_sqlite
from shared.storage_locations import RedisLocation, parse_location
from tests.services.storage.redis_servers import RedisClusterServers, RedisServer

ENGINES = ["sqlite", "memory", "redis", "cluster"]
_SERVERS = {"redis": RedisServer, "cluster": RedisClusterServers}


def location(url: str) -> RedisLocation:
    """The place that a setting names."""
    found = parse_location(url)
    assert found
    return found


class Stores:
    """Makes stores of one engine."""

    def __init__(self, engine: str, directory: Path, server: RedisServer | RedisClusterServers | None) -> None:
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
            return RedisMessages(location(self._server.url), "memory", bounds)
        durability = "memory" if self.engine == "memory" else "written"
        return open_sqlite(self._directory / f"{self._number}.db", durability, bounds)


@contextmanager
def stores_of(engine: str, directory: Path) -> Iterator[Stores]:
    """With servers of its own, if it needs some."""
    if engine not in _SERVERS:
        yield Stores(engine, directory, None)
        return
    with _SERVERS[engine](directory) as server:
        yield Stores(engine, directory, server)
