"""permessage-deflate (RFC 7692) with real workers: no context takeover, both directions, also across a hand-over."""

import json
import random
import zlib
from collections.abc import Iterator

import pytest

from shared import places
from tests.clients import frames
from tests.clients.frames import Frame, encode_frame
from tests.clients.packets import PING, PUSH, SUB, Packet
from tests.clients.senders import SENT, RawSender
from tests.clients.websocket import TextClient
from tests.clients.wires import Wire
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.test_membership import PREFACE, owned_by

TAIL = b"\x00\x00\xff\xff"
TAKEOVER = "server_no_context_takeover; client_no_context_takeover"


class DeflatingClient(TextClient):
    """A text client that has agreed on permessage-deflate: compresses all it says, each message by itself."""

    def __init__(self, wire: Wire, offer: str) -> None:
        super().__init__(wire)
        self.offer = offer
        self.compressed: list[bool] = []  # of what was read

    def open(self) -> None:
        self.socket.open({"Sec-WebSocket-Extensions": self.offer})

    @property
    def agreed(self) -> str:
        return self.socket.headers.get("sec-websocket-extensions", "")

    def encode(self, packet: Packet) -> bytes:
        return encode_frame(Frame(frames.TEXT, deflate(self.encode_message(packet)), rsv1=True))

    def read(self) -> Packet:
        frame = self.socket.read_message()
        self.compressed.append(frame.rsv1)
        return self.decode_message(inflate(frame.payload) if frame.rsv1 else frame.payload)


def deflate(data: bytes) -> bytes:
    """The payload of a compressed message."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def inflate(payload: bytes, window_bits: int = 15) -> bytes:
    """A compressed message, by a client with such a window."""
    return zlib.decompressobj(-window_bits).decompress(payload + TAIL)


@pytest.fixture
def client(shared_fleet: Fleet) -> Iterator[DeflatingClient]:
    """A client that has landed on a worker which does not own its token."""
    with Wire(str(places.nginx_path(shared_fleet.settings, 0))) as wire:
        wire.write(PREFACE)
        made = DeflatingClient(wire, "permessage-deflate; client_max_window_bits")
        made.open()
        yield made


def test_pushes_are_compressed_where_it_pays(shared_fleet: Fleet, client: DeflatingClient) -> None:
    assert client.agreed == f"permessage-deflate; {TAKEOVER}"
    token = owned_by(1)
    client.subscribe(token)
    with RawSender(shared_fleet.endpoint) as sender:
        for payload in ("short", "long " * 10_000, "long " * 10_000, "\u6d88\u606f" * 500):
            assert sender.push(token, payload.encode()) == SENT
            assert client.read_push().body == payload.encode()
    assert client.compressed == [False, False, True, True, True]
    assert client.ping(30) == 30


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", f"permessage-deflate; {TAKEOVER}"),
        ("x-webkit-deflate-frame", ""),
        ("permessage-deflate; server_max_window_bits=8", ""),
        ("permessage-deflate; server_max_window_bits=10", f"permessage-deflate; {TAKEOVER}; server_max_window_bits=10"),
        ("permessage-deflate; no_such=1, permessage-deflate", f"permessage-deflate; {TAKEOVER}"),
        ("permessage-deflate; client_max_window_bits=99", ""),
    ],
)
def test_negotiation(shared_fleet: Fleet, offer: str, answer: str) -> None:
    with Wire(shared_fleet.address) as wire:
        client = DeflatingClient(wire, offer)
        client.open()
        assert client.agreed == answer
        if answer:
            assert client.ping(30) == 30


def test_smaller_windows_are_kept_to(shared_fleet: Fleet) -> None:
    """A client with a window of 512 bytes can inflate what comes."""
    numbers = random.Random("window")
    with Wire(shared_fleet.address) as wire, RawSender(shared_fleet.endpoint) as sender:
        client = DeflatingClient(wire, "permessage-deflate; server_max_window_bits=9")
        client.open()
        client.subscribe("small-window")
        text = "".join(numbers.choices("abcdef ", k=20_000)) * 2
        assert sender.push("small-window", text.encode()) == SENT
        frame = client.socket.read_message()
        assert frame.rsv1
        assert json.loads(inflate(frame.payload, 9))["content"] == text


def test_fragments_of_a_compressed_message_move_along(shared_fleet: Fleet, client: DeflatingClient) -> None:
    token = owned_by(1)
    subscribe = client.encode(Packet(SUB, json.dumps({"token": token}).encode()))
    text = deflate(b'{"signal": "PING", "content": {"interval": 40, "filler": "%b"}}' % (b"x" * 5000))
    client.write(subscribe + encode_frame(Frame(frames.TEXT, text[:9], fin=False, rsv1=True)))
    assert json.loads(client.read().body)["status"] == 200
    client.write(encode_frame(Frame(frames.CONTINUATION, text[9:])))
    assert client.read() == Packet(PING, b'{"interval":40}')


def test_switched_off(start_fleet: StartFleet) -> None:
    fleet = start_fleet(permessage_deflate=0)
    with Wire(fleet.address) as wire, RawSender(fleet.endpoint) as sender:
        client = DeflatingClient(wire, "permessage-deflate")
        client.open()
        assert client.agreed == ""
        wire.write(encode_frame(Frame(frames.TEXT, b'{"signal": "SUB", "content": {"token": "plain"}}')))
        assert json.loads(client.read().body)["status"] == 200
        assert sender.push("plain", b"long " * 1000) == SENT
        assert client.read() == Packet(PUSH, b"long " * 1000)
        assert client.compressed == [False, False]
