"""Bad input of clients: too slow, too fast, never reading, too many."""

import contextlib
import os
import resource
import time
from collections.abc import Iterator

import pytest

from tests.clients import frames
from tests.clients.frames import Frame, encode_frame
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PING, SUB, Packet, encode
from tests.clients.senders import BUFFERED, OFFLINE, OVERLOADED, SENT, RawSender
from tests.clients.websocket import WebSocket, upgrade_request
from tests.clients.wires import Wire
from tests.fleet.bystanders import Bystanders, bystanders
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings, PeakMemory, counters
from tests.fleet.processes import wait_until

HELLO_S = 2
OUT_BUFFER = 256 * 1024
PACKETS_PER_S, BYTES_PER_S = 200, 256 * 1024
#: What a push to a well-behaved client may take beside a misbehaving one, seconds.
QUICK_S = 0.25


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet for this file, with short deadlines and small bounds."""
    settings = {
        "hello_timeout_s": HELLO_S,
        "slow_consumer_s": 1,
        "out_buffer_bytes": OUT_BUFFER,
        "client_packets_per_s": PACKETS_PER_S,
        "client_bytes_per_s": BYTES_PER_S,
        "recent_messages_max": 0,  # what `pushctl explain` is told of has its own bound
    }
    with Fleet(worker_heartbeat_ms=100, **settings) as started:
        yield started


@pytest.fixture(autouse=True)
def others(fleet: Fleet) -> Iterator[Bystanders]:
    """Clients of every kind that are served before and after each test."""
    with bystanders(fleet) as found:
        yield found


# --- silence

SILENT = {
    "nothing": b"",
    "half a version 2 header": encode(2, Packet(SUB))[:5],
    "half a version 0 header": encode(0, Packet(SUB))[:2],
    "magic alone": b"\xf8",
    "a header without its body": encode(1, Packet(SUB, b'{"token": "silent"}'))[:10],
    "half a request": upgrade_request(b"dGhlIHNhbXBsZSBub25jZQ==")[:50],
    "G": b"G",
}


def test_silence(fleet: Fleet) -> None:
    """Connections that do not get to the end of their first packet, with or without a byte now and then."""
    closings = Closings(fleet, "hello_timeout")
    started = time.monotonic()
    wires = []
    for data in SILENT.values():
        wires.append(Wire(fleet.address))
        wires[-1].write(data)
    drip = Wire(fleet.address)
    opened = WebSocket(Wire(fleet.address))
    opened.open()
    half = WebSocket(Wire(fleet.address))
    half.open()
    half.wire.write(encode_frame(Frame(frames.TEXT, b'{"signal": "PING"}'))[:8])
    wires += [drip, opened.wire, half.wire]
    drips = iter(encode(2, Packet(SUB, b"x" * (1 << 19))))  # never whole, even when nothing below waits any more
    while any(wire.is_open() for wire in wires):
        assert time.monotonic() - started < 3 * HELLO_S + 3, "still open"
        if drip.is_open():
            drip.write(bytes([next(drips)]))
        wires[0].silent_for(0.2)
        if time.monotonic() - started < HELLO_S - 1:
            assert all(wire.is_open() for wire in wires), "closed before the deadline"
    for wire in wires:
        wire.close()
    closings.expect(len(wires))


def test_hello_deadline_ends_with_the_first_packet(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as binary, connect("ws_snake", fleet.address) as text:
        assert binary.ping(30) == 30
        assert text.ping(30) == 30
        assert binary.wire.silent_for(HELLO_S + 2)
        assert text.wire.silent_for(0)


# --- clients that do not read


@pytest.mark.parametrize("kind", KINDS)
def test_client_that_never_reads(fleet: Fleet, others: Bystanders, kind: str) -> None:
    """SENT until the kernel is full, BUFFERED until the out-buffer is, OVERLOADED, then closed and OFFLINE."""
    closings = Closings(fleet, "slow_consumer")
    memory = PeakMemory(fleet)
    token, payload = f"never-reads-{kind}", b"x" * 16_000
    outcomes = bytearray()
    with connect(kind, fleet.address, receive_buffer=4096) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe(token)
        deadline = time.monotonic() + 20
        while not outcomes.endswith(bytes([OFFLINE])):
            assert time.monotonic() < deadline, outcomes
            outcomes += sender.push_all([(token, payload)] * 4)
            assert others.check() < QUICK_S
        # Only what the kernel and the out-buffer hold was said to be on its way, and it is what arrives.
        taken = outcomes.count(SENT) + outcomes.count(BUFFERED)
        assert outcomes == bytes(
            [SENT] * outcomes.count(SENT)
            + [BUFFERED] * outcomes.count(BUFFERED)
            + [OVERLOADED] * outcomes.count(OVERLOADED)
            + [OFFLINE] * outcomes.count(OFFLINE)
        )
        assert OUT_BUFFER // 2 < outcomes.count(BUFFERED) * len(payload) <= OUT_BUFFER + len(payload)
        assert outcomes.count(OVERLOADED) > 0
        arrived = 0
        with contextlib.suppress(EOFError, ConnectionError, AssertionError):
            while client.read_push().body == payload:
                arrived += 1
        assert arrived <= taken
    closings.expect(1)
    assert memory.growth() < 4 * OUT_BUFFER


def test_client_that_reads_again_in_time_stays(fleet: Fleet) -> None:
    """BUFFERED is kept word: everything that was not OVERLOADED arrives, in order."""
    closings = Closings(fleet, "slow_consumer")
    with connect("v2", fleet.address, receive_buffer=4096) as client, RawSender(fleet.endpoint) as sender:
        client.subscribe("reads-late")
        outcomes, sent = bytearray(), []
        while OVERLOADED not in outcomes:
            payload = b"%d." % len(outcomes) + b"x" * 16_000
            sent.append(payload)
            outcomes += sender.push_all([("reads-late", payload)])
        for payload, outcome in zip(sent, outcomes, strict=True):
            if outcome != OVERLOADED:
                assert client.read_push().body == payload
        assert sender.push("reads-late", b"after") == SENT
        assert client.read_push().body == b"after"
    closings.expect(0)


def test_client_that_asks_and_never_reads_the_answers(fleet: Fleet, others: Bystanders) -> None:
    """Its answers fill the bounds; it is closed or throttled, never held in growing memory."""
    ask_without_reading(fleet, others, 1)  # what a worker does for the first time costs it memory once
    memory = PeakMemory(fleet)
    ask_without_reading(fleet, others, 3)
    assert memory.growth() < 4 * OUT_BUFFER


def ask_without_reading(fleet: Fleet, others: Bystanders, seconds: float) -> None:
    """PINGs without end, from a client that takes no answer."""
    ping = encode(2, Packet(PING, b'{"interval": 30}'))
    with connect("v2", fleet.address, receive_buffer=4096) as client:
        client.wire.socket.setblocking(False)
        end = time.monotonic() + seconds
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                with contextlib.suppress(BlockingIOError):
                    client.wire.socket.send(ping * 100)
                assert others.check() < QUICK_S


# --- clients that send without end


def flood(kind: str, fleet: Fleet, others: Bystanders, packet: Packet, seconds: float) -> tuple[int, float]:
    """Write `packet` as fast as the worker takes it, reading the answers; (answers, seconds that it took)."""
    answers = 0
    with connect(kind, fleet.address) as client:
        data = client.encode(packet) * 20
        waiting = b""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            client.wire.socket.setblocking(False)
            waiting = waiting or data
            with contextlib.suppress(BlockingIOError):
                waiting = waiting[client.wire.socket.send(waiting) :]
            client.wire.socket.setblocking(True)
            assert client.wire.is_open()
            assert others.check() < QUICK_S
            while client.wire.buffered >= 64:
                assert client.read().signal == packet.signal
                answers += 1
        return answers, time.monotonic() - started


@pytest.mark.parametrize("kind", ["v0", "v2", "ws_snake"])
def test_packets_without_end(fleet: Fleet, others: Bystanders, kind: str) -> None:
    throttled = counters(fleet)["throttled"]
    answers, seconds = flood(kind, fleet, others, Packet(PING, b'{"interval": 30}'), 3.0)
    assert PACKETS_PER_S < answers <= PACKETS_PER_S * (seconds + 2)
    wait_until(lambda: counters(fleet)["throttled"] > throttled, "throttling is counted")


def test_bytes_without_end(fleet: Fleet, others: Bystanders) -> None:
    body = b'{"interval": 30, "filler": "' + b"x" * 60_000 + b'"}'
    answers, seconds = flood("v2", fleet, others, Packet(PING, body), 3.0)
    assert BYTES_PER_S < answers * len(body) <= BYTES_PER_S * (seconds + 2) + len(body)


def test_flood_goes_on_when_its_time_comes(fleet: Fleet) -> None:
    """What is over the rate is answered later, all of it and in order: nothing is lost."""
    with connect("v2", fleet.address) as client:
        intervals = [20 + number % 300 for number in range(3 * PACKETS_PER_S)]
        client.write(b"".join([client.encode(Packet(PING, b'{"interval": %d}' % said)) for said in intervals]))
        assert [client.read().body for _ in intervals] == [b'{"interval":%d}' % said for said in intervals]


# --- descriptors used up


def test_every_descriptor_used_up(start_fleet: StartFleet) -> None:
    """Accepting pauses and resumes; those who are in are served; one WARNING, not one a try."""
    fleet = start_fleet(workers=1, worker_heartbeat_ms=100, hello_timeout_s=60)
    resource.prlimit(fleet.worker_pid(0), resource.RLIMIT_NOFILE, (150, 150))
    with bystanders(fleet, "early") as early:
        wires = [Wire(fleet.address) for _ in range(300)]
        wait_until(lambda: counters(fleet)["accept_pauses"] >= 3, "accepting pauses")
        assert len(os.listdir(f"/proc/{fleet.worker_pid(0)}/fd")) <= 150
        early.check()
        wait_until(lambda: "WARNING gateway.acceptors" in fleet.log("gateway-0"), "a log line")
        assert fleet.log("gateway-0").count("WARNING gateway.acceptors") == 1
        late = Wire(fleet.address)
        late.write(encode(2, Packet(PING)))
        assert late.silent_for(1.5)
        for wire in wires:
            wire.close()
        assert late.read_exactly(10)[:3] == b"\xf8\x02\x03"
        late.close()
        early.check()
    assert fleet.log("gateway-0").count("WARNING gateway.acceptors") == 1


def test_descriptor_limit_at_start(start_fleet: StartFleet) -> None:
    """A worker that starts under a small limit keeps some for itself: hand-overs and bus go on."""
    fleet = start_fleet(workers=2, worker_heartbeat_ms=100, hello_timeout_s=60)
    for index in (0, 1):
        resource.prlimit(fleet.guardian_pid(index), resource.RLIMIT_NOFILE, (256, 256))
        fleet.kill_worker(index)
    fleet.wait_ready()
    with bystanders(fleet, "early") as early:
        wires = [Wire(fleet.address) for _ in range(600)]
        wait_until(lambda: counters(fleet)["accept_pauses"] >= 2, "accepting pauses")
        early.check()
        assert early.sender.find("early-v2")["online"]
        for wire in wires:
            wire.close()
        with connect("v2", fleet.address, deadline=20) as late:
            late.subscribe("late")
    for index in (0, 1):
        assert fleet.log(f"gateway-{index}").count("WARNING gateway.acceptors") <= 1
