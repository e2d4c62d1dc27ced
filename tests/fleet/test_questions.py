"""FIND1, KICK1, STAT1, HELLO1 and pushes to all, as a sender sees them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import shared
from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PUBLISH
from tests.clients.senders import OFFLINE, SENT, RawSender
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until


@pytest.fixture
def fleet(start_fleet: StartFleet) -> Fleet:
    """A fleet of the test's own: it counts everybody."""
    return start_fleet(workers=3, worker_heartbeat_ms=100)


@pytest.fixture
def sender(fleet: Fleet) -> Iterator[RawSender]:
    with RawSender(fleet.endpoint, name="asks") as made:
        yield made


@pytest.fixture
def clients(fleet: Fleet) -> Iterator[dict[str, Conversation]]:
    """Four bound clients of every kind, by token."""
    with ExitStack() as stack:
        made = {}
        for kind in KINDS:
            for number in range(4):
                made[f"{kind}-{number}"] = stack.enter_context(connect(kind, fleet.address))
        for token, client in made.items():
            client.subscribe(token)
        yield made


def test_hello(sender: RawSender, fleet: Fleet) -> None:
    said = sender.hello("somebody else")
    assert said["version"] == shared.__version__
    assert said["max_frame_bytes"] == fleet.settings.max_frame_bytes
    assert said["limits"]["max_targets"] == fleet.settings.max_targets


def test_find_and_kick_in_order(sender: RawSender, clients: dict[str, Conversation]) -> None:
    """Answers are in the order of the tokens, whichever workers they come from; the same token twice is fine."""
    tokens = [token for known in clients for token in (known, "nobody")] + ["v2-0"]
    found = sender.info(b"FIND1", *tokens)
    assert [answer["online"] for answer in found] == [True, False] * len(clients) + [True]
    for token, answer in zip(tokens, found, strict=True):
        if answer["online"]:
            assert answer["protocol"] == clients[token].protocol
            assert answer["address"] == clients[token].wire.local_address
    assert {answer.get("worker") for answer in found} == {"here/0", "here/1", "here/2", None}
    assert sender.info(b"KICK1", "v2-1", "nobody", "v0-1", "v2-1") == [True, False, True, False]
    for token in ("v2-1", "v0-1"):
        assert clients[token].read_disconnect()["reason"] == "kicked"
    assert sender.push_all([("v2-1", b""), ("v2-2", b"")]) == bytes([OFFLINE, SENT])


def test_figures(sender: RawSender, clients: dict[str, Conversation]) -> None:
    def connections() -> dict[str, int]:
        return sender.stat()["totals"]["connections"]

    wanted = {"v0": 4, "v1": 4, "v2": 4, "ws_text": 8, "ws_binary": 4, "unbound": 0, "all": 24}
    wait_until(lambda: connections() == wanted, "every client is counted")
    figures = sender.stat()
    assert figures["workers"].keys() == {"here/0", "here/1", "here/2"}
    assert sum(worker["slots"] for worker in figures["workers"].values()) == 4096
    assert {worker["state"] for worker in figures["workers"].values()} == {"live"}
    before = figures["router"]["counters"]["pushes"]
    sender.push_all([("v2-0", b"x")] * 7)
    figures = sender.stat()
    assert figures["router"]["counters"]["pushes"] == before + 7
    assert figures["router"]["unanswered_requests"] == 0


def test_push_to_all(sender: RawSender, clients: dict[str, Conversation]) -> None:
    """Everybody bound gets it once; the counts say so."""
    request = sender.send_push([("ignored", b"to everybody")], to="all")
    outcomes, detail = sender.done(request)
    assert outcomes == bytes([SENT])
    assert detail["matched"] == detail["sent"] == len(clients)
    for client in clients.values():
        assert client.read_push().body == b"to everybody"
    assert not any(client.wire.buffered or not client.wire.silent_for(0) for client in clients.values())


