"""Pushes to users and groups on a real fleet with all services of which they are made."""

from collections.abc import Iterator

import msgpack
import pytest

from services.library import Service
from shared.calls import Internal, internal
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.senders import ACKED, OFFLINE, SENT, STORED, RawSender
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

#: Pushed to find out who is known.
TRIAL = b"trial"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="subscribe,group,message-cache", worker_heartbeat_ms=100) as started:
        yield started


@pytest.fixture(scope="module")
def service(fleet: Fleet) -> Iterator[Service]:
    asking = Service("test", fleet.settings)
    asking.start()
    assert asking.wait_ready(20)
    yield asking
    asking.stop()


def create(service: Service, group: str, tokens: list[str], uids: list[str]) -> None:
    operate(service, group, "create", tokens=tokens, uids=uids)


def operate(service: Service, group: str, op: str, timeout_s: float = 30.0, **fields: object) -> None:
    code, body = service.ask(
        internal(Internal.GROUPS), msgpack.packb({"op": op, "group": group, **fields}), key=group, timeout_s=timeout_s
    )
    assert code == 0, body


def push(sender: RawSender, target: str, payload: bytes, **options: object) -> tuple[int, dict[str, int]]:
    """The one outcome, and the counts that are not 0; not how many workers had it."""
    outcomes, detail = sender.done(sender.send_push([(target, payload)], **options))
    assert len(outcomes) == 1
    return outcomes[0], {key: value for key, value in detail.items() if value and key != "workers"}


def come(fleet: Fleet, token: str, kind: str = "v2", **options: object) -> Conversation:
    client = connect(kind, fleet.address)
    client.subscribe(token, **options)
    return client


def take(client: Conversation) -> bytes:
    """Its next push; trials do not count."""
    packet = client.read_push()
    if packet.message_id:
        client.acknowledge(packet.message_id)
    return packet.body if packet.body != TRIAL else take(client)


def test_all_devices_of_a_user(fleet: Fleet) -> None:
    with (
        RawSender(fleet.endpoint, name="news") as sender,
        come(fleet, "phone", uid="u") as phone,
        come(fleet, "browser", "ws_camel", uid="u") as browser,
        come(fleet, "tablet", "v1", uid="u", ack=True) as tablet,
        come(fleet, "other", uid="v") as other,
    ):
        everybody = (SENT, {"matched": 3, "sent": 3})
        wait_until(lambda: push(sender, "u", TRIAL, to="user") == everybody, "the router knows of all")
        assert push(sender, "u", b"hello", to="user") == everybody
        assert [take(client) for client in (phone, browser, tablet)] == [b"hello"] * 3
        assert other.ping(30) == 30  # it got nothing
        tablet.wire.close()
        outcome, counts = push(sender, "u", b"later", to="user", ttl=60, id="1")
        assert (outcome, counts["matched"]) == (SENT, 3)
        assert [client.read_push().body for client in (phone, browser)] == [b"later"] * 2
        with come(fleet, "tablet", "v1", uid="u", ack=True) as again:
            assert take(again) == b"later"
        assert push(sender, "u", b"later", to="user", ttl=60, id="1")[0] == SENT  # a repeat
        assert phone.ping(30) == 30
    with RawSender(fleet.endpoint) as sender:
        assert push(sender, "nobody", b"x", to="user") == (OFFLINE, {})


def test_a_group_of_tokens_and_users_here_and_away(fleet: Fleet, service: Service) -> None:
    with (
        RawSender(fleet.endpoint, name="group") as sender,
        come(fleet, "g-1", ack=True) as one,
        come(fleet, "g-2", "ws_snake", ack=True) as two,
        come(fleet, "w-phone", uid="w", ack=True) as three,
    ):
        create(service, "team", ["g-1", "g-2", "g-away"], ["w"])
        assert push(sender, "team", b"now", to="group") == (SENT, {"matched": 3, "sent": 3})  # who is away got nothing
        assert [take(client) for client in (one, two, three)] == [b"now"] * 3
        outcome, counts = push(sender, "team", b"kept", to="group", ttl=60)
        assert (outcome, counts) == (STORED, {"matched": 4, "stored": 4})
        assert [take(client) for client in (one, two, three)] == [b"kept"] * 3
        with come(fleet, "g-away", ack=True) as four:
            assert take(four) == b"kept"
        assert push(sender, "no such group", b"x", to="group") == (OFFLINE, {})


def test_a_group_of_10_000(fleet: Fleet, service: Service) -> None:
    with RawSender(fleet.endpoint) as sender, come(fleet, "crowd-77") as client, come(fleet, "crowd-9999") as last:
        create(service, "crowd", [f"crowd-{number}" for number in range(10_000)], [])
        counts = {"matched": 2, "sent": 2}
        assert push(sender, "crowd", b"x", to="group", timeout_ms=20_000) == (SENT, counts)
        assert [one.read_push().body for one in (client, last)] == [b"x"] * 2


def test_everybody_here_and_away(fleet: Fleet) -> None:
    """Known is who has come, with a user or without."""
    options = {"ack": True, "ids": True}
    with (
        RawSender(fleet.endpoint, name="news") as sender,
        come(fleet, "of-a-user", uid="w", **options) as of_a_user,
        come(fleet, "nobodys", "ws_snake", **options) as nobodys,
        come(fleet, "cannot", "v1") as cannot,
    ):
        with come(fleet, "is-away", **options):
            pass
        request = sender.send_push([("", b"noon")], to="all", ttl=60, wait="acked", id="all-1", timeout_ms=2000)
        assert take(of_a_user) == take(nobodys) == cannot.read_push().body == b"noon"
        outcomes, counts = sender.done(request)
        assert outcomes == bytes([ACKED])
        assert counts["acked"] == 2
        assert counts["sent"] + counts["stored"] == counts["matched"] - 2 >= 2
        with come(fleet, "is-away", **options) as back:
            assert take(back) == b"noon"
            outcomes, again = sender.done(sender.send_push([("", b"noon")], to="all", ttl=60, wait="acked", id="all-1"))
            assert (outcomes, again) == (bytes([ACKED]), counts)  # remembered
            for client in (of_a_user, nobodys, cannot, back):
                assert client.ping(30) == 30  # nothing came twice


def test_a_group_of_100_000_is_dismissed_during_a_push(fleet: Fleet, service: Service) -> None:
    """Who was not yet reached gets nothing; the answer comes at once, and says that the group is gone."""
    names = [f"huge-{number:06}" for number in range(100_000)]
    create(service, "huge", names[:25_000], [])
    for start in range(25_000, 100_000, 25_000):
        operate(service, "huge", "join", tokens=names[start : start + 25_000])
    with RawSender(fleet.endpoint) as sender, come(fleet, names[0], ack=True) as first:
        request = sender.send_push([("huge", b"x")], to="group", ttl=60, timeout_ms=60_000)
        assert take(first) == b"x"
        operate(service, "huge", "dismiss", timeout_s=5.0)  # what people's programs wait
        outcomes, detail = sender.done(request)
        assert outcomes[0] in (STORED, ACKED)  # by when the first one's acknowledgement came
        assert 1 <= detail["stored"] + detail["acked"] == detail["matched"] < 100_000, detail
        assert detail["exists"] is False
        assert "incomplete" not in detail
    with RawSender(fleet.endpoint) as sender, come(fleet, names[-1]) as last:
        assert push(sender, "huge", b"x", to="group", ttl=60)[0] == OFFLINE
        assert last.ping(30) == 30
