"""Bad input of clients: announced giants and compressed bombs. They are closed, and memory does not move."""

import zlib
from collections.abc import Iterator

import pytest

from tests.clients import frames
from tests.clients.endings import expect_end
from tests.clients.frames import Frame, encode_frame
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import SUB, Packet, encode
from tests.clients.websocket import WebSocket, WebSocketClient
from tests.clients.wires import Wire
from tests.fleet.bystanders import Bystanders, bystanders
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings, PeakMemory

MIB = 1 << 20
BODY_LIMIT = 1 << 15

every_kind = pytest.mark.parametrize("kind", KINDS)
every_websocket = pytest.mark.parametrize("kind", ["ws_snake", "ws_camel", "ws_binary"])
every_binary = pytest.mark.parametrize("version", [0, 1, 2])


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet for this file, with a limit so small that version 1 can pass it too."""
    with Fleet(worker_heartbeat_ms=100, body_limit_bytes=BODY_LIMIT) as started:
        yield started


@pytest.fixture(autouse=True)
def others(fleet: Fleet) -> Iterator[Bystanders]:
    """Clients of every kind that are served before and after each test."""
    with bystanders(fleet) as found:
        yield found


# --- announced giants


def giants(kind: str) -> list[bytes]:
    """Headers alone, of bodies over the limit."""
    if kind == "v1":
        return [encode(1, Packet(SUB), length) for length in (BODY_LIMIT + 1, 0xFFFF)]
    lengths = (BODY_LIMIT + 1, 1 << 31, 0xFFFF_FFFF)
    if kind in ("v0", "v2"):
        return [encode(int(kind[1]), Packet(SUB), length) for length in lengths]
    opcode = frames.BINARY if kind == "ws_binary" else frames.TEXT
    return [encode_frame(Frame(opcode), length=length) for length in (*lengths, 1 << 40, (1 << 63) - 1)]


@every_kind
def test_body_over_the_limit_is_never_read(fleet: Fleet, kind: str) -> None:
    """The header alone closes the connection; whoever sends the body all the same fills nobody's memory."""
    closings = Closings(fleet, "too_large")
    memory = PeakMemory(fleet)
    for data in giants(kind):
        for body in (b"", b"x" * BODY_LIMIT):
            with connect(kind, fleet.address) as client:
                client.write(data + body)
                expect_end(client, "too_large")
    closings.expect(2 * len(giants(kind)))
    assert memory.growth() < 4 * MIB


@every_websocket
def test_fragments_over_the_limit(fleet: Fleet, kind: str) -> None:
    closings = Closings(fleet, "too_large")
    with connect(kind, fleet.address) as client:
        opcode = client.opcode if isinstance(client, WebSocketClient) else 0
        client.write(encode_frame(Frame(opcode, b"x" * (BODY_LIMIT - 1), fin=False)))
        client.write(encode_frame(Frame(frames.CONTINUATION, b"xx", fin=False)))
        expect_end(client, "too_large")
    closings.expect(1)


def test_endless_request_head(fleet: Fleet) -> None:
    closings = Closings(fleet, "too_large")
    with Wire(fleet.address) as wire:
        wire.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 9000)
        answer = wire.read_to_end()
        assert not answer or answer.startswith(b"HTTP/1.1 431 ")
    closings.expect(1)


def test_many_giants_at_once(fleet: Fleet) -> None:
    """A thousand connections that announce 4 GiB each and send a little of it: memory does not move."""
    closings = Closings(fleet, "too_large")
    memory = PeakMemory(fleet)
    for _ in range(10):
        wires = [Wire(fleet.address) for _ in range(100)]
        for wire in wires:
            wire.write(encode(2, Packet(SUB), 0xFFFF_FFFF) + b"x" * 1000)
        for wire in wires:
            wire.read_to_end()
            wire.close()
    closings.expect(1000)
    assert memory.growth() < 4 * MIB


# --- bombs


def deflated(size: int) -> bytes:
    """Raw DEFLATE of so many zeros."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join([deflater.compress(bytes(MIB)) for _ in range(size // MIB)]) + deflater.flush()


@every_binary
def test_compressed_body_that_inflates_past_the_limit(fleet: Fleet, version: int) -> None:
    closings = Closings(fleet, "too_large")
    memory = PeakMemory(fleet)
    bomb = deflated(16 * MIB)
    assert len(bomb) < BODY_LIMIT
    for _ in range(20):
        with connect(f"v{version}", fleet.address) as client:
            assert client.ping(30) == 30  # version 0 is known by a first byte without flags
            client.write(encode(version, Packet(SUB, bomb, compressed=True)))
            expect_end(client, "too_large")
    closings.expect(20)
    assert memory.growth() < 4 * MIB


@pytest.mark.parametrize("kind", ["v0", "v1", "v2", "ws_binary"])
def test_compressed_body_that_is_not_deflate(fleet: Fleet, kind: str) -> None:
    closings = Closings(fleet, "bad_body")
    with connect(kind, fleet.address) as client:
        assert client.ping(30) == 30
        client.write(client.encode(Packet(SUB, b"\xff\xff\xff", compressed=True)))
        expect_end(client, "bad_body")
    closings.expect(1)


@pytest.mark.parametrize("kind", ["v1", "v2", "ws_binary"])
def test_encrypted_body_without_a_key(fleet: Fleet, kind: str) -> None:
    closings = Closings(fleet, "bad_body")
    with connect(kind, fleet.address) as client:
        client.write(client.encode(Packet(SUB, bytes(40), encrypted=True)))
        expect_end(client, "bad_body")
    closings.expect(1)


@pytest.mark.parametrize("fragments", [1, 7])
def test_compressed_message_that_inflates_past_the_limit(fleet: Fleet, fragments: int) -> None:
    closings = Closings(fleet, "too_large")
    memory = PeakMemory(fleet)
    bomb = deflated(16 * MIB)
    for _ in range(20):
        with Wire(fleet.address) as wire:
            socket = WebSocket(wire)
            socket.open({"Sec-WebSocket-Extensions": "permessage-deflate"})
            step = -(-len(bomb) // fragments)
            for start in range(0, len(bomb), step):
                first, last = start == 0, start + step >= len(bomb)
                opcode = frames.TEXT if first else frames.CONTINUATION
                wire.write(encode_frame(Frame(opcode, bomb[start : start + step], last, rsv1=first)))
            assert socket.read_close() == 1009
    closings.expect(20)
    assert memory.growth() < 4 * MIB