def test_push_to_all_that_not_everybody_can_have(sender: RawSender, clients: dict[str, Conversation]) -> None:
    """Not text: refused for the text clients alone. Over 65,535 bytes: too large for version 1 alone."""
    for payload, name, kinds in (
        (b"\xff", "refused", ("ws_snake", "ws_camel")),
        (b"x" * 70_000, "too_large", ("v1",)),
    ):
        outcomes, detail = sender.done(sender.send_push([("", payload)], to="all"))
        assert outcomes == bytes([SENT])
        assert detail["matched"] == len(clients)
        assert detail[name] == 4 * len(kinds)
        assert detail["sent"] + detail["buffered"] == len(clients) - 4 * len(kinds)
        for token, client in clients.items():
            if token.rpartition("-")[0] not in kinds:
                assert client.read_push().body == payload


def test_push_to_all_where_nobody_is(sender: RawSender) -> None:
    outcomes, detail = sender.done(sender.send_push([("", b"anybody?")], to="all"))
    assert outcomes == bytes([OFFLINE])
    assert detail["matched"] == 0


def test_topic_to_all(sender: RawSender, clients: dict[str, Conversation]) -> None:
    """A PUBLISH is for everybody who has that signal; version 0 has not."""
    _, detail = sender.done(sender.send_push([("", b"{}")], to="all", signal="PUBLISH", sub_signal="FN"))
    assert detail["sent"] == 20
    for token, client in clients.items():
        if not token.startswith("v0"):
            packet = client.read()
            assert (packet.signal, packet.sub_signal, packet.body) == (PUBLISH, 20, b"{}")


def test_repeated_push_to_all(sender: RawSender, clients: dict[str, Conversation]) -> None:
    """The same id again is not a second broadcast."""
    for _ in range(3):
        outcomes, detail = sender.done(sender.send_push([("", b"once")], to="all", id="broadcast"))
        assert outcomes == bytes([SENT])
        assert detail["sent"] == len(clients)
    for client in clients.values():
        assert client.read_push().body == b"once"
        assert client.ping(30) == 30


def test_everybody_gets_each_broadcast_once_while_moving(fleet: Fleet, sender: RawSender) -> None:
    """Broadcasts during hand-overs: exactly once for each client, in order."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(kind, fleet.address)) for kind in KINDS for _ in range(30)]
        for number, client in enumerate(clients):
            client.subscribe(f"mover-{number}")
        count = 0
        for action in (lambda: fleet.start_worker(3), lambda: fleet.processes["gateway-1"].send(15)):
            action()
            for _ in range(150):
                outcomes, _ = sender.done(sender.send_push([("", b"%d" % count)], to="all"))
                assert outcomes == bytes([SENT])
                count += 1
        fleet.wait_ready(3)
        for client in clients:
            assert [int(client.read_push().body) for _ in range(count)] == list(range(count))
            assert client.ping(30) == 30


def test_answers_go_to_whom_they_belong(fleet: Fleet) -> None:
    """Two senders with the same request ids at the same time."""
    with RawSender(fleet.endpoint) as one, RawSender(fleet.endpoint) as other, connect("v2", fleet.address) as client:
        client.subscribe("there")
        for _ in range(50):
            one.send_push([("there", b"")], b"same")
            other.send_push([("nobody", b"")], b"same")
        for _ in range(50):
            assert one.done(b"same")[0] == bytes([SENT])
            assert other.done(b"same")[0] == bytes([OFFLINE])


def test_push1_and_push2_are_the_same(fleet: Fleet, sender: RawSender) -> None:
    """Also to the idempotency of a request: sent as PUSH1, repeated as PUSH2."""
    with connect("v2", fleet.address) as client:
        client.subscribe("either")
        pairs = [("either", b"1"), ("nobody", b"2"), ("either", b"3")]
        assert sender.done(sender.send_push(pairs, id="form"))[0] == bytes([SENT, OFFLINE, SENT])
        assert sender.done(sender.send_packed(pairs, id="form"))[0] == bytes([SENT, OFFLINE, SENT])
        assert [client.read_push().body for _ in range(2)] == [b"1", b"3"]
        assert client.wire.silent_for(0.1)
