"""The sweep of the presence service, when its storage is away."""

import logging
import threading
from pathlib import Path

import pytest

from services.presence import serving
from services.presence.presences import PresenceTopic
from services.storage.redis_storage import RedisStorage
from shared.storage_locations import parse_location
from tests.fleet.processes import wait_until
from tests.services.storage.redis_servers import RedisServer


def test_a_sweep_goes_on_when_the_storage_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "_SWEEP_S", 0.01)
    caplog.set_level(logging.WARNING)
    ended = threading.Event()
    with RedisServer(tmp_path / "redis") as server:
        location = parse_location(server.url)
        assert location
        with RedisStorage(location, durability="memory") as storage:
            topic = PresenceTopic(storage, lambda transitions: None, lambda: 0)
            sweeper = threading.Thread(target=serving._sweep, args=(topic, 1000, ended))
            sweeper.start()
            try:
                server.kill()
                wait_until(lambda: "dead workers are not swept" in caplog.text, "a warning")
                server.start()
                storage.presences.report("here/0", "x.1", 1, 1, 0, begin=True)
                wait_until(lambda: not storage.presences._names(), "the worker is swept")
            finally:
                ended.set()
                sweeper.join()
    assert "Traceback" not in caplog.text
