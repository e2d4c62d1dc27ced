"""Workers and routers come, go, stop and die under clients of every kind."""

import itertools
import json
import os
import signal
import threading
from contextlib import ExitStack

import pytest

from shared import places
from shared.rings import owners_of_slots
from shared.tokens import slot_of
from tests.clients import frames
from tests.clients.endings import expect_end
from tests.clients.frames import Frame, encode_frame
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PING, SUB, Packet
from tests.clients.senders import BUFFERED, OFFLINE, SENT, UNAVAILABLE, UNKNOWN, RawSender
from tests.clients.websocket import WebSocketClient
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import counters
from tests.fleet.processes import wait_until
from tests.fleet.steady_load import DELIVERED, steady_load

every_kind = pytest.mark.parametrize("kind", KINDS)
#: PROXY protocol v1, as nginx says it.
PREFACE = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 6789\r\n"


def owned_by(index: int, workers: int = 2) -> str:
    """A token that worker `index` owns when so many are live."""
    owners = owners_of_slots([f"here/{number}" for number in range(workers)])
    names = (f"token-{number}" for number in itertools.count())
    return next(name for name in names if owners[slot_of(name.encode())] == f"here/{index}")


# --- landing


@every_kind
@pytest.mark.parametrize("landed", [0, 1])
def test_landing_on_the_owner(shared_fleet: Fleet, kind: str, landed: int) -> None:
    """Whatever worker a client lands on, its owner holds it afterwards, with the input that was unread behind SUB."""
    for owner in (0, 1):
        token = owned_by(owner)
        address = str(places.nginx_path(shared_fleet.settings, landed))
        with RawSender(shared_fleet.endpoint) as sender, connect(kind, address, preface=PREFACE) as client:
            packets = [Packet(SUB, json.dumps({"token": token}).encode())]
            packets += [Packet(PING, b'{"interval": %d}' % interval) for interval in (40, 60)]
            client.write(b"".join([client.encode(packet) for packet in packets]))
            assert json.loads(client.read().body) == {"status": 200, "token": token}
            assert [json.loads(client.read().body) for _ in (40, 60)] == [{"interval": 40}, {"interval": 60}]
            found = sender.find(token)
            assert found["worker"] == f"here/{owner}"
            assert found["address"] == "192.0.2.7:40000"
            assert sender.push(token, b"landed") == SENT
            assert client.read_push().body == b"landed"


@every_kind
def test_landing_in_the_middle_of_a_message(shared_fleet: Fleet, kind: str) -> None:
    """What is unread behind SUB ends in the middle of a large message, whose rest comes to the owner."""
    token = owned_by(1)
    address = str(places.nginx_path(shared_fleet.settings, 0))
    with connect(kind, address, preface=PREFACE) as client:
        subscribe = client.encode(Packet(SUB, json.dumps({"token": token}).encode()))
        filler = "x" * 50_000
        ping = client.encode(Packet(PING, json.dumps({"interval": 40, "filler": filler}).encode()))
        client.write(subscribe + ping[:20_000])
        assert json.loads(client.read().body)["status"] == 200
        client.write(ping[20_000:])
        assert json.loads(client.read().body) == {"interval": 40}


@pytest.mark.parametrize("cut", [1, 3, 7, 12])
@every_kind
def test_landing_in_the_middle_of_a_header(shared_fleet: Fleet, kind: str, cut: int) -> None:
    token = owned_by(1)
    address = str(places.nginx_path(shared_fleet.settings, 0))
    with connect(kind, address, preface=PREFACE) as client:
        ping = client.encode(Packet(PING, b'{"interval": 40}'))
        client.write(client.encode(Packet(SUB, json.dumps({"token": token}).encode())) + ping[:cut])
        assert json.loads(client.read().body)["status"] == 200
        client.write(ping[cut:])
        assert json.loads(client.read().body) == {"interval": 40}


