"""The status service of a whole fleet, with and without CURVE keys."""

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
import websocket
import zmq

from shared.keys import KeyPair, format_key_pair, format_permitted
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.http_api import Api
from tests.fleet.processes import wait_until


def get(fleet: Fleet, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(fleet.host, fleet.api_port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def feed(fleet: Fleet, **options: Any) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://{fleet.host}:{fleet.api_port}/live", timeout=10, **options)


def key_files(directory: Path) -> dict[str, Path]:
    """Settings that name a router's key, one permitted key, and who has it."""
    pairs = [KeyPair(*[key.decode() for key in zmq.curve_keypair()]) for _ in range(2)]
    files = {name: directory / name for name in ("curve_server_key_file", "status_key_file", "curve_permitted_file")}
    texts = [*map(format_key_pair, pairs), format_permitted({pairs[1].public: frozenset({"push", "admin"})})]
    for path, text in zip(files.values(), texts, strict=True):
        path.touch(mode=0o600)
        path.write_text(text)
    return files


@pytest.mark.parametrize("keys", [False, True])
def test_answers(start_fleet: StartFleet, tmp_path: Path, keys: bool) -> None:
    fleet = start_fleet(status=True, **(key_files(tmp_path) if keys else {}))
    assert get(fleet, "/health/ready") == (200, {"status": "ready"})
    status, figures = get(fleet, "/stats")
    assert (status, sorted(figures["workers"])) == (200, ["here/0", "here/1"])
    told = Api(fleet).push({"token": "nobody", "payload": "x"})
    assert (told.status, told.body["counts"]["offline"]) == (200, 1)
    watcher = feed(fleet)
    uptimes = [json.loads(watcher.recv())["router"]["uptime_s"] for _ in range(3)]
    assert uptimes == sorted(set(uptimes))
    watcher.close()


def test_loss_of_the_router_is_said_and_its_return_too(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1)
    watcher = feed(fleet)
    assert "router" in json.loads(watcher.recv())
    fleet.stop_router()
    assert get(fleet, "/health/ready")[0] == 503
    assert get(fleet, "/stats")[0] == 503
    wait_until(lambda: "error" in json.loads(watcher.recv()), "error in the feed")
    fleet.start_router()
    fleet.wait_ready()
    wait_until(lambda: "router" in json.loads(watcher.recv()), "figures in the feed")
    watcher.close()


def test_page_of_another_origin_may_not_look_in(start_fleet: StartFleet) -> None:
    fleet = start_fleet(status=True, workers=1)
    watcher = feed(fleet, origin="http://evil.example")
    assert not watcher.recv()
    watcher.close()
