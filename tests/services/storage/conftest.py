"""Every storage, for the contract: on SQLite, on a Redis server, on a Redis Cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.storage.interfaces import Storage
from services.storage.redis_storage import RedisStorage
from services.storage.sqlite_storage import SqliteStorage
from shared.storage_locations import RedisLocation, parse_location
from tests.services.storage.redis_servers import RedisClusterServers


def location(url: str) -> RedisLocation:
    """The place that a setting names."""
    found = parse_location(url)
    assert found
    return found


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterServers]:
    """One that tests of a session share."""
    with RedisClusterServers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(params=["sqlite", "redis_server", "redis_cluster"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """One that is empty."""
    if request.param == "sqlite":
        with SqliteStorage(tmp_path / "push.db") as opened:
            yield opened
        return
    server = request.getfixturevalue(request.param)
    server.flush()
    with RedisStorage(location(server.url), durability="memory") as opened:
        yield opened
