"""services/status/readiness.py where nothing answers; tests/fleet has the case where all does."""

from dataclasses import replace
from typing import Any

import pytest

from services.status.readiness import live_workers, missing_services, not_ready
from shared.settings import Settings
from tests.fleet.ports import free_ports


def test_every_silent_process_is_named() -> None:
    client_port, sender_port, api_port = free_ports(3)
    settings = Settings(client_port=client_port, sender_port=sender_port, api_port=api_port)
    router, gateway, status = not_ready(settings)
    assert router.startswith("router-0: ")
    assert gateway == f"gateway: no answer on port {client_port}"
    assert status == f"status service: no answer on port {api_port}"
    assert len(not_ready(settings, status=False)) == 2


def test_every_router_of_this_host_is_asked() -> None:
    client_port, sender_port = free_ports(2)
    settings = Settings(client_port=client_port, sender_port=sender_port, routers=2)
    names = [line.partition(":")[0] for line in not_ready(settings, status=False)]
    assert names == ["router-0", "router-1", "gateway"]
    assert len(not_ready(replace(settings, routers=0), status=False)) == 1


@pytest.mark.parametrize(
    ("settled", "states", "live"),
    [
        (True, {"a/1": "live", "a/0": "live", "a/2": "leaving"}, ["a/0", "a/1"]),
        (True, {}, []),
        (False, {"a/0": "live"}, []),
    ],
)
def test_live_workers(settled: bool, states: dict[str, str], live: list[str]) -> None:
    workers = {name: {"state": state} for name, state in states.items()}
    figures: dict[str, Any] = {"router": {"settled": settled}, "workers": workers}
    assert live_workers(figures) == live


def test_live_workers_of_one_host() -> None:
    workers = {name: {"state": "live"} for name in ("a/0", "b/0", "a/1", "a/b/0")}
    figures: dict[str, Any] = {"router": {"settled": True}, "workers": workers}
    assert live_workers(figures, "a") == ["a/0", "a/1"]


@pytest.mark.parametrize(
    ("services", "known", "missing"),
    [
        ("subscribe", ["subscribe/ab12", "other/cd34"], []),
        ("subscribe", ["subscribe-too/ab12"], ["subscribe"]),
        ("", [], []),
    ],
)
def test_missing_services(services: str, known: list[str], missing: list[str]) -> None:
    figures: dict[str, Any] = {"services": {name: {} for name in known}}
    assert missing_services(Settings(services=services), figures) == missing
    assert missing_services(Settings(services=services), {}) == [name for name in [services] if name]