def test_landing_amid_fragments(shared_fleet: Fleet) -> None:
    """The first fragment of a message goes along, the others come to the owner; a ping between them is answered."""
    token = owned_by(1)
    address = str(places.nginx_path(shared_fleet.settings, 0))
    with connect("ws_snake", address, preface=PREFACE) as client:
        assert isinstance(client, WebSocketClient)
        subscribe = client.encode(Packet(SUB, json.dumps({"token": token}).encode()))
        text = '{"signal": "PING", "content": {"interval": 40, "name": "\u6d88"}}'.encode()
        middle = text.index("\u6d88".encode()) + 1  # within a character
        client.write(subscribe + encode_frame(Frame(frames.TEXT, text[:middle], fin=False)))
        assert json.loads(client.read().body)["status"] == 200
        client.write(encode_frame(Frame(frames.PING, b"amid")))
        assert client.socket.read_message() == Frame(frames.PONG, b"amid")
        client.write(encode_frame(Frame(frames.CONTINUATION, text[middle:])))
        assert json.loads(client.read().body) == {"interval": 40}


def test_many_land_at_once(fleet: Fleet) -> None:
    """Some hundred connections, all on the worker that does not own them."""
    owners = owners_of_slots(["here/0", "here/1"])
    names = (f"many-{number}" for number in itertools.count())
    tokens = list(itertools.islice((n for n in names if owners[slot_of(n.encode())] == "here/1"), 600))
    address = str(places.nginx_path(fleet.settings, 0))
    with ExitStack() as stack, RawSender(fleet.endpoint) as sender:
        clients = [stack.enter_context(connect("v2", address, preface=PREFACE)) for _ in tokens]
        for client, token in zip(clients, tokens, strict=True):
            client.send(SUB, {"token": token})
        for client, token in zip(clients, tokens, strict=True):
            assert json.loads(client.read().body) == {"status": 200, "token": token}
        assert sender.push_all([(token, token.encode()) for token in tokens]) == bytes([SENT]) * len(tokens)
        for client, token in zip(clients, tokens, strict=True):
            assert client.read_push().body == token.encode()
    wait_until(lambda: counters(fleet)["handed_over"] >= 600, "hand-overs are counted")


# --- the same token again


@pytest.mark.parametrize("newer", ["v2", "ws_snake"])
@every_kind
def test_newer_connection_replaces_the_older(shared_fleet: Fleet, kind: str, newer: str) -> None:
    token = f"replaced-{kind}-{newer}"
    with RawSender(shared_fleet.endpoint) as sender, connect(kind, shared_fleet.address) as first:
        first.subscribe(token)
        with connect(newer, shared_fleet.address) as second:
            second.subscribe(token)
            assert first.read_disconnect()["reason"] == "replaced"
            expect_end(first, "replaced")
            assert sender.push(token, b"to the second") == SENT
            assert second.read_push().body == b"to the second"
            assert second.ping(30) == 30


def test_one_of_many_at_once_stays(shared_fleet: Fleet) -> None:
    with ExitStack() as stack, RawSender(shared_fleet.endpoint) as sender:
        clients = [stack.enter_context(connect("v2", shared_fleet.address)) for _ in range(40)]
        for client in clients:
            client.send(SUB, {"token": "contested"})
        wait_until(lambda: sum(client.wire.is_open() for client in clients) == 1, "one is left")
        (winner,) = [client for client in clients if client.wire.is_open()]
        assert json.loads(winner.read().body)["status"] == 200
        assert sender.push("contested", b"to the one") == SENT
        assert winner.read_push().body == b"to the one"
        assert winner.wire.silent_for(0.1)


# --- workers come and go


def test_worker_added(start_fleet: StartFleet) -> None:
    fleet = start_fleet(worker_heartbeat_ms=100)
    with steady_load(fleet) as load:
        load.pings(0.3)
        fleet.start_worker(2)
        fleet.wait_ready(3)
        load.pings(0.5)
        load.stop()
        assert load.expect_nothing_lost() > 100
        holders = find_workers(fleet, [client.token for client in load.clients])
        assert set(holders) == {"here/0", "here/1", "here/2"}


