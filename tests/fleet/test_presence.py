"""Presence on a real fleet: look-ups, moves, kills, and the events of all of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.presence_watchers import Polling, Watcher, hear, watching
from tests.fleet.processes import wait_until
from tests.services.storage.redis_servers import RedisServer

LEASE_MS = 6000
PEERS = 20


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        storage = "sqlite"
        if request.param == "redis":
            storage = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis"), appendonly="yes")).url
        settings = {"services": "subscribe,presence", "presence_lease_ms": LEASE_MS, "worker_heartbeat_ms": 100}
        yield stack.enter_context(Fleet(storage=storage, **settings))


@pytest.fixture(scope="module")
def watcher(fleet: Fleet) -> Iterator[Watcher]:
    with watching(fleet) as started:
        yield started


@pytest.fixture
def crowd(fleet: Fleet, watcher: Watcher, request: pytest.FixtureRequest) -> Iterator[dict[str, Conversation]]:
    """Clients of a test's own, by token, on both workers; they have come, and it is known."""
    hear(fleet, watcher)
    with ExitStack() as stack:
        clients = {}
        for number in range(PEERS):
            token = f"{request.node.name}-{number}"
            clients[token] = stack.enter_context(connect("v2" if number % 2 else "ws_snake", fleet.address))
            clients[token].subscribe(token, uid=f"{request.node.name}-user")
        wait_until(lambda: len(watcher.read(*clients)) == PEERS, "all have come")
        yield clients


def go_on(polling: Polling) -> None:
    """Return when it has been asked some times more."""
    before = polling.answers
    wait_until(lambda: polling.answers > before + 20, "it is asked on")


def came(*tokens: str) -> list[tuple[str, str, str | None]]:
    return sorted(("connected", token, None) for token in tokens)


def events(watcher: Watcher, *tokens: str) -> list[tuple[str, str, str | None]]:
    return sorted(watcher.read(*tokens), key=str)


def holder(watcher: Watcher, token: str) -> int:
    """Index of the worker that has a client."""
    found = watcher.find(token)
    assert found
    assert found[0]["online"]
    return int(found[0]["worker"].rpartition("/")[2])


def test_who_stays_is_never_absent(fleet: Fleet, watcher: Watcher, crowd: dict[str, Conversation]) -> None:
    """Through a rolling restart, kills of a worker, of the router, and of the service."""
    with Polling(watcher, list(crowd)) as polling:
        for index in range(2):
            fleet.stop_worker(index)
            fleet.start_worker(index)
            fleet.wait_ready()
        for index in range(2):
            fleet.kill_worker(index)
            fleet.wait_ready()
            go_on(polling)
        fleet.kill_router()
        fleet.start_router()
        fleet.wait_ready()
        go_on(polling)
        fleet.kill_service("presence")
        fleet.start_service("presence")
        fleet.wait_ready()
        go_on(polling)
    assert polling.absent == set()
    assert [client.ping(30) for client in crowd.values()] == [30] * PEERS
    assert events(watcher, *crowd) == came(*crowd)


def test_a_worker_that_has_only_just_started_says_why_a_client_went(
    fleet: Fleet, watcher: Watcher, crowd: dict[str, Conversation]
) -> None:
    """It goes on with its predecessor's clients, and has heard of no service yet when one of them is gone."""
    gone = list(crowd)[:4]
    for index in range(2):
        fleet.kill_worker(index)
    for token in gone:
        crowd[token].wire.close()
    fleet.wait_ready()
    wait_until(lambda: len(watcher.read(*crowd)) == PEERS + len(gone), "their ends are told")
    ends = sorted(("disconnected", token, "peer_closed") for token in gone)
    assert events(watcher, *crowd) == came(*crowd) + ends
    assert watcher.online(*crowd) == [token not in gone for token in crowd]


def test_another_connection_replaces(fleet: Fleet, watcher: Watcher) -> None:
    hear(fleet, watcher)
    with connect("v2", fleet.address) as older, connect("ws_snake", fleet.address) as newer:
        older.subscribe("twice")
        wait_until(lambda: watcher.online("twice") == [True], "the older has come")
        newer.subscribe("twice")
        wait_until(lambda: len(watcher.read("twice")) == 3, "both are told")
        assert watcher.find("twice")[0]["protocol"] == newer.protocol  # type: ignore[index]
        assert newer.ping(30) == 30
    wait_until(lambda: len(watcher.read("twice")) == 4, "the newer has gone")
    reasons = [(kind, reason) for kind, _, reason in watcher.read("twice")]
    gone = ("disconnected", "peer_closed")
    assert reasons == [("connected", None), ("disconnected", "replaced"), ("connected", None), gone]
    told = [event for event in watcher.events if event["token"] == "twice"]
    sequences = [event["token_sequence"] for event in told]
    assert sequences == sorted(set(sequences))
    assert [event["since"] for event in told] == [told[0]["since"]] * 2 + [told[2]["since"]] * 2


