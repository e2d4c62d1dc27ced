"""The subscribe service in a real fleet."""

import time
from collections.abc import Iterator

import pytest

from services.storage.interfaces import Session
from services.storage.opening import open_storage
from services.subscribe.tokens import made_at
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.packets import SUB
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

#: Seconds: routers tell workers what is answered a moment after the fleet is ready.
_MOMENT_S = 60


@pytest.fixture(scope="module")
def subscribing() -> Iterator[Fleet]:
    """A fleet in which a token belongs to whoever has logged in with it."""
    with Fleet(services="subscribe", open_subscribe="no") as started:
        wait_until(lambda: status_of_sub(started) == 200, "the service is asked")
        yield started


def subscribe(fleet: Fleet, token: str | None = None, kind: str = "v2") -> str:
    """The token that a new client gets."""
    with connect(kind, fleet.address) as client:
        return str(client.subscribe(token)["token"])


def status_of_sub(fleet: Fleet, kind: str = "v2") -> int:
    """What a client is answered that has no token."""
    with connect(kind, fleet.address) as client:
        return int(client.ask(SUB)["status"])


def made_by_service(token: str) -> bool:
    """It begins with the time."""
    return abs(made_at(token) / 1000 - time.time()) < _MOMENT_S


@pytest.mark.parametrize("kind", ["v0", "v1", "v2", "ws_snake", "ws_camel", "ws_binary"])
def test_a_token_is_made_and_taken_again(subscribing: Fleet, kind: str) -> None:
    first, second = subscribe(subscribing, kind=kind), subscribe(subscribing, kind=kind)
    assert len(first) == 32
    assert made_by_service(first)
    assert first < second
    assert subscribe(subscribing, first, kind) == first


def test_many_at_once_are_all_different(subscribing: Fleet) -> None:
    clients: list[Conversation] = []
    try:
        for _ in range(100):
            clients.append(connect("v2", subscribing.address))
            clients[-1].send(SUB)
        bound = [client.read() for client in clients]
    finally:
        for client in clients:
            client.wire.close()
    assert len({packet.body for packet in bound}) == 100


def test_a_token_of_a_login_is_refused(subscribing: Fleet) -> None:
    with open_storage(subscribing.settings) as storage:
        storage.sessions.put(Session("u", "phone-of-u", "s", "t", time.time(), None), time.time())
    with connect("v2", subscribing.address) as client:
        answer = client.ask(SUB, {"token": "phone-of-u"})
        assert (answer["status"], answer["message"]) == (403, "this token belongs to a user who has logged in")
        client.read_close()
    with open_storage(subscribing.settings) as storage:
        storage.sessions.delete("u", "phone-of-u")
    assert subscribe(subscribing, "phone-of-u") == "phone-of-u"


@pytest.mark.parametrize("kind", ["v0", "v2", "ws_snake"])
def test_nobody_is_bound_while_nobody_knows_whose_a_token_is(subscribing: Fleet, kind: str) -> None:
    subscribing.kill_service("subscribe")
    wait_until(lambda: status_of_sub(subscribing, kind) == 503, "the service is not asked any more")
    with connect(kind, subscribing.address) as client:
        answer = client.ask(SUB, {"token": "anybody"})
        assert (answer["status"], answer["retry_after_ms"] >= 0) == (503, True)
        client.read_close()
    subscribing.start_service("subscribe")
    wait_until(lambda: status_of_sub(subscribing, kind) == 200, "the service is asked")


def test_devices_are_kept_where_anybody_may_name_a_uid(start_fleet: StartFleet) -> None:
    fleet = start_fleet(services="subscribe")
    with connect("v1", fleet.address) as client:
        wait_until(lambda: made_by_service(subscribe(fleet)), "a token of the service")
        client.subscribe("phone", uid="u")
    with open_storage(fleet.settings) as storage:
        assert [(device.token, device.protocol) for device in storage.devices.of("u")] == [("phone", "v1")]


def test_one_of_two_instances_dies(start_fleet: StartFleet) -> None:
    """Every SUB is answered, and no token is made twice."""
    fleet = start_fleet(services="subscribe", workers=1)
    fleet.start_service("subscribe", 1)
    wait_until(lambda: len(fleet.stat()["services"]) == 2, "two instances")
    wait_until(lambda: made_by_service(subscribe(fleet)), "a token of the service")
    clients: list[Conversation] = []
    for number in range(200):
        clients.append(connect("v2", fleet.address))
        clients[-1].send(SUB)
        if number == 100:
            fleet.kill_service("subscribe", 1)
    answers = [client.read().body for client in clients]
    for client in clients:
        client.wire.close()
    assert len(set(answers)) == 200
    assert all(b'"status":200' in answer.replace(b" ", b"") for answer in answers)


def test_no_service_any_more(start_fleet: StartFleet) -> None:
    """Workers make tokens themselves, as in a fleet without."""
    fleet = start_fleet(services="subscribe", workers=1)
    wait_until(lambda: made_by_service(subscribe(fleet)), "a token of the service")
    assert fleet.stop_service("subscribe") == 0
    wait_until(lambda: not made_by_service(subscribe(fleet)), "a token of the worker")
