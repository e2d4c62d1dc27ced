"""The sender library with two real routers, one of which dies, stops or is not there; the worker is the test's."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import services.sender.gevent
from services.sender import Outcome, Sender
from shared import places
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.services.sender.test_real_router import Holder, make_pushes
from tests.services.sender.worker_socket import Arrival, WorkerSocket

KINDS = [Sender, services.sender.gevent.Sender]


class Pair:
    """Two router processes, and one worker that both have. What it gets from either, it takes in one at a time."""

    def __init__(self) -> None:
        self.fleet = Fleet(workers=1, routers=2, ring_settle_ms=0)
        self.holder = Holder()
        self._lock = threading.Lock()
        for router in range(2):
            self.fleet.start_router(router)
        name = places.worker_name(self.fleet.settings, 0)
        buses = [places.bus_endpoint(self.fleet.settings, router) for router in range(2)]
        self.sockets = [WorkerSocket(bus, name, self._decide) for bus in buses]

    def wait_ready(self) -> None:
        for router in range(2):
            wait_until(lambda router=router: not self._missing(router), f"router {router}")  # type: ignore[misc]

    def _missing(self, router: int) -> bool:
        try:
            return not self.fleet.live_workers(router)
        except TimeoutError:
            return True

    def _decide(self, arrival: Arrival) -> Outcome:
        with self._lock:
            return self.holder.decide(arrival)

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.fleet.stop()


@pytest.fixture
def pair() -> Iterator[Pair]:
    started = Pair()
    try:
        started.wait_ready()
        yield started
    finally:
        started.close()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_router_costs_nothing(pair: Pair, kind: Any, ordered: bool):
    pushes = make_pushes(6000, 500)

    def with_deaths() -> Iterator[tuple[str, str]]:
        for number, push in enumerate(pushes):
            if number == 2000:
                pair.fleet.kill_router(0)
            if number == 4000:
                pair.fleet.start_router(0)
                wait_until(lambda: not pair._missing(0), "router 0 again")
                pair.fleet.kill_router(1)
            yield push

    with kind(pair.fleet.endpoints, queue_pushes=1000, ordered=ordered) as sender:
        assert set(sender.push_many(with_deaths())) == {Outcome.SENT}
        assert sender.statistics.routers_lost == 2
        assert sender.endpoint == pair.fleet.endpoints[0]
    pair.holder.check(pushes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_death_is_noticed_at_once(pair: Pair, kind: Any):
    with kind(pair.fleet.endpoints) as sender:
        assert sender.push("a", "x") is Outcome.SENT
        pair.fleet.kill_router(0)
        began = time.monotonic()
        assert sender.push("a", "y") is Outcome.SENT
        assert time.monotonic() - began < 1.0
        assert sender.endpoint == pair.fleet.endpoints[1]


def test_the_first_may_be_missing_from_the_start(pair: Pair):
    pair.fleet.kill_router(0)
    began = time.monotonic()
    with Sender(pair.fleet.endpoints) as sender:
        assert sender.push("a", "x") is Outcome.SENT
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_paused_router_is_left_and_does_no_harm_later(pair: Pair, kind: Any):
    pushes = make_pushes(3000, 300)

    def with_a_pause() -> Iterator[tuple[str, str]]:
        for number, push in enumerate(pushes):
            if number == 1500:
                pair.fleet.processes["router-0"].send(signal.SIGSTOP)
            yield push

    began = time.monotonic()
    try:
        with kind(pair.fleet.endpoints, queue_pushes=500) as sender:
            assert set(sender.push_many(with_a_pause())) == {Outcome.SENT}
            assert sender.endpoint == pair.fleet.endpoints[1]
        assert time.monotonic() - began < 10
    finally:
        pair.fleet.processes["router-0"].send(signal.SIGCONT)
    wait_until(lambda: not pair._missing(0), "router 0 again")
    pair.holder.check(pushes)