def find_workers(fleet: Fleet, tokens: list[str]) -> list[str]:
    """Who holds each of these tokens."""
    with RawSender(fleet.endpoint) as sender:
        return [answer["worker"] for answer in sender.info(b"FIND1", *tokens)]


def test_worker_drained(start_fleet: StartFleet) -> None:
    fleet = start_fleet(workers=3, worker_heartbeat_ms=100)
    with steady_load(fleet) as load:
        load.pings(0.3)
        assert fleet.stop_worker(1) == 0
        assert fleet.live_workers() == ["here/0", "here/2"]
        load.pings(0.3)
        load.stop()
        assert load.expect_nothing_lost() > 100
        assert set(find_workers(fleet, [client.token for client in load.clients])) == {"here/0", "here/2"}


def test_every_worker_restarted_in_turn(start_fleet: StartFleet) -> None:
    """A deploy: nobody is disconnected, nothing lost, nothing out of order."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    with steady_load(fleet) as load:
        for index in (0, 1, 0, 1):
            assert fleet.stop_worker(index) == 0
            load.pings(0.1)
            fleet.start_worker(index)
            fleet.wait_ready(2)
            load.pings(0.1)
        load.stop()
        assert load.expect_nothing_lost() > 100


def test_clients_that_are_not_bound_yet_move_too(start_fleet: StartFleet) -> None:
    """A drained worker hands over whoever has not said a token, even in the middle of a first message."""
    fleet = start_fleet(workers=2)
    with ExitStack() as stack:
        address = str(places.nginx_path(fleet.settings, 0))
        clients = {kind: stack.enter_context(connect(kind, address, preface=PREFACE)) for kind in KINDS}
        messages = {
            kind: client.encode(Packet(SUB, json.dumps({"token": f"late-{kind}"}).encode()))
            for kind, client in clients.items()
        }
        for kind, client in clients.items():
            assert client.ping(30) == 30
            client.write(messages[kind][:9])
        assert fleet.stop_worker(0) == 0
        for kind, client in clients.items():
            client.write(messages[kind][9:])
            assert json.loads(client.read().body) == {"status": 200, "token": f"late-{kind}"}
            assert client.ping() == 30


def test_last_worker_drained(start_fleet: StartFleet) -> None:
    """Nobody to take them: clients are told to return, spread over a window; pushes are UNAVAILABLE."""
    fleet = start_fleet(workers=1, retry_after_ms=700)
    with ExitStack() as stack:
        clients = {kind: stack.enter_context(connect(kind, fleet.address)) for kind in KINDS}
        for kind, client in clients.items():
            client.subscribe(f"last-{kind}")
        fleet.processes["gateway-0"].send(signal.SIGTERM)
        for client in clients.values():
            words = client.read_disconnect()
            assert words["reason"] == "shutdown"
            assert 0 <= words["retry_after_ms"] <= 700
            expect_end(client, "shutdown")
        assert fleet.processes["gateway-0"].wait() == 0
    with RawSender(fleet.endpoint) as sender:
        assert sender.push("last-v2", b"anybody?") == UNAVAILABLE


def test_worker_stopped_at_once(start_fleet: StartFleet) -> None:
    """SIGINT: DISCONNECT to every client, and an end within 5 s, also with one that does not read."""
    fleet = start_fleet(workers=1)
    with connect("v2", fleet.address) as client, connect("v2", fleet.address, receive_buffer=4096) as deaf:
        client.subscribe("told")
        deaf.subscribe("deaf")
        with RawSender(fleet.endpoint) as sender:
            while sender.push("deaf", b"x" * 60_000) == SENT:
                pass
        assert fleet.stop_worker(0, signal.SIGINT, seconds=5) == 0
        assert client.read_disconnect()["reason"] == "shutdown"


def expect_back(fleet: Fleet, token: str) -> None:
    """A client that lost its connection can connect again and is served."""
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        assert sender.push(token, b"again") == SENT
        assert client.read_push().body == b"again"


def test_timeout_of_a_request(start_fleet: StartFleet) -> None:
    """What a worker has when the time is over is UNKNOWN; the answer comes in time."""
    fleet = start_fleet(workers=1, worker_timeout_ms=60_000)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe("late")
        pid = fleet.worker_pid(0)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert sender.push("late", b"1", timeout_ms=300) == UNKNOWN
        finally:
            os.kill(pid, signal.SIGCONT)
        assert client.read_push().body == b"1"


# --- the router


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_router_restarted(start_fleet: StartFleet, number: signal.Signals) -> None:
    """Workers register again; clients notice nothing; senders go on by the same connection."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    with ExitStack() as stack, RawSender(fleet.endpoint, deadline=20) as sender:
        clients = {kind: stack.enter_context(connect(kind, fleet.address)) for kind in KINDS}
        for kind, client in clients.items():
            client.subscribe(f"before-{kind}")
        assert sender.push("before-v2", b"1") == SENT
        assert clients["v2"].read_push().body == b"1"
        fleet.stop_router(number=number)
        for client in clients.values():
            assert client.ping(30) == 30
        with connect("v2", fleet.address) as meanwhile:
            meanwhile.subscribe("meanwhile")  # the ring of before still holds
            fleet.start_router()
            fleet.wait_ready(2)
            assert sender.push("meanwhile", b"2") == SENT
            assert meanwhile.read_push().body == b"2"
        for kind, client in clients.items():
            assert sender.push(f"before-{kind}", b"3") == SENT
            assert client.read_push().body == b"3"


