"""Workers restarted and killed, and a router killed: the SDKs' clients get every push, once, in order."""

import asyncio
import queue
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.sender import Outcome, Sender
from tests.examples.programs import Program
from tests.fleet.fleet_process import Fleet

COUNT = 60
LISTEN = Path(__file__).with_name("listen.mjs")
DONE = (Outcome.SENT, Outcome.ACKED, Outcome.STORED)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(services="subscribe,message-cache", worker_heartbeat_ms=100) as started:
        yield started


def push_through_everything(fleet: Fleet, token: str) -> list[str]:
    """Numbered pushes with ttl, with a restart and kills between them; what was pushed."""
    breaks: dict[int, Callable[[], object]] = {
        15: lambda: (fleet.stop_worker(0), fleet.start_worker(0)),
        30: lambda: (fleet.kill_worker(0), fleet.kill_worker(1)),
        45: lambda: (fleet.kill_router(), fleet.start_router()),
    }
    with Sender(fleet.endpoint, retries=50) as sender:
        for number in range(COUNT):
            breaks.get(number, lambda: None)()
            assert sender.push(token, str(number), ttl=600) in DONE
    return [str(number) for number in range(COUNT)]


def test_threads(fleet: Fleet) -> None:
    from push_gateway_client.sync import Client  # noqa: PLC0415  (its path is set by conftest)

    got: queue.Queue[str] = queue.Queue()
    with Client(*fleet.address, token="threads", on_push=lambda push: got.put(push.text)):
        expected = push_through_everything(fleet, "threads")
        assert [got.get(timeout=20) for _ in expected] == expected
    assert got.empty()


def test_asyncio(fleet: Fleet) -> None:
    from push_gateway_client.asyncio import Client  # noqa: PLC0415

    got: list[str] = []

    async def listen() -> None:
        complete = asyncio.Event()

        async def take(push: object) -> None:
            got.append(push.text)  # type: ignore[attr-defined]
            if len(got) >= COUNT:
                complete.set()

        async with Client(*fleet.address, token="asyncio", on_push=take):
            await asyncio.to_thread(push_through_everything, fleet, "asyncio")
            await asyncio.wait_for(complete.wait(), 20)

    asyncio.run(listen())
    assert got == [str(number) for number in range(COUNT)]


def test_node(fleet: Fleet) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    command = [node, "--experimental-websocket"]
    said = subprocess.run([*command, "--eval", "WebSocket"], capture_output=True, timeout=20, check=False)
    if said.returncode:
        pytest.skip("this Node has no WebSocket")
    with Program([*command, str(LISTEN), f"ws://{fleet.host}:{fleet.client_port}/", "node"]) as client:
        line = client.line()
        while line != "connected":
            line = client.line()
        expected = push_through_everything(fleet, "node")
        got: list[str] = []
        while len(got) < len(expected):
            line = client.line()
            if line.isdecimal():
                got.append(line)
    assert got == expected
