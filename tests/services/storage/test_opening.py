"""The setting chooses."""

from pathlib import Path

from services.storage.opening import open_storage
from services.storage.redis_storage import RedisStorage
from services.storage.sqlite_storage import SqliteStorage
from shared.settings import load
from tests.services.storage.redis_servers import RedisServer


def test_sqlite_is_the_default(tmp_path: Path) -> None:
    with open_storage(load({"PUSH_DATA_DIR": str(tmp_path)})) as storage:
        assert isinstance(storage, SqliteStorage)
    assert (tmp_path / "state" / "push.db").exists()


def test_redis(redis_server: RedisServer) -> None:
    redis_server.flush()
    settings = load({"PUSH_STORAGE": redis_server.url, "PUSH_STORAGE_DURABILITY": "memory"})
    with open_storage(settings) as storage:
        assert isinstance(storage, RedisStorage)
        assert storage.groups.create("g", "u")
    assert redis_server.client().exists("push:group:{g}")
