"""Versions of what is in Redis, and whether a server is fit."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.storage.redis_connections import Connection
from services.storage.redis_devices import RedisDevices
from services.storage.redis_keys import BUCKETS, Keys
from services.storage.redis_schema import MIGRATIONS, faults, migrate, version_of
from services.storage.redis_tokens import RedisTokens
from shared.errors import StorageError
from tests.services.storage.conftest import location
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


def test_who_is_connected_before_version_2_is_known_after_it(redis_server: RedisServer) -> None:
    redis_server.flush()
    client = redis_server.client()
    migrate(client, KEYS, MIGRATIONS[:1])
    client.sadd("push:presence-workers", "here/0")
    tokens = sorted(f"t{number}" for number in range(3000))
    for token in tokens:
        client.hset(f"push:presence:{{{token}}}", mapping={"token": token, "worker": "here/0"})
    client.zadd("push:presences-of:{here/0}", dict.fromkeys(tokens, 0))
    migrate(client, KEYS)
    devices = RedisDevices(Connection(location(redis_server.url)))
    found: list[str] = []
    while page := devices.all_tokens(found[-1] if found else "", 1000, 0.0):
        found += page
    assert sorted(found) == tokens


def test_list_of_tokens_lets_go_of_unknown_ones_as_others_come(redis_server: RedisServer) -> None:
    redis_server.flush()
    client, tokens = redis_server.client(), RedisTokens(Connection(location(redis_server.url)))

    def listed() -> int:
        return sum(client.zcard(f"push:tokens:{{{number}}}") for number in range(BUCKETS))

    tokens.enter([f"gone-{number}" for number in range(1000)])
    assert listed() == 1000
    for number in range(1000):
        tokens.meet(f"here-{number}", 100.0, 1000)
    assert len(tokens.known([f"here-{number}" for number in range(1000)], 0.0)) == 1000
    assert 1000 <= listed() < 1700  # about 1,370: each that comes has two looked at


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
