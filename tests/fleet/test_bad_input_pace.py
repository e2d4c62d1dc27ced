"""Bad input of clients: too slow, too fast, never reading, too many."""

import time
from collections.abc import Iterator

import pytest

from tests.clients import frames
from tests.clients.frames import Frame, encode_frame
from tests.clients.kinds import connect
from tests.clients.packets import SUB, Packet, encode
from tests.clients.websocket import WebSocket, upgrade_request
from tests.clients.wires import Wire
from tests.fleet.bystanders import Bystanders, bystanders
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings, PeakMemory

HELLO_S = 2


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet for this file, with short deadlines."""
    with Fleet(worker_heartbeat_ms=100, hello_timeout_s=HELLO_S) as started:
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
    drips = iter(encode(2, Packet(SUB, b"x" * 1000)))
    while any([wire.is_open() for wire in wires]):
        assert time.monotonic() - started < 3 * HELLO_S + 3, "still open"
        if drip.is_open():
            drip.write(bytes([next(drips)]))
        wires[0].silent_for(0.2)
        if time.monotonic() - started < HELLO_S - 1:
            assert all([wire.is_open() for wire in wires]), "closed before the deadline"
    for wire in wires:
        wire.close()
    closings.expect(len(wires))


def test_hello_deadline_ends_with_the_first_packet(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as binary, connect("ws_snake", fleet.address) as text:
        assert binary.ping(30) == 30
        assert text.ping(30) == 30
        assert binary.wire.silent_for(HELLO_S + 2)
        assert text.wire.silent_for(0)
