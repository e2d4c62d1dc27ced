"""What tests of several services share: a fleet, a Redis server, an empty storage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.storage.interfaces import Storage
from services.storage.opening import open_storage
from shared.settings import load
from tests.fleet.fleet_process import Fleet
from tests.services.storage.redis_servers import RedisServer


@pytest.fixture(scope="session")
def running_fleet() -> Iterator[Fleet]:
    """Ready, with the status service. Give tokens names of your own."""
    with Fleet(status=True) as started:
        yield started


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that tests of a session share."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """One that is empty, as a service opens it."""
    settings = {"PUSH_DATA_DIR": str(tmp_path)}
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.flush()
        settings |= {"PUSH_STORAGE": server.url, "PUSH_STORAGE_DURABILITY": "memory"}
    with open_storage(load(settings)) as opened:
        yield opened
