"""Clients that write to each other, and to groups, on a real fleet with the group service and the message cache."""

import json
from collections.abc import Iterator

import msgpack
import pytest

from services.library import Service
from shared.calls import Internal, internal
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.packets import CONTACT
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="subscribe,group,message-cache", worker_heartbeat_ms=100) as started:
        yield started


@pytest.fixture(scope="module")
def service(fleet: Fleet) -> Iterator[Service]:
    """A program of the back end that asks other services."""
    asking = Service("test", fleet.settings)
    asking.start()
    assert asking.wait_ready(20)
    yield asking
    asking.stop()


def ask_groups(service: Service, **fields: object) -> object:
    code, body = service.ask(internal(Internal.GROUPS), msgpack.packb(fields), key=str(fields["group"]))
    assert code == 0, msgpack.unpackb(body)
    return msgpack.unpackb(body)


def come(fleet: Fleet, token: str, kind: str = "v2") -> Conversation:
    client = connect(kind, fleet.address)
    client.subscribe(token, ack=True)
    return client


def take(client: Conversation) -> dict[str, object]:
    packet = client.read_push()
    client.acknowledge(packet.message_id)
    return json.loads(packet.body)


@pytest.mark.parametrize(("sender", "recipient"), [("v2", "ws_camel"), ("ws_snake", "v1"), ("v1", "v2")])
def test_from_client_to_client(fleet: Fleet, sender: str, recipient: str) -> None:
    one, other = f"one-{sender}", f"other-{sender}"
    with come(fleet, one, sender) as alice, come(fleet, other, recipient) as bob:
        fields = {"type": 0, "from": "forged", "to": other, "message": "你好"}
        assert alice.ask(CONTACT, fields, message_id=7) == {"status": 200}
        assert take(bob) == {**fields, "from": one}


def test_whoever_is_away_gets_it_on_return(fleet: Fleet) -> None:
    with come(fleet, "writer") as alice:
        assert alice.ask(CONTACT, {"type": 0, "to": "away", "message": "later"}) == {"status": 200}
        with come(fleet, "away") as bob:
            assert take(bob)["message"] == "later"


def test_to_a_group_of_clients_here_and_away(fleet: Fleet, service: Service) -> None:
    tokens = ["member-1", "member-2", "member-3"]
    ask_groups(service, op="create", group="team", tokens=tokens)
    with come(fleet, "member-1") as alice, come(fleet, "member-2", "ws_snake") as bob, come(fleet, "stranger") as carol:
        assert alice.ask(CONTACT, {"type": 1, "group": "team", "message": "hi"}) == {"status": 200}
        assert take(bob) == {"type": 1, "group": "team", "message": "hi", "from": "member-1"}
        assert carol.ask(CONTACT, {"type": 1, "group": "team", "message": "hi"})["status"] == 403
        assert alice.ping(30) == 30  # nothing came back to its sender
    with come(fleet, "member-3") as dave:
        assert take(dave)["from"] == "member-1"


def test_bad_contacts(fleet: Fleet) -> None:
    with come(fleet, "bad") as client:
        for fields in ({"type": 7, "to": "x"}, {"type": 0}, {"type": 1, "group": ""}):
            assert client.ask(CONTACT, fields)["status"] == 400
        assert client.ask(CONTACT, {"type": 1, "group": "none"})["status"] == 403


def test_without_a_group_service_it_is_said(fleet: Fleet) -> None:
    def status(client: Conversation, to: str) -> int:
        return int(client.ask(CONTACT, {"type": 0, "to": to})["status"])

    with come(fleet, "early") as client:
        fleet.kill_service("group")
        wait_until(lambda: status(client, "away") == 503, "the service is missed")
        fleet.start_service("group")
        wait_until(lambda: status(client, "away") == 200, "the service is back")
