"""What a client carries along when it moves to another worker: unsent output, options, ids, rates, waiting answers."""

import json
import os
import signal
import time
from contextlib import ExitStack

import pytest

from shared import places
from tests.clients import frames
from tests.clients.endings import expect_end
from tests.clients.frames import Frame, encode_frame
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import DISCONNECT, PING, SUB, Packet
from tests.clients.senders import BUFFERED, OVERLOADED, SENT, RawSender
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet, http_answers
from tests.fleet.observations import Closings, counters
from tests.fleet.processes import wait_until
from tests.fleet.test_membership import PREFACE, owned_by

every_kind = pytest.mark.parametrize("kind", KINDS)
two_kinds = pytest.mark.parametrize("kind", ["v1", "ws_camel"])


@every_kind
def test_unsent_output_moves_along(start_fleet: StartFleet, kind: str) -> None:
    """A client that does not read for a while moves twice with a full buffer, and gets every byte in order."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    token = owned_by(0)
    with connect(kind, fleet.address, receive_buffer=4096) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        payloads: list[bytes] = []
        outcome = SENT
        while outcome != OVERLOADED:
            payload = b"%d." % len(payloads) + bytes([65 + len(payloads) % 26]) * 60_000
            outcome = sender.push(token, payload)
            payloads.append(payload)
        payloads.pop()
        assert fleet.stop_worker(0) == 0
        assert sender.find(token)["worker"] == "here/1"
        fleet.start_worker(0)
        fleet.wait_ready(2)
        wait_until(lambda: sender.find(token).get("worker") == "here/0", "the client is back")
        for payload in payloads:
            assert client.read_push().body == payload
        assert sender.push(token, b"after") in (SENT, BUFFERED)
        assert client.read_push().body == b"after"
        assert client.ping(30) == 30


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "v0"])
def test_options_and_unacknowledged_pushes_move_along(start_fleet: StartFleet, kind: str) -> None:
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100, unacknowledged_max=3)
    token = owned_by(0)
    with connect(kind, fleet.address) as client, RawSender(fleet.endpoint) as sender:
        assert set(client.subscribe(token, ack=True, ids=True, uid="alice")["granted"]) == {"ack", "ids"}
        assert client.ping(50) == 50
        assert sender.push_all([(token, b"1"), (token, b"2")]) == bytes([SENT, SENT])
        before = sender.find(token)
        assert fleet.stop_worker(0) == 0
        after = sender.find(token)
        kernel = {"unacknowledged_bytes": after["unacknowledged_bytes"]}  # the client's has acknowledged them meanwhile
        assert after == before | {"worker": "here/1"} | kernel
        assert sender.push_all([(token, b"3"), (token, b"4")]) == bytes([SENT, OVERLOADED])
        pushes = [client.read_push() for _ in range(3)]
        assert [(push.body, push.message_id) for push in pushes] == [(b"1", 1), (b"2", 2), (b"3", 3)]
        assert all(push.push_id.endswith(("-0", "-1")) for push in pushes)
        client.acknowledge(2)
        assert client.ping() == 50
        assert sender.push(token, b"5") == SENT
        assert client.read_push().message_id == 4


@every_kind
def test_copies_are_known_after_a_move_and_by_another_router(start_fleet: StartFleet, kind: str) -> None:
    """A request repeated with its id to a router that has forgotten it is not delivered twice."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100)
    token = owned_by(0)
    with connect(kind, fleet.address) as client:
        client.subscribe(token, ids=True)
        with RawSender(fleet.endpoint, name="repeats") as sender:
            assert sender.push_all([(token, b"1"), (token, b"2")], id="copy") == bytes([SENT, SENT])
        assert fleet.stop_worker(0) == 0
        fleet.kill_router()
        fleet.start_router()
        fleet.wait_ready(1)
        with RawSender(fleet.endpoint, name="repeats") as sender:
            assert sender.push_all([(token, b"1"), (token, b"2")], id="copy") == bytes([SENT, SENT])
            assert sender.push(token, b"3", id="new") == SENT
        assert [client.read_push().body for _ in range(3)] == [b"1", b"2", b"3"]
        wait_until(lambda: counters(fleet)["copies_dropped"] == 2, "copies are counted")


