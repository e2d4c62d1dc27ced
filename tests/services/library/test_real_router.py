"""The service library against a real router process; workers are not needed to ask and answer."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from services.library import ClientCall, PublishError, Returned, Service
from shared.errors import SenderError
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import DEADLINE_S, wait_until

TOPIC = (9, 16)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Two routers and nothing else."""
    fleet = Fleet(routers=2, workers=1, service_heartbeat_ms=100, service_timeout_ms=1000)
    for router in range(2):
        fleet.start_router(router)
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def started() -> Iterator[list[Service]]:
    """Services that are stopped at the end."""
    services: list[Service] = []
    yield services
    for service in services:
        service.stop(0)


def start(service: Service, started: list[Service]) -> Service:
    started.append(service)
    service.start()
    assert service.wait_ready(DEADLINE_S)
    return service


def echo(fleet: Fleet, started: list[Service], **policy: float) -> Service:
    """Says whose instance it is."""
    service = Service("echo", fleet.settings, threads=4, **policy)

    @service.answers(*TOPIC, idempotent=True)
    def answer(call: ClientCall) -> bytes:
        time.sleep(0.002)
        return service.instance.encode()

    return start(service, started)


def asker(fleet: Fleet, started: list[Service]) -> Service:
    return start(Service("asker", fleet.settings), started)


def test_questions_are_answered_in_order_and_spread(fleet: Fleet, started: list[Service]):
    instances, asks = {echo(fleet, started).instance for _ in range(2)}, asker(fleet, started)
    order: list[int] = []
    futures: list[Future[Returned]] = []
    for number in range(400):
        future = asks.ask_nowait(TOPIC, b"", key=f"key-{number % 20}")
        future.add_done_callback(lambda _, number=number: order.append(number))
        futures.append(future)
    answers = [future.result(DEADLINE_S) for future in futures]
    assert {answer.code for answer in answers} == {0}
    assert {answer.body.decode() for answer in answers} == instances
    for key in range(20):
        own = [number for number in order if number % 20 == key]
        assert own == sorted(own)


def test_no_service_is_not_implemented(fleet: Fleet, started: list[Service]):
    assert asker(fleet, started).ask(TOPIC, b"") == Returned(PublishError.NOT_IMPLEMENTED)


def test_a_slow_answer_is_timed_out(fleet: Fleet, started: list[Service]):
    gate, service = threading.Event(), Service("slow", fleet.settings)

    @service.answers(*TOPIC)
    def answer(call: ClientCall) -> bytes:
        gate.wait(DEADLINE_S)
        return b""

    start(service, started)
    assert asker(fleet, started).ask(TOPIC, b"", timeout_s=0.2) == Returned(PublishError.TIMED_OUT)
    gate.set()


@pytest.mark.parametrize("router", [0, 1])
def test_the_other_router_goes_on(fleet: Fleet, started: list[Service], router: int):
    """What was under way over the lost one is unknown; all else is answered, and the lost one is found again."""
    echo(fleet, started)
    asks = asker(fleet, started)
    futures = [asks.ask_nowait(TOPIC, b"", key=str(number)) for number in range(200)]
    fleet.kill_router(router)
    codes = Counter([future.result(DEADLINE_S).code for future in futures])
    assert codes.keys() <= {0, PublishError.NOBODY_KNOWS}
    wait_until(lambda: asks.ask(TOPIC, b"").code == 0, "an answer by the other router")
    fleet.start_router(router)
    assert all(service.wait_ready(DEADLINE_S) for service in started)
    assert asks.ask(TOPIC, b"").code == 0


def test_leaving_costs_no_call(fleet: Fleet, started: list[Service]):
    """One instance after the other leaves and is replaced, under load."""
    service, asks = echo(fleet, started), asker(fleet, started)
    futures: list[Future[Returned]] = []
    for _ in range(3):
        for number in range(100):
            futures.append(asks.ask_nowait(TOPIC, b"", key=str(number)))
        following = echo(fleet, started)
        service.stop()
        service = following
    assert {future.result(DEADLINE_S).code for future in futures} == {0}


def test_pushes_and_look_ups_go_to_the_same_routers(fleet: Fleet, started: list[Service]):
    service = asker(fleet, started)
    assert service.sender.stat()["router"]["live"] == 0
    with pytest.raises(SenderError, match="no worker is live"):
        service.find(["nobody"])


def test_a_stopped_service_is_known_no_longer(fleet: Fleet, started: list[Service]):
    service = echo(fleet, started)
    wait_until(lambda: len(fleet.stat()["services"]) == 1, "known")
    service.stop()
    wait_until(lambda: not fleet.stat()["services"], "gone")
