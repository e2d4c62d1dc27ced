"""The client against a real fleet, over every protocol; and against sockets of the test that misbehave."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from services.clients import PROTOCOLS, Client, ClientError, Options, connect
from services.sender import Outcome, Sender
from shared.packets import Packet, encode_packet
from shared.signals import Signal
from tests.fleet.fleet_process import Fleet
from tests.fleet.ports import free_ports

everywhere = pytest.mark.parametrize("protocol", list(PROTOCOLS))
_S = 10.0


@pytest.fixture
def sender(running_fleet: Fleet) -> Iterator[Sender]:
    with Sender(running_fleet.endpoint) as made:
        yield made


@contextmanager
def subscribed(fleet: Fleet, protocol: str, token: str, **options: object) -> Iterator[Client]:
    with connect(protocol, *fleet.address) as wire:
        client = Client(wire, token, Options(**options))  # type: ignore[arg-type]
        client.subscribe(_S)
        yield client
        client.close()


@everywhere
def test_gets_what_is_pushed_in_order(running_fleet: Fleet, sender: Sender, protocol: str):
    token = f"order-{protocol}"
    texts = ["", "hëllo", "x" * 60_000, '{"json": true}'] + [str(number) for number in range(200)]
    with subscribed(running_fleet, protocol, token) as client:
        assert client.token == token
        assert set(sender.push_many([(token, text) for text in texts])) <= {Outcome.SENT, Outcome.BUFFERED}
        got = [client.receive(_S) for _ in texts]
    assert [delivery.payload.decode() for delivery in got if delivery] == texts


@everywhere
def test_everything_granted(running_fleet: Fleet, sender: Sender, protocol: str):
    token, payload = f"granted-{protocol}", bytes(range(256)) * 8
    asked = {"ack": True, "ids": True, "accept": ["deflate"], "base64": True}
    with subscribed(running_fleet, protocol, token, **asked) as client:
        assert "ids" in client.granted
        assert ("ack" in client.granted) == (protocol != "v0")
        assert ("base64" in client.granted) == (protocol == "ws")
        for _ in range(100):  # more than may be unacknowledged
            assert sender.push(token, payload) is Outcome.SENT
            delivery = client.receive(_S)
            assert delivery is not None
            assert delivery.payload == payload
            assert len(delivery.push_id) == 34


@everywhere
def test_no_token_gets_one(running_fleet: Fleet, sender: Sender, protocol: str):
    with connect(protocol, *running_fleet.address) as wire:
        client = Client(wire, None)
        client.subscribe(_S)
        assert client.token
        assert sender.push(client.token, "x") is Outcome.SENT
        assert client.receive(_S) is not None


@everywhere
def test_nothing_pushed_is_none(running_fleet: Fleet, protocol: str):
    with subscribed(running_fleet, protocol, f"quiet-{protocol}") as client:
        assert client.receive(0.05) is None


@everywhere
def test_replaced_and_kicked_say_so(running_fleet: Fleet, sender: Sender, protocol: str):
    token = f"replaced-{protocol}"
    with subscribed(running_fleet, protocol, token) as older, subscribed(running_fleet, protocol, token) as newer:
        with pytest.raises(ClientError, match="a newer connection has its token") as caught:
            older.receive(_S)
        assert caught.value.reason == "replaced"
        assert sender.kick([token]) == [True]
        with pytest.raises(ClientError) as caught:
            newer.receive(_S)
        assert caught.value.reason == "kicked"


@everywhere
def test_a_bad_token_is_refused(running_fleet: Fleet, protocol: str):
    with connect(protocol, *running_fleet.address) as wire, pytest.raises(ClientError, match="status 400"):
        Client(wire, "bad\n").subscribe(_S)


@everywhere
def test_nobody_listens(protocol: str):
    port = free_ports(1)[0]
    with pytest.raises(ClientError, match=f"no gateway answers at 127.0.0.1:{port}: connection refused") as caught:
        connect(protocol, "127.0.0.1", port)
    assert caught.value.reason == "unreachable"


@contextmanager
def gateway_that(does: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A listener of which one connection is treated as `does` says, then ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                does(connection)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


SUBSCRIBED = encode_packet(2, Packet(Signal.SUB, body=b'{"status":200,"token":"a"}'))


def test_gateway_that_hangs_up():
    def hang_up(connection: socket.socket) -> None:
        connection.recv(1000)

    with gateway_that(hang_up) as address, connect("v2", *address) as wire:
        with pytest.raises(ClientError, match="the gateway closed the connection") as caught:
            Client(wire, "a").subscribe(_S)
        assert caught.value.reason == "peer_closed"


def test_the_last_word_is_heard_although_the_connection_is_broken():
    said = SUBSCRIBED + encode_packet(2, Packet(Signal.DISCONNECT, body=b'{"reason":"shutdown"}'))

    def reset(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(said)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = connect("v2", *listener.getsockname())
        connection, _ = listener.accept()
        client = Client(wire, "a")
        thread = threading.Thread(target=reset, args=(connection,))
        thread.start()
        wire.send(Packet(Signal.PING))
        thread.join()
        with pytest.raises(ClientError, match="shutdown"):
            client.subscribe(_S)  # its PING, right behind the answer, cannot be sent
        client.close()


def test_gateway_that_says_nothing():
    def wait_for_the_end(connection: socket.socket) -> None:
        while connection.recv(1000):
            pass

    expected = pytest.raises(ClientError, match=r"did not answer SUB within 0\.1 s")
    with gateway_that(wait_for_the_end) as address, connect("v2", *address) as wire, expected:
        Client(wire, "a").subscribe(0.1)


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n", b"\xf8\x02\x04\xff\xff\xff\xff\x00\x00\x00"])
def test_gateway_that_sends_noise(noise: bytes):
    with gateway_that(lambda connection: connection.sendall(noise)) as address, connect("v2", *address) as wire:
        with pytest.raises(ClientError, match="the gateway sent no packet") as caught:
            Client(wire, "a").subscribe(_S)
        assert caught.value.reason == "bad_protocol"


def test_packets_in_pieces():
    push = encode_packet(2, Packet(Signal.PUSH, body=b"x" * 300))

    def drip(connection: socket.socket) -> None:
        for byte in SUBSCRIBED + push:
            connection.sendall(bytes([byte]))
        connection.recv(1000)

    with gateway_that(drip) as address:
        wire = connect("v2", *address)
        client = Client(wire, "a")
        client.subscribe(_S)
        delivery = client.receive(_S)
        client.close()
    assert delivery is not None
    assert delivery.payload == b"x" * 300


@pytest.mark.parametrize(
    "packet", [Packet(Signal.PUSH, body=b"\xff\xff", compressed=True), Packet(Signal.PUSH, body=b"x", encrypted=True)]
)
def test_bodies_that_cannot_be_read(packet: Packet):
    sent = SUBSCRIBED + encode_packet(2, packet)
    with gateway_that(lambda connection: connection.sendall(sent)) as address, connect("v2", *address) as wire:
        client = Client(wire, "a")
        client.subscribe(_S)
        with pytest.raises(ClientError) as caught:
            client.receive(_S)
        assert caught.value.reason == "bad_body"