@two_kinds
def test_client_over_its_rate_moves_along(start_fleet: StartFleet, kind: str) -> None:
    """While its input waits, throttled, its worker goes: every question is answered all the same, in order."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100, client_packets_per_s=50)
    with connect(kind, fleet.address) as client:
        client.subscribe(owned_by(0))
        intervals = [20 + number for number in range(180)]
        client.write(b"".join([client.encode(Packet(PING, b'{"interval": %d}' % said)) for said in intervals]))
        assert fleet.stop_worker(0) == 0
        answers = [json.loads(client.read().body) for _ in intervals]
        assert answers == [{"interval": said} for said in intervals]


@two_kinds
def test_heartbeat_deadline_moves_along(start_fleet: StartFleet, kind: str) -> None:
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100, heartbeat_min_s=1)
    with connect(kind, fleet.address) as client:
        client.subscribe(owned_by(0))
        assert client.ping(3) == 3
        said = time.monotonic()
        assert fleet.stop_worker(0) == 0
        closings = Closings(fleet, "heartbeat_timeout")
        assert client.read_disconnect()["reason"] == "heartbeat_timeout"
        assert 3 <= time.monotonic() - said <= 7
        expect_end(client, "heartbeat_timeout")
        closings.expect(1)


# --- landing, in less usual ways


@every_kind
def test_two_subs_in_one_write(shared_fleet: Fleet, kind: str) -> None:
    """The first binds, on whichever worker; the second is answered there."""
    address = str(places.nginx_path(shared_fleet.settings, 0))
    for first, second in ((owned_by(1), owned_by(0)), (owned_by(0), owned_by(1))):
        with connect(kind, address, preface=PREFACE) as client:
            packets = [Packet(SUB, json.dumps({"token": token}).encode()) for token in (first, second, first)]
            client.write(b"".join([client.encode(packet) for packet in packets]))
            assert [json.loads(client.read().body)["status"] for _ in packets] == [200, 409, 200]


@every_kind
def test_sub_and_disconnect_in_one_write(shared_fleet: Fleet, kind: str) -> None:
    token = owned_by(1)
    address = str(places.nginx_path(shared_fleet.settings, 0))
    with connect(kind, address, preface=PREFACE) as client:
        client.write(
            client.encode(Packet(SUB, json.dumps({"token": token}).encode())) + client.encode(Packet(DISCONNECT))
        )
        assert json.loads(client.read().body)["status"] == 200
        expect_end(client, "client_disconnect")
    with RawSender(shared_fleet.endpoint) as sender:
        assert sender.find(token) == {"online": False}


@two_kinds
def test_sub_waits_for_the_first_ring(start_fleet: StartFleet, kind: str) -> None:
    """A worker that knows no ring says so on /health, holds SUB and what follows, and answers when the ring comes."""
    fleet = start_fleet(workers=2)
    fleet.stop_router()
    for index in (0, 1):
        fleet.stop_worker(index, signal.SIGINT)
        fleet.start_worker(index)
    wait_until(lambda: all(os.path.exists(places.hand_over_path(fleet.settings, index)) for index in (0, 1)), "workers")
    wait_until(lambda: http_status(fleet) == 503, "no ring is no health")
    with connect(kind, fleet.address) as client:
        client.write(client.encode(Packet(SUB, b'{"token": "early"}')) + client.encode(Packet(PING)))
        assert client.wire.silent_for(0.5)
        fleet.start_router()
        assert json.loads(client.read().body) == {"status": 200, "token": "early"}
        assert json.loads(client.read().body) == {"interval": 400}
        fleet.wait_ready(2)
        assert http_answers(fleet.host, fleet.client_port, "/health")
        with RawSender(fleet.endpoint) as sender:
            assert sender.push("early", b"bird") == SENT
        assert client.read_push().body == b"bird"


def http_status(fleet: Fleet) -> int:
    """What /health answers; 0 if nobody does."""
    try:
        with connect("v2", fleet.address) as client:
            client.wire.write(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
            return int(client.wire.read_to_end().split()[1])
    except (OSError, IndexError):
        return 0


@two_kinds
def test_sub_that_waits_too_long(start_fleet: StartFleet, kind: str) -> None:
    fleet = start_fleet(workers=1, move_timeout_s=1)
    fleet.stop_router()
    fleet.stop_worker(0, signal.SIGINT)
    fleet.start_worker(0)
    wait_until(lambda: http_status(fleet) == 503, "no ring is no health")
    with connect(kind, fleet.address) as client:
        answer = client.ask(SUB, {"token": "early"})
        assert answer["status"] == 503
        assert answer["message"]
        expect_end(client, "unavailable")
    fleet.start_router()
    fleet.wait_ready(1)


def test_control_frames_do_not_count_as_a_first_message(start_fleet: StartFleet) -> None:
    """A WebSocket that only pings is closed at the hello deadline, also when it does so over its rate."""
    fleet = start_fleet(workers=1, worker_heartbeat_ms=100, hello_timeout_s=2)
    closings = Closings(fleet, "hello_timeout")
    with connect("ws_snake", fleet.address) as client:
        started = time.monotonic()
        while client.wire.is_open():
            assert time.monotonic() - started < 6, "still open"
            client.write(encode_frame(Frame(frames.PING)))
            client.wire.silent_for(0.1)
    closings.expect(1)


def test_fleet_stops_with_everybody_connected(start_fleet: StartFleet) -> None:
    """SIGINT to all workers: every client is told, and all processes end within 5 s."""
    fleet = start_fleet(workers=2)
    with ExitStack() as stack:
        clients = {kind: stack.enter_context(connect(kind, fleet.address)) for kind in KINDS}
        for kind, client in clients.items():
            client.subscribe(f"told-{kind}")
        started = time.monotonic()
        for index in (0, 1):
            fleet.processes[f"gateway-{index}"].send(signal.SIGINT)
        for client in clients.values():
            assert client.read_disconnect()["reason"] == "shutdown"
            expect_end(client, "shutdown")
        for index in (0, 1):
            assert fleet.processes[f"gateway-{index}"].wait(5) == 0
        assert time.monotonic() - started < 5
