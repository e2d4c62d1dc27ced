"""services/status/addresses.py."""

import pytest

from services.status.addresses import reachable, reachable_endpoints
from shared.settings import Settings


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::1", "::1"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_reachable(host: str, expected: str) -> None:
    assert reachable(host) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), "tcp://127.0.0.1:6700"),
        (Settings(host="0.0.0.0", sender_port=9), "tcp://127.0.0.1:9"),
        (Settings(host="0.0.0.0", sender_host="10.0.0.7"), "tcp://10.0.0.7:6700"),
        (Settings(host="::"), "tcp://[::1]:6700"),
    ],
)
def test_reachable_endpoints(settings: Settings, expected: str) -> None:
    assert reachable_endpoints(settings) == [expected]


def test_every_router_has_an_endpoint() -> None:
    settings = Settings(host="0.0.0.0", sender_port=9, routers=3)
    assert reachable_endpoints(settings) == [f"tcp://127.0.0.1:{port}" for port in (9, 10, 11)]
    assert reachable_endpoints(Settings(routers=0)) == []
