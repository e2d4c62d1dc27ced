"""Versions of what is in Redis, and whether a server is fit."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.storage.redis_keys import Keys
from services.storage.redis_schema import faults, migrate, version_of
from shared.errors import StorageError
from tests.services.storage.redis_servers import RedisServer

KEYS = Keys("push")


def append(name: str) -> Any:
    def step(client: Any, keys: Keys) -> None:
        client.rpush(keys.alone("steps"), name)

    return step


def fail(_client: Any, _keys: Keys) -> None:
    raise StorageError("cut off")


def test_steps_are_gone_once_and_in_order(redis_server: RedisServer) -> None:
    redis_server.flush()
    client = redis_server.client()
    steps = (append("a"), append("b"))
    migrate(client, KEYS, steps[:1])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate(redis_server.client(), KEYS, steps), range(8)))
    assert client.lrange("push:steps", 0, -1) == ["a", "b"]
    assert version_of(client, KEYS) == 2
    assert not client.exists("push:migrating")
    with pytest.raises(StorageError, match="newer"):
        migrate(client, KEYS, steps[:1])


def test_step_that_fails_can_be_gone_again(redis_server: RedisServer) -> None:
    redis_server.flush()
    client = redis_server.client()
    with pytest.raises(StorageError, match="cut off"):
        migrate(client, KEYS, (append("a"), fail))
    assert version_of(client, KEYS) == 1
    assert not client.exists("push:migrating")  # nobody has to wait
    migrate(client, KEYS, (append("a"), append("b")))
    assert client.lrange("push:steps", 0, -1) == ["a", "b"]


@pytest.mark.parametrize(
    ("configuration", "durability", "found"),
    [
        ({}, "fsynced", []),
        ({"appendonly": "no"}, "memory", []),
        ({"appendonly": "no"}, "written", ["appendonly"]),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "written", []),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "fsynced", ["appendfsync"]),
        ({"appendonly": "yes", "appendfsync": "always"}, "fsynced", []),
        ({"maxmemory": "0", "maxmemory-policy": "allkeys-lru"}, "written", []),
        ({"maxmemory": "100", "maxmemory-policy": "noeviction"}, "written", []),
        ({"maxmemory": "100", "maxmemory-policy": "volatile-lru"}, "written", ["maxmemory-policy"]),
    ],
)
def test_faults_of_a_configuration(configuration: dict[str, str], durability: str, found: list[str]) -> None:
    assert [each.split()[0] for each in faults(configuration, durability)] == found
