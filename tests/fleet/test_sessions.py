"""What each signal does, over real sockets, for every kind of client."""

import base64
import json
import random
import re
import time
import zlib
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.clients import frames
from tests.clients.endings import expect_end
from tests.clients.frames import Frame, close_code, encode_frame
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import (
    CONNECT,
    CONNECT_ACK,
    CONTACT,
    DISCONNECT,
    PING,
    PUB_ACK,
    PUBLISH,
    SUB,
    SUB_SIGNALS,
    Packet,
)
from tests.clients.senders import BUFFERED, OFFLINE, OVERLOADED, REFUSED, SENT, TOO_LARGE, RawSender
from tests.clients.websocket import TextClient, WebSocketClient, read_response, upgrade_request
from tests.clients.wires import Wire
from tests.fleet.conftest import StartFleet
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings
from tests.fleet.processes import wait_until

every_kind = pytest.mark.parametrize("kind", KINDS)
every_text = pytest.mark.parametrize("kind", ["ws_snake", "ws_camel"])
every_packet_kind = pytest.mark.parametrize("kind", ["v0", "v1", "v2", "ws_binary"])
all_but_v0 = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "v0"])


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet for this file, whose heartbeat deadlines are short and whose counters come quickly."""
    with Fleet(worker_heartbeat_ms=100, heartbeat_min_s=1, unacknowledged_max=8) as started:
        yield started


@pytest.fixture
def sender(fleet: Fleet) -> Iterator[RawSender]:
    """A sender with a name."""
    with RawSender(fleet.endpoint, name="sessions") as made:
        yield made


def new_token(kind: str) -> str:
    """A token that no other test has."""
    return f"{kind}-{random.getrandbits(64):x}"


# --- SUB


@every_kind
def test_sub_without_a_token_gets_one(fleet: Fleet, sender: RawSender, kind: str) -> None:
    tokens = set()
    for fields in (None, {}, {"token": None}):
        with connect(kind, fleet.address) as client:
            answer = client.ask(SUB, fields)
            assert answer.keys() == {"status", "token"}
            assert re.fullmatch("[0-9a-f]{32}", answer["token"])
            tokens.add(answer["token"])
            assert sender.push(answer["token"], b"found") == SENT
            assert client.read_push().body == b"found"
    assert len(tokens) == 3


@every_kind
def test_sub_again(fleet: Fleet, kind: str) -> None:
    """The same token answers 200 and may add options; another answers 409, and the connection stays as it was."""
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        client.subscribe(token)
        assert client.ask(SUB, {"token": token}) == {"status": 200, "token": token}
        assert client.ask(SUB, {"token": token, "ids": True}) == {"status": 200, "token": token, "granted": ["ids"]}
        refused = client.ask(SUB, {"token": token + "-other"})
        assert refused["status"] == 409
        assert refused["message"]
        assert client.ping(30) == 30


@every_kind
def test_uid_and_address_are_found(fleet: Fleet, sender: RawSender, kind: str) -> None:
    token, before = new_token(kind), time.time() * 1000
    with connect(kind, fleet.address) as client:
        client.subscribe(token, uid="user-7")
        found = sender.find(token)
        window = {"unacknowledged", "unacknowledged_bytes"}
        assert found.keys() == {"online", "worker", "protocol", "address", "since", "uid"} | window
        assert found["online"] is True
        assert found["worker"] in ("here/0", "here/1")
        assert found["protocol"] == client.protocol
        assert found["address"] == client.wire.local_address
        assert before - 1 <= found["since"] <= time.time() * 1000 + 1
        assert found["uid"] == "user-7"
    wait_until(lambda: sender.find(token) == {"online": False}, "gone")
    assert sender.push(token, b"anybody?") == OFFLINE


@all_but_v0
def test_message_ids_of_requests_come_back(fleet: Fleet, kind: str) -> None:
    with connect(kind, fleet.address) as client:
        assert client.ask(PING, {"interval": 30}, message_id=7) == {"interval": 30}
        assert client.ask(SUB, {"token": new_token(kind)}, message_id=65_535)["status"] == 200
        assert client.ask(CONTACT, {"type": 0, "to": "bob", "message": "hi"}, message_id=9)["status"] == 503


# --- PING and deadlines


@every_kind
def test_ping_answers_the_interval_that_will_be_honoured(fleet: Fleet, kind: str) -> None:
    """1.5 x interval is clamped to 1 .. 600 s here; 400 until something is said."""
    with connect(kind, fleet.address) as client:
        assert client.ping() == 400
        for said, honoured in {30: 30, 31: 31, 7: 7, 1: 1, 90_000: 400, 10**15: 400, 60: 60}.items():
            assert client.ping(said) == honoured
        assert client.ping() == 60
        for wrong in (0, -1, "30", True, [30]):
            assert client.ask(PING, {"interval": wrong})["status"] == 400
        assert client.ping() == 60


@every_kind
def test_silence_over_the_deadline(fleet: Fleet, kind: str) -> None:
    """1.5 s after the last whole packet, and not before; whoever goes on asking stays."""
    closings = Closings(fleet, "heartbeat_timeout")
    with connect(kind, fleet.address) as client, connect(kind, fleet.address) as lively:
        client.subscribe(new_token(kind))
        lively.subscribe(new_token(kind))
        assert lively.ping(1) == 1
        assert client.ping(1) == 1
        last = time.monotonic()
        while client.wire.is_open():
            assert time.monotonic() - last < 4.5
            assert lively.ping() == 1
            lively.wire.silent_for(0.1)
        assert time.monotonic() - last > 0.9
        assert client.read_disconnect()["reason"] == "heartbeat_timeout"
        expect_end(client, "heartbeat_timeout")
        assert lively.ping() == 1
    closings.expect(1)


@every_text
def test_other_heartbeats_of_text_clients(fleet: Fleet, kind: str) -> None:
    """A WebSocket ping is answered by a pong, a bare text by nothing; each moves the deadline."""
    with connect(kind, fleet.address) as client:
        assert isinstance(client, WebSocketClient)
        client.subscribe(new_token(kind))
        assert client.ping(1) == 1
        end = time.monotonic() + 3.5
        for text in ["心跳内容", "ping"] * 20:
            if time.monotonic() > end:
                break
            client.write(encode_frame(Frame(frames.TEXT, text.encode())))
            assert client.wire.silent_for(0.2)
            client.write(encode_frame(Frame(frames.PING, text.encode())))
            assert client.socket.read_message() == Frame(frames.PONG, text.encode())
        assert time.monotonic() > end
        assert client.ping() == 1


# --- acknowledgements


@all_but_v0
def test_acknowledged_pushes(fleet: Fleet, sender: RawSender, kind: str) -> None:
    """message_id 1, 2, ...; at most so many unacknowledged; each PUB_ACK makes room for one."""
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        assert client.subscribe(token, ack=True)["granted"] == ["ack"]
        assert sender.push_all([(token, b"%d" % number) for number in range(10)]) == bytes(
            [SENT] * 8 + [OVERLOADED] * 2
        )
        pushes = [client.read_push() for _ in range(8)]
        assert [push.message_id for push in pushes] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert [push.body for push in pushes] == [b"%d" % number for number in range(8)]
        assert sender.push(token, b"full") == OVERLOADED
        client.acknowledge(3)
        client.acknowledge(3)
        client.acknowledge(60_000)
        assert client.ping(30) == 30
        assert sender.push_all([(token, b"ninth"), (token, b"tenth")]) == bytes([SENT, OVERLOADED])
        assert client.read_push()[1:4] == (b"ninth", 0, 9)


def test_version_0_cannot_acknowledge(fleet: Fleet, sender: RawSender) -> None:
    token = new_token("v0")
    with connect("v0", fleet.address) as client:
        assert client.subscribe(token, ack=True) == {"status": 200, "token": token, "granted": []}
        assert sender.push_all([(token, b"x")] * 20) == bytes([SENT]) * 20


@pytest.mark.parametrize("kind", ["v1", "ws_binary"])
def test_message_ids_wrap(start_fleet: StartFleet, kind: str) -> None:
    """After 65,535 comes 1 again, but not while it is unacknowledged."""
    fleet = start_fleet(workers=1, unacknowledged_max=1000, client_packets_per_s=10**6)
    with RawSender(fleet.endpoint) as sender, connect(kind, fleet.address) as client:
        client.subscribe("wraps", ack=True)
        assert sender.push("wraps", b"never acknowledged") == SENT
        assert client.read_push().message_id == 1
        expected = [*range(2, 65_536), *range(2, 2000)]
        for start in range(0, len(expected), 900):
            part = expected[start : start + 900]
            request = sender.send_packed([("wraps", b"")] * len(part))
            assert [client.read_push().message_id for _ in part] == part
            assert sender.done(request)[0] == bytes([SENT]) * len(part)
            client.write(b"".join([client.encode(Packet(PUB_ACK, message_id=each)) for each in part]))
            assert client.ping(30) == 30


# --- push ids


@every_kind
def test_push_ids(fleet: Fleet, sender: RawSender, kind: str) -> None:
    """SHA-256 over name, NUL, id, and the index; random without id, and of one form."""
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        assert client.subscribe(token, ids=True)["granted"] == ["ids"]
        request = sender.send_push([("nobody", b""), (token, b"first"), (token, b"second")], id=token)
        prefix = sha256(b"sessions\0" + token.encode()).hexdigest()[:32]
        for index, body in ((1, b"first"), (2, b"second")):
            push = client.read_push()
            assert (push.push_id, push.body) == (f"{prefix}-{index}", body)
        assert sender.done(request)[0] == bytes([OFFLINE, SENT, SENT])
        seen = set()
        for _ in range(3):
            assert sender.push(token, b"x") == SENT
            push = client.read_push()
            assert re.fullmatch("[0-9a-f]{32}-0", push.push_id)
            seen.add(push.push_id)
        assert len(seen) == 3


@every_kind
def test_repeated_request(fleet: Fleet, sender: RawSender, kind: str) -> None:
    """The same id again: the first outcomes, and no second delivery, also from another connection of that name."""
    token = new_token(kind)
    with connect(kind, fleet.address) as client, RawSender(fleet.endpoint, name="sessions") as again:
        client.subscribe(token)
        for each in (sender, sender, again):
            assert each.push_all([(token, b"once"), ("nobody", b"")], id=token) == bytes([SENT, OFFLINE])
        assert client.read_push().body == b"once"
        assert sender.push(token, b"next") == SENT
        assert client.read_push().body == b"next"


def test_overloaded_targets_of_a_repeated_request_are_tried_again(fleet: Fleet, sender: RawSender) -> None:
    token = new_token("v2")
    with connect("v2", fleet.address) as client:
        client.subscribe(token, ack=True)
        pairs = [(token, b"%d" % number) for number in range(10)]
        assert sender.push_all(pairs, id=token) == bytes([SENT] * 8 + [OVERLOADED] * 2)
        for number in range(1, 9):
            assert client.read_push().body == b"%d" % (number - 1)
            client.acknowledge(number)
        assert client.ping(30) == 30
        assert sender.push_all(pairs, id=token) == bytes([SENT]) * 10
        assert [client.read_push().body for _ in range(2)] == [b"8", b"9"]
        assert client.wire.silent_for(0.1)


# --- encodings


@every_text
def test_payload_that_is_not_text(fleet: Fleet, sender: RawSender, kind: str) -> None:
    """REFUSED for a text client, unless it said base64, and then everything is base64."""
    plain, encoded = new_token(kind), new_token(kind)
    with connect(kind, fleet.address) as client, connect(kind, fleet.address) as wise:
        client.subscribe(plain)
        assert wise.subscribe(encoded, encoding="base64")["granted"] == ["base64"]
        payloads = [b"\xff", "\u6d88\u606f".encode(), b"", b"\xed\xa0\x80", bytes(range(256))]
        outcomes = sender.push_all([(token, payload) for payload in payloads for token in (plain, encoded)])
        assert outcomes == bytes([REFUSED, SENT, SENT, SENT, SENT, SENT, REFUSED, SENT, REFUSED, SENT])
        assert [client.read_push().body for _ in range(2)] == payloads[1:3]
        assert [base64.b64decode(wise.read_push().body, validate=True) for _ in payloads] == payloads


@every_packet_kind
def test_deflated_pushes(fleet: Fleet, sender: RawSender, kind: str) -> None:
    """Granted to whoever offers it; short bodies stay as they are; nobody else gets the flag."""
    token, plain = new_token(kind), new_token(kind)
    with connect(kind, fleet.address) as client, connect(kind, fleet.address) as other:
        assert client.subscribe(token, accept=["deflate", "aes-gcm", "brotli"])["granted"] == ["deflate"]
        other.subscribe(plain)
        for payload in (b"short", b"long " * 1000, random.Random(1).randbytes(5000)):
            assert sender.push_all([(token, payload), (plain, payload)]) == bytes([SENT, SENT])
            push = client.read_push()
            assert push.compressed == (len(payload) >= 256)
            body = zlib.decompress(push.body, -15) if push.compressed else push.body
            assert body == payload
            push = other.read_push()
            assert (push.compressed, push.body) == (False, payload)


@every_packet_kind
def test_deflated_bodies_of_clients(fleet: Fleet, kind: str) -> None:
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        client.ping(30)
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = deflater.compress(json.dumps({"token": token}).encode()) + deflater.flush()
        client.write(client.encode(Packet(SUB, body, compressed=True)))
        assert json.loads(client.read().body) == {"status": 200, "token": token}


@every_text
def test_deflate_is_not_for_text(fleet: Fleet, kind: str) -> None:
    with connect(kind, fleet.address) as client:
        assert client.subscribe(new_token(kind), accept=["deflate"])["granted"] == []


def test_payloads_that_are_too_large(fleet: Fleet, sender: RawSender) -> None:
    """For version 1 what does not fit 16 bits, push id included; for all what is over the body limit."""
    limit = fleet.settings.body_limit_bytes
    with connect("v1", fleet.address) as small, connect("v2", fleet.address) as large:
        small.subscribe("too-large-v1")
        large.subscribe("too-large-v2")
        assert sender.push("too-large-v1", bytes(65_536)) == TOO_LARGE
        assert sender.push("too-large-v1", bytes(65_535)) == SENT
        assert len(small.read_push().body) == 65_535
        small.subscribe("too-large-v1", ids=True)
        assert sender.push("too-large-v1", bytes(65_535)) == TOO_LARGE
        assert sender.push("too-large-v1", bytes(65_000)) == SENT
        assert len(small.read_push().body) == 65_000
        assert sender.push("too-large-v2", bytes(limit + 1)) == TOO_LARGE
        assert sender.push("too-large-v2", bytes(limit)) in (SENT, BUFFERED)
        assert len(large.read_push().body) == limit


@every_kind
def test_other_signals_and_topics_of_pushes(fleet: Fleet, sender: RawSender, kind: str) -> None:
    """A sender may name signal and sub_signal; version 0 has neither PUBLISH nor sub_signals."""
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        client.subscribe(token)
        if kind == "v0":
            assert sender.push(token, b"x", signal="PUBLISH", sub_signal="MN") in (TOO_LARGE, REFUSED)
            assert client.ping(30) == 30
            return
        for sub_signal in ("MN", "mn", 17, 99, 127):
            assert sender.push(token, b"body", signal="PUBLISH", sub_signal=sub_signal) == SENT
            packet = client.read()
            number = sub_signal if isinstance(sub_signal, int) else SUB_SIGNALS.index(sub_signal.upper())
            assert packet == Packet(PUBLISH, b"body", number)


# --- what needs a service


@all_but_v0
def test_publish_without_a_service(fleet: Fleet, kind: str) -> None:
    """PUB_ACK with the same sub_signal and message_id: F2 before a SUB, F0 after it."""
    with connect(kind, fleet.address) as client:
        for bound, code in ((False, 0xF2), (True, 0xF0)):
            if bound:
                client.subscribe(new_token(kind))
            for topic, message_id in ((17, 1), (99, 65_535)):
                client.send(PUBLISH, {"any": "thing"}, sub_signal=topic, message_id=message_id)
                answer = client.read()
                assert (answer.signal, answer.sub_signal, answer.message_id) == (PUB_ACK, topic, message_id)
                if client.protocol == "ws_text":
                    fields = json.loads(answer.body)
                    assert fields["code"] == code
                    assert fields["message"]
                else:
                    assert answer.body == bytes([code])


@every_kind
def test_contact_without_a_service(fleet: Fleet, kind: str) -> None:
    fields = {"type": 0, "from": "somebody else", "to": "bob", "message": "hi"}
    with connect(kind, fleet.address) as client:
        assert client.ask(CONTACT, fields)["status"] == 401
        client.subscribe(new_token(kind))
        answer = client.ask(CONTACT, fields)
        assert answer["status"] == 503
        assert answer["message"]
        assert client.ping(30) == 30


@all_but_v0
def test_connect_without_a_service(fleet: Fleet, kind: str) -> None:
    """CONNECT_ACK with SERVER_UNAVAILABLE, then closed."""
    closings = Closings(fleet, "unavailable")
    with connect(kind, fleet.address) as client:
        fields = {"userName": "alice", "password": "secret", "clientIdentifier": "alice-phone"}
        client.send(CONNECT, fields, message_id=5)
        answer = client.read()
        assert (answer.signal, answer.sub_signal, answer.message_id) == (CONNECT_ACK, 4, 5)
        expect_end(client, "unavailable")
    closings.expect(1)


# --- ends


@pytest.mark.parametrize("body", [b"\x00", b"\x01", {"clearSession": 1}, None])
@every_kind
def test_disconnect(fleet: Fleet, sender: RawSender, kind: str, body: object) -> None:
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        client.subscribe(token)
        if client.protocol == "ws_text" and isinstance(body, bytes):
            body = None  # a text client has no bytes
        client.send(DISCONNECT, body)
        expect_end(client, "client_disconnect")
    assert sender.push(token, b"anybody?") == OFFLINE


@pytest.mark.parametrize("payload", [b"", frames.close_payload(1000), frames.close_payload(1001, "going away")])
@pytest.mark.parametrize("kind", ["ws_snake", "ws_camel", "ws_binary"])
def test_websocket_close(fleet: Fleet, sender: RawSender, kind: str, payload: bytes) -> None:
    """The close frame comes back with the same code, then the connection ends."""
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        assert isinstance(client, WebSocketClient)
        client.subscribe(token)
        client.write(encode_frame(Frame(frames.CLOSE, payload)))
        assert close_code(client.socket.read_message()) == close_code(Frame(frames.CLOSE, payload))
        assert client.wire.read_to_end() == b""
    assert sender.push(token, b"anybody?") == OFFLINE


@every_kind
def test_reset(fleet: Fleet, sender: RawSender, kind: str) -> None:
    token = new_token(kind)
    client = connect(kind, fleet.address)
    client.subscribe(token)
    client.wire.reset()
    wait_until(lambda: sender.push(token, b"anybody?") == OFFLINE, "offline")


@every_kind
def test_kick(fleet: Fleet, sender: RawSender, kind: str) -> None:
    closings = Closings(fleet, "kicked")
    token = new_token(kind)
    with connect(kind, fleet.address) as client:
        client.subscribe(token)
        assert sender.info(b"KICK1", "nobody", token, "nobody else") == [False, True, False]
        assert client.read_disconnect()["reason"] == "kicked"
        expect_end(client, "kicked")
        assert sender.push(token, b"anybody?") == OFFLINE
    closings.expect(1)


# --- styles and HTTP


@pytest.mark.parametrize("camel", [False, True])
def test_lower_case_clients_are_answered_in_lower_case(fleet: Fleet, sender: RawSender, camel: bool) -> None:
    token = new_token("lower")
    with Wire(fleet.address) as wire:
        client = TextClient(wire, camel=camel, lower=True)
        client.open()
        client.subscribe(token)
        assert client.ping(30) == 30
        assert sender.push(token, b"x", signal="PUBLISH", sub_signal="MN") == SENT
        assert client.read() == Packet(PUBLISH, b"x", 17)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (b'{"signal": "PING", "content": {"interval": 30}}', '{"interval":30}'),
        (b'{"signal": "Ping", "content": "{\\"interval\\": 30}"}', '{"interval":30}'),
        (b'{"signal": 3, "sub_signal": 0, "message_id": 0, "content": ""}', '{"interval":400}'),
        (b'{"signal": "PING", "subSignal": "none", "messageId": 0}', '{"interval":400}'),
    ],
)
def test_forms_that_text_messages_may_have(fleet: Fleet, message: bytes, content: str) -> None:
    with connect("ws_snake", fleet.address) as client:
        assert isinstance(client, WebSocketClient)
        client.write(encode_frame(Frame(frames.TEXT, message)))
        fields = json.loads(client.socket.read_message().payload)
        assert fields["signal"] == "PING"
        assert fields["content"] == content


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 200), ("/", 426), ("/ws", 426), ("/elsewhere", 404), ("/health?x=1", 200)]
)
def test_plain_requests(fleet: Fleet, path: str, status: int) -> None:
    with Wire(fleet.address) as wire:
        wire.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        found, headers = read_response(wire)
        assert found == status
        body = wire.read_to_end()
        assert len(body) == int(headers["content-length"])


@pytest.mark.parametrize(
    "header", ["Sec-WebSocket-Key: c2hvcnQ=", "Sec-WebSocket-Version: 12", "Connection: close", "Upgrade: h2c"]
)
def test_upgrades_that_are_refused(fleet: Fleet, header: str) -> None:
    name = header.partition(":")[0]
    request = upgrade_request(b"dGhlIHNhbXBsZSBub25jZQ==").decode()
    lines = [header if line.startswith(f"{name}:") else line for line in request.split("\r\n")]
    with Wire(fleet.address) as wire:
        wire.write("\r\n".join(lines).encode())
        assert read_response(wire)[0] in (400, 426)
        wire.read_to_end()