def test_requests_wait_for_the_first_ring(start_fleet: StartFleet) -> None:
    """A new router gathers its workers first; what comes meanwhile is not OFFLINE but waits."""
    fleet = start_fleet(workers=2, ring_settle_ms=3000)
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint, deadline=20) as sender:
        client.subscribe("early")
        fleet.stop_router()
        fleet.start_router()
        outcomes = sender.push_all([("early", b"1"), ("nobody", b"2")], timeout_ms=20_000)
        assert outcomes == bytes([SENT, OFFLINE])
        assert client.read_push().body == b"1"


def test_no_worker_at_all(start_fleet: StartFleet) -> None:
    fleet = start_fleet(workers=1)
    fleet.stop_worker(0)
    with RawSender(fleet.endpoint) as sender:
        assert sender.push_all([("alice", b"x"), (b"\0", b"x"), ("bob", b"x")]) == bytes([UNAVAILABLE, 8, UNAVAILABLE])
    fleet.start_worker(0)
    fleet.wait_ready(1)
    expect_back(fleet, "alice")


def test_pushes_meet_clients_on_their_way(start_fleet: StartFleet) -> None:
    """Pushes of one sender to a token that moves to and fro: delivered in order, or certainly not; never OFFLINE."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    stop = threading.Event()
    with connect("v2", fleet.address) as client, RawSender(fleet.endpoint, deadline=30) as sender:
        client.subscribe(owned_by(2, 3))
        outcomes = bytearray()

        def push() -> None:
            while not stop.is_set():
                first = len(outcomes)
                batch = [(owned_by(2, 3), b"%d" % number) for number in range(first, first + 20)]
                outcomes.extend(sender.done(sender.send_packed(batch))[0])

        thread = threading.Thread(target=push)
        thread.start()
        try:
            for _ in range(3):
                fleet.start_worker(2)
                fleet.wait_ready(3)
                assert fleet.stop_worker(2) == 0
        finally:
            stop.set()
            thread.join(30)
        assert set(outcomes) <= {SENT, BUFFERED, UNAVAILABLE}
        delivered = [number for number, outcome in enumerate(outcomes) if outcome in DELIVERED]
        assert [int(client.read_push().body) for _ in delivered] == delivered
        assert client.ping(30) == 30
