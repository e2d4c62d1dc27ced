"""The setting `storage`."""

import pytest

from shared.errors import SettingsError
from shared.settings import load
from shared.storage_locations import RedisLocation, parse_location


def test_sqlite() -> None:
    assert parse_location("sqlite") is None


@pytest.mark.parametrize(
    ("text", "location", "shown"),
    [
        ("redis://localhost:6379/3", RedisLocation((("localhost", 6379),), database=3), "redis://localhost:6379/3"),
        ("redis://10.0.0.1:1", RedisLocation((("10.0.0.1", 1),)), "redis://10.0.0.1:1/0"),
        ("rediss://[::1]:6379/0", RedisLocation((("::1", 6379),), tls=True), "rediss://[::1]:6379/0"),
        (
            "redis://me:p%40ss%3A@h:1/0?prefix=staging&password_file=/etc/p",
            RedisLocation((("h", 1),), username="me", password="p@ss:", prefix="staging", password_file="/etc/p"),
            "redis://h:1/0",
        ),
        (
            "rediss-cluster://:pw@a:1,b:2?ca_file=/ca",
            RedisLocation((("a", 1), ("b", 2)), is_cluster=True, tls=True, password="pw", ca_file="/ca"),
            "rediss-cluster://a:1,b:2",
        ),
        ("unix:///run/r.sock?prefix=x", RedisLocation((), path="/run/r.sock", prefix="x"), "unix:///run/r.sock"),
    ],
)
def test_redis(text: str, location: RedisLocation, shown: str) -> None:
    assert parse_location(text) == location
    assert str(location) == shown


@pytest.mark.parametrize(
    "text",
    [
        "", "postgres", "http://h:1", "redis:h:1", "redis://", "redis://h", "redis://h:", "redis://h:0", "redis://h:65536",
        "redis://h:x", "redis://:1", "redis://h:1/x", "redis://a:1,b:2/0", "redis-cluster://a:1,b", "redis-cluster://a:1/0",
        "redis://h:1/0?unknown=1", "redis://h:1/0?prefix={", "redis://h:1/0?prefix=", "unix://relative",
    ],
)  # fmt: skip
def test_wrong_ones_name_the_setting(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^storage: "):
        load({"PUSH_STORAGE": text})


def test_password_is_not_said() -> None:
    with pytest.raises(SettingsError) as raised:
        parse_location("redis://user:secret@h:1/x")
    assert "secret" not in str(raised.value)
