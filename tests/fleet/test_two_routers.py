"""Two routers, real workers and clients, the sender library; a router is killed or stopped under load."""

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.sender import Outcome, Sender
from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS, connect
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

CLIENTS = 24
ROUNDS = 120
QUICK = {"worker_heartbeat_ms": 200, "worker_timeout_ms": 1500, "ring_settle_ms": 300}


@pytest.fixture
def fleet(start_fleet: StartFleet) -> Fleet:
    return start_fleet(workers=2, routers=2, **QUICK)


@pytest.fixture
def clients(fleet: Fleet) -> Iterator[list[Conversation]]:
    """Bound clients of every kind: the n-th has the token `two-n`."""
    with ExitStack() as stack:
        bound = []
        for number, kind in zip(range(CLIENTS), itertools.cycle(KINDS), strict=False):
            conversation = stack.enter_context(connect(kind, fleet.address))
            conversation.subscribe(f"two-{number}")
            bound.append(conversation)
        yield bound


def push_in_rounds(fleet: Fleet, breaks: dict[int, Callable[[], object]]) -> Sender:
    """One push to every client in each round; `breaks`: what happens before a round. All must be delivered."""

    def pushes() -> Iterator[tuple[str, str]]:
        for turn in range(ROUNDS):
            breaks.get(turn, lambda: None)()
            yield from [(f"two-{number}", str(turn)) for number in range(CLIENTS)]

    with Sender(fleet.endpoints, queue_pushes=200) as sender:
        assert set(sender.push_many(pushes())) <= {Outcome.SENT, Outcome.BUFFERED}
    return sender


def expect_each_once_in_order(clients: list[Conversation]) -> None:
    for client in clients:
        assert [int(client.read().body) for _ in range(ROUNDS)] == list(range(ROUNDS))
        assert client.ping(30) == 30  # and nothing behind them


def test_each_router_serves_senders(fleet: Fleet, clients: list[Conversation]) -> None:
    for endpoint in fleet.endpoints:
        with Sender(endpoint) as sender:
            assert set(sender.push_many([(f"two-{number}", "x") for number in range(CLIENTS)])) == {Outcome.SENT}
            assert [client.read().body for client in clients] == [b"x"] * CLIENTS
            assert [found and found["online"] for found in sender.find(["two-0", "nobody"])] == [True, False]
    assert fleet.stat(router=0)["router"]["epoch"] == fleet.stat(router=1)["router"]["epoch"]


def test_killed_routers_lose_and_double_nothing(fleet: Fleet, clients: list[Conversation]) -> None:
    def start_again(router: int) -> None:
        fleet.start_router(router)
        fleet.wait_ready()

    breaks = {
        20: lambda: fleet.kill_router(0),
        50: lambda: start_again(0),
        60: lambda: fleet.kill_router(1),
        90: lambda: start_again(1),
        100: lambda: fleet.stop_router(0),
    }
    sender = push_in_rounds(fleet, breaks)
    assert sender.statistics.routers_lost == 3
    expect_each_once_in_order(clients)


def test_paused_router_does_no_harm_later(fleet: Fleet, clients: list[Conversation]) -> None:
    """What it had read goes to the workers when it wakes up: they know the last 64 ids of each token by then."""
    router = fleet.processes["router-0"]
    try:
        sender = push_in_rounds(fleet, {ROUNDS - 50: lambda: router.send(signal.SIGSTOP)})
        assert sender.endpoint == fleet.endpoints[1]
    finally:
        router.send(signal.SIGCONT)
    fleet.wait_ready()
    expect_each_once_in_order(clients)


def test_status_and_log_names(fleet: Fleet) -> None:
    wait_until(lambda: "serves senders on" in fleet.log("router"), "a log line")
    assert fleet.log("router") == fleet.log("router-0")
    assert Path(fleet.data_dir / "run/router-1.pid").read_text() == f"{fleet.router_pid(1)}\n"
