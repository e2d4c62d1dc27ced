"""Stored pushes on a real fleet with the message cache: nothing that was said to be stored is missing."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.senders import ACKED, OVERLOADED, SENT, STORED, UNAVAILABLE, UNKNOWN, RawSender
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.services.storage.redis_servers import RedisServer

#: A push with one of these may be repeated with the same id.
RETRYABLE = (OVERLOADED, UNAVAILABLE, UNKNOWN)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Two workers and a message cache."""
    with Fleet(services="message-cache", worker_heartbeat_ms=100) as started:
        with RawSender(started.endpoint, name="first") as sender:

            def is_kept() -> bool:
                return all(sender.push(f"away-{number}", b"0", ttl=1) == STORED for number in range(16))

            wait_until(is_kept, "every worker knows of the cache")
        yield started


def come(fleet: Fleet, token: str, **options: object) -> Conversation:
    """A client that has said SUB."""
    client = connect("v2", fleet.address)
    answer = client.subscribe(token, **options)
    assert answer["status"] == 200, answer
    return client


def take(client: Conversation, count: int) -> list[bytes]:
    """The bodies of the next pushes, acknowledged one by one."""
    bodies = []
    while len(bodies) < count:
        packet = client.read_push()
        bodies.append(packet.body)
        client.acknowledge(packet.message_id)
    return bodies


def wait_acknowledged(sender: RawSender, token: str) -> None:
    wait_until(lambda: not sender.find(token)["unacknowledged"], "all acknowledged")


def push_until_final(sender: RawSender, token: str, payloads: list[bytes], **options: object) -> bytes:
    """Push with an id, and again with it, until every outcome is final; the outcomes."""
    outcomes = sender.push_all([(token, each) for each in payloads], **options)
    end = time.monotonic() + 60
    while any(outcome in RETRYABLE for outcome in outcomes):
        assert time.monotonic() < end, outcomes
        time.sleep(0.1)
        outcomes = sender.push_all([(token, each) for each in payloads], **options)
    return outcomes


def test_a_client_that_was_away_gets_all_in_order_and_nothing_twice_after_its_acknowledgement(fleet: Fleet) -> None:
    payloads = [b"%d" % number for number in range(1000)]
    with RawSender(fleet.endpoint, name="news") as sender:
        done = 0
        while done < len(payloads):
            some = payloads[done : done + random.randint(1, 50)]
            assert sender.push_all([("alice", each) for each in some], ttl=3600) == bytes([STORED] * len(some))
            done += len(some)
        with come(fleet, "alice", ack=True) as client:
            assert take(client, len(payloads)) == payloads
            wait_acknowledged(sender, "alice")
            assert sender.push("alice", b"last", ttl=3600) == STORED
        with come(fleet, "alice", ack=True) as again:
            assert take(again, 1) == [b"last"]
            assert sender.push("alice", b"next") == SENT
            assert take(again, 1) == [b"next"]


def test_a_full_window_stores_the_rest(fleet: Fleet) -> None:
    payloads = [b"%d" % number for number in range(150)]
    with RawSender(fleet.endpoint, name="news") as sender, come(fleet, "bob", ack=True) as client:
        sender.push("bob", b"first")
        take(client, 1)
        assert sender.push_all([("bob", each) for each in payloads], ttl=60) == bytes([STORED] * len(payloads))
        assert take(client, len(payloads)) == payloads


def test_wait_for_acknowledgements(fleet: Fleet) -> None:
    with RawSender(fleet.endpoint, name="news") as sender, come(fleet, "carol", ack=True) as client:
        for ttl in (0, 60):
            for _ in range(20):
                request = sender.send_push([("carol", b"1"), ("carol", b"2")], ttl=ttl, wait="acked", timeout_ms=20_000)
                assert take(client, 2) == [b"1", b"2"]
                outcomes = sender.done(request)[0]
                if outcomes == bytes([ACKED, ACKED]):
                    break
                assert ttl  # what comes by a replay, as at first, is said to be stored
                assert set(outcomes) <= {ACKED, STORED}
            assert outcomes == bytes([ACKED, ACKED])
        assert sender.push("carol", b"3", ttl=60, wait="acked", timeout_ms=100) == STORED
        assert sender.push("carol", b"4", wait="acked", timeout_ms=100) == SENT


def test_without_a_cache_nothing_is_said_to_be_stored() -> None:
    with Fleet() as fleet, RawSender(fleet.endpoint, name="news") as sender:
        assert sender.push("away", b"1", ttl=60) == UNAVAILABLE
        with come(fleet, "here"):
            assert sender.push("here", b"1", ttl=60) == SENT


@pytest.mark.parametrize("victim", ["worker", "cache", "router"])
def test_what_is_stored_survives_a_death(fleet: Fleet, victim: str) -> None:
    expected: list[bytes] = []
    with RawSender(fleet.endpoint, name="news", deadline=60) as sender:
        for number in range(12):
            if number in (3, 8):
                kill(fleet, victim)
                if victim == "router":
                    sender.hello("news")
            some = [b"%d.%d" % (number, each) for each in range(random.randint(1, 50))]
            push_until_final(sender, "dave", some, ttl=3600, id=f"batch-{number}", timeout_ms=10_000)
            expected += some
        with come(fleet, "dave", ack=True) as client:
            assert take(client, len(expected)) == expected


def kill(fleet: Fleet, victim: str) -> None:
    if victim == "worker":
        for index in range(2):
            fleet.kill_worker(index)
    elif victim == "cache":
        fleet.kill_service("message-cache")
        fleet.start_service("message-cache")
    else:
        fleet.kill_router()
        fleet.start_router()
        fleet.wait_ready()


def test_clients_that_stay_get_everything_though_worker_and_cache_die(fleet: Fleet) -> None:
    got: dict[str, bytes] = {}  # by push id: a copy has the same
    with (
        RawSender(fleet.endpoint, name="news", deadline=60) as sender,
        ExitStack() as stack,
    ):
        client = stack.enter_context(come(fleet, "erin", ack=True, ids=True))
        for number in range(9):
            if number in (3, 6):
                kill(fleet, "worker" if number == 3 else "cache")
            some = [b"%d.%d" % (number, each) for each in range(20)]
            push_until_final(sender, "erin", some, ttl=3600, id=f"batch-{number}", timeout_ms=10_000)
            while not set(some) <= set(got.values()):
                try:
                    packet = client.read_push()
                except (EOFError, ConnectionError):  # whom the worker was amid serving is closed
                    client = stack.enter_context(come(fleet, "erin", ack=True, ids=True))
                    continue
                got[packet.push_id] = packet.body
                client.acknowledge(packet.message_id)
    assert len(got) == 9 * 20


def test_what_is_stored_after_a_redis_has_come_back_empty_is_not_lost(tmp_path: Path) -> None:
    payloads = [b"%d" % number for number in range(30)]
    with (
        RedisServer(tmp_path) as server,
        Fleet(services="message-cache", storage=server.url, storage_durability="memory") as fleet,
        RawSender(fleet.endpoint, name="news", deadline=60) as sender,
    ):
        push_until_final(sender, "frank", payloads, ttl=3600, id="before")
        server.kill()
        server.start()
        assert push_until_final(sender, "frank", [b"new"], ttl=3600, id="after") == bytes([STORED])
        with come(fleet, "frank", ack=True) as client:
            assert take(client, 1) == [b"new"]
            assert sender.push("frank", b"plain") == SENT
            assert take(client, 1) == [b"plain"]