def test_a_stopped_worker_says_that_it_was(fleet: Fleet, watcher: Watcher, crowd: dict[str, Conversation]) -> None:
    index = holder(watcher, next(iter(crowd)))
    theirs = {token for token in crowd if holder(watcher, token) == index}
    fleet.stop_worker(index, signal.SIGINT)
    wait_until(lambda: len(watcher.read(*crowd)) == PEERS + len(theirs), "their ends are told")
    gone = {token: reason for kind, token, reason in watcher.read(*crowd) if kind == "disconnected"}
    assert gone == dict.fromkeys(theirs, "shutdown")
    fleet.start_worker(index)
    fleet.wait_ready()
    assert watcher.online(*crowd) == [token not in theirs for token in crowd]


def test_a_stopped_fleet_says_that_it_was(fleet: Fleet, watcher: Watcher, crowd: dict[str, Conversation]) -> None:
    workers = [fleet.processes[f"gateway-{index}"] for index in range(2)]
    for worker in workers:
        worker.send(signal.SIGINT)
    assert [worker.wait() for worker in workers] == [0, 0]
    wait_until(lambda: len(watcher.read(*crowd)) == 2 * PEERS, "their ends are told")
    assert events(watcher, *crowd) == came(*crowd) + sorted(("disconnected", token, "shutdown") for token in crowd)
    for index in range(2):
        fleet.start_worker(index)
    fleet.wait_ready()


def test_a_worker_that_never_comes_back(fleet: Fleet, watcher: Watcher, crowd: dict[str, Conversation]) -> None:
    """It dies with its guardian, and its clients' sockets with both. Its lease lapses."""
    index = holder(watcher, next(iter(crowd)))
    theirs = {token for token in crowd if holder(watcher, token) == index}
    pid = fleet.worker_pid(index)
    os.kill(pid, signal.SIGSTOP)  # so that it cannot give them away
    fleet.kill_guardian(index)
    os.kill(pid, signal.SIGKILL)
    with Polling(watcher, [token for token in crowd if token not in theirs]) as polling:
        wait_until(lambda: len(watcher.read(*crowd)) >= PEERS + len(theirs), "their ends are told")
    assert (polling.absent, polling.answers > 0) == (set(), True)
    gone = sorted(token for kind, token, reason in watcher.read(*crowd) if kind == "disconnected")
    assert gone == sorted(theirs)
    assert {reason for kind, _, reason in watcher.read(*crowd) if kind == "disconnected"} == {"worker_lost"}
    assert watcher.online(*crowd) == [token not in theirs for token in crowd]
    fleet.start_worker(index)
    fleet.wait_ready()
    with connect("v2", fleet.address) as back:
        token = min(theirs)
        back.subscribe(token)
        wait_until(lambda: len(watcher.read(token)) == 3, "it is back")
        assert [kind for kind, *_ in watcher.read(token)] == ["connected", "disconnected", "connected"]
        assert watcher.online(token) == [True]


def test_the_service_dies_while_clients_come_and_go(fleet: Fleet, watcher: Watcher) -> None:
    tokens = [f"busy-{number}" for number in range(120)]
    with ExitStack() as stack:
        for number, token in enumerate(tokens):
            client = stack.enter_context(connect("v2", fleet.address))
            client.subscribe(token)
            if number % 3 == 0:
                client.wire.close()
            if number in (40, 80):
                fleet.kill_service("presence")
                fleet.start_service("presence")
        truth = [number % 3 != 0 for number in range(len(tokens))]
        wait_until(lambda: watcher.online(*tokens) == truth, "what is known is true")
    wait_until(lambda: watcher.online(*tokens) == [False] * len(tokens), "all have gone")
    watcher.read()
    told = [event for event in watcher.events if event["token"] in set(tokens)]
    assert len({event["id"] for event in told}) == len(told)
    # each of these clients comes once and goes once
    assert len({(event["token"], event["kind"]) for event in told}) == len(told)


def test_look_up_of_a_user_and_of_everybody(watcher: Watcher, crowd: dict[str, Conversation]) -> None:
    found = watcher.find(uid=next(iter(crowd)).replace("-0", "-user"))
    assert found is not None
    assert {one["token"]: one["online"] for one in found} == dict.fromkeys(crowd, True)
    assert {one["protocol"] for one in found} == {client.protocol for client in crowd.values()}
    listed: set[str] = set()
    after = None
    while (page := watcher.ask(op="list", after=after)) and page["next"]:
        listed |= {one["token"] for one in page["found"]}
        after = page["next"]
    assert listed >= set(crowd)
