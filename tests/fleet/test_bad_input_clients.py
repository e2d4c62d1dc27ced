"""Bad input of clients: bytes of no protocol, and bodies that are no bodies.

Each costs one close reason, one counter and one INFO line; other clients notice nothing.
"""

import json
import random
from collections.abc import Iterator

import pytest

from tests.clients import frames
from tests.clients.conversations import Conversation
from tests.clients.endings import expect_end
from tests.clients.frames import Frame, encode_frame
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import AUTH, CONTACT, PING, SUB, Packet, encode
from tests.clients.senders import OFFLINE, RawSender
from tests.clients.websocket import WebSocketClient
from tests.clients.wires import Wire
from tests.fleet.bystanders import Bystanders, bystanders
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings

every_kind = pytest.mark.parametrize("kind", KINDS)
every_binary = pytest.mark.parametrize("version", [0, 1, 2])


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet for this file, whose counters come quickly."""
    with Fleet(worker_heartbeat_ms=100) as started:
        yield started


@pytest.fixture(autouse=True)
def others(fleet: Fleet) -> Iterator[Bystanders]:
    """Clients of every kind that are served before and after each test."""
    with bystanders(fleet) as found:
        yield found


# --- bytes of no protocol

FIRST_BYTES = {
    "zero": b"\x00",
    "signal 11 of version 0": b"\x0b\x00\x00\x00\x00",
    "version 0 with the flag for DEFLATE": b"\x8b\x00\x00\x00\x02\x03\x00",
    "magic with version 0": b"\xf8\x00\x01\x00\x00",
    "magic with version 3": b"\xf8\x03\x01\x00\x00\x00\x00\x00\x00\x00",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "POST": b"POST /login HTTP/1.1\r\n\r\n",
    "get in lower case": b"get / HTTP/1.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PROXY from an address that is not trusted": b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 6789\r\n\x03\x00\x00\x00\x00",
    "noise": random.Random("noise").randbytes(65_536).replace(b"\xf8", b"\xff", 1),
    "0xff": b"\xff" * 4096,
}


@pytest.mark.parametrize("name", FIRST_BYTES)
def test_first_bytes_of_no_protocol(fleet: Fleet, name: str) -> None:
    closings = Closings(fleet, "bad_protocol")
    with Wire(fleet.address) as wire:
        wire.write(FIRST_BYTES[name])
        assert wire.read_to_end() == b""
    closings.expect(1)


@pytest.mark.parametrize("bound", [False, True], ids=["first", "bound"])
@every_binary
def test_signals_that_no_client_may_send(fleet: Fleet, version: int, bound: bool) -> None:
    """Signal 0, over 10, PUSH and CONNECT_ACK; in version 0 those that it does not have, too."""
    signals = [0, 11, 64, 127, 4, 7] + ([6, 9, 10] if version == 0 else [])
    closings = Closings(fleet, "bad_protocol")
    for signal in signals:
        with connect(f"v{version}", fleet.address) as client:
            if bound:
                client.subscribe(f"bad-signal-{version}-{signal}")
            client.write(encode(version, Packet(signal)))
            expect_end(client, "bad_protocol")
    closings.expect(len(signals))


@pytest.mark.parametrize("bound", [False, True], ids=["unbound", "bound"])
@every_binary
def test_another_version_later(fleet: Fleet, version: int, bound: bool) -> None:
    others = [encode(other, Packet(PING)) for other in (0, 1, 2) if other != version] + [b"GET / HTTP/1.1\r\n\r\n"]
    closings = Closings(fleet, "bad_protocol")
    for data in others:
        with connect(f"v{version}", fleet.address) as client:
            assert client.ping(30) == 30
            if bound:
                client.subscribe(f"other-version-{version}")
            client.write(data)
            expect_end(client, "bad_protocol")
    closings.expect(len(others))


BAD_FRAMES = {
    "unmasked": encode_frame(Frame(frames.TEXT, b"{}"), masked=False),
    "RSV1 without an extension": encode_frame(Frame(frames.TEXT, b"{}", rsv1=True)),
    "RSV2": encode_frame(Frame(frames.TEXT, b"{}"), reserved=0x20),
    "RSV3": encode_frame(Frame(frames.TEXT, b"{}"), reserved=0x10),
    "opcode 3": encode_frame(Frame(3, b"{}")),
    "opcode 11": encode_frame(Frame(11)),
    "fragmented ping": encode_frame(Frame(frames.PING, fin=False)),
    "ping of 126 bytes": encode_frame(Frame(frames.PING, b"p" * 126)),
    "continuation of nothing": encode_frame(Frame(frames.CONTINUATION, b"{}")),
    "message amid fragments": encode_frame(Frame(frames.TEXT, b"{", fin=False))
    + encode_frame(Frame(frames.TEXT, b"}")),
    "length with its top bit set": b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "close code 1005": encode_frame(Frame(frames.CLOSE, frames.close_payload(1005))),
    "close of one byte": encode_frame(Frame(frames.CLOSE, b"\x03")),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_frames_that_are_not_allowed(fleet: Fleet, name: str) -> None:
    closings = Closings(fleet, "bad_protocol")
    with connect("ws_snake", fleet.address) as client:
        client.write(BAD_FRAMES[name])
        expect_end(client, "bad_protocol")
    closings.expect(1)


def test_messages_of_the_other_style(fleet: Fleet) -> None:
    """A text client that sends a binary message, a binary one that sends text, an unknown signal, half a packet."""
    ping = encode(2, Packet(PING))
    cases = [
        ("ws_snake", encode_frame(Frame(frames.BINARY, ping))),
        ("ws_binary", encode_frame(Frame(frames.TEXT, b'{"signal": "PING"}'))),
        ("ws_snake", encode_frame(Frame(frames.TEXT, b'{"signal": "SHOUT"}'))),
        ("ws_snake", encode_frame(Frame(frames.TEXT, b'{"signal": 11}'))),
        ("ws_binary", encode_frame(Frame(frames.BINARY, ping[:9]))),
        ("ws_binary", encode_frame(Frame(frames.BINARY, ping + ping))),
        ("ws_binary", encode_frame(Frame(frames.BINARY, encode(1, Packet(PING))))),
    ]
    closings = Closings(fleet, "bad_protocol")
    for kind, data in cases:
        with connect(kind, fleet.address) as client:
            assert client.ping(30) == 30
            client.write(data)
            expect_end(client, "bad_protocol")
    closings.expect(len(cases))


def test_text_that_is_not_utf8(fleet: Fleet) -> None:
    closings = Closings(fleet, "bad_body")
    for data in (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b'{"signal": "PING\xc3'):
        with connect("ws_snake", fleet.address) as client:
            client.write(encode_frame(Frame(frames.TEXT, data)))
            expect_end(client, "bad_body")
    closings.expect(4)


# --- bodies that are no bodies

DEEP = b"[" * 10_000 + b"]" * 10_000
BAD_SUBS = {
    "not JSON": b"{token",
    "list": b'["token"]',
    "number": b"5",
    "string": b'"token"',
    "deep list": DEEP,
    "deep object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "deep token": b'{"token": ' + DEEP + b"}",
    "token empty": b'{"token": ""}',
    "token of 256 bytes": b'{"token": "%b"}' % (b"t" * 256),
    "token of 256 bytes, multi-byte": b'{"token": "%b"}' % ("\u6d88" * 86).encode()[:258],
    "token with a control character": b'{"token": "a\\u0000b"}',
    "token with DEL": b'{"token": "a\\u007fb"}',
    "token with a C1 control": b'{"token": "a\\u0085b"}',
    "token with half a surrogate pair": b'{"token": "a\\ud800b"}',
    "token a number": b'{"token": 7}',
    "token a list": b'{"token": ["a"]}',
    "uid a number": b'{"token": "bad-body", "uid": 7}',
    "uid empty": b'{"token": "bad-body", "uid": ""}',
    "accept a string": b'{"token": "bad-body", "accept": "deflate"}',
    "ack a string": b'{"token": "bad-body", "ack": "yes"}',
}
#: In a text message these make the whole message unreadable: the answer is to no signal, and the connection goes on.
UNREADABLE_IN_TEXT = {"number", "deep list", "deep object", "deep token", "token with half a surrogate pair"}
NOT_UTF8 = b'{"token": "bad-body\xff"}'


def expect_status_400(client: Conversation, signal: int) -> None:
    """The next message answers `signal` with status 400 and what is wrong."""
    answer = client.read()
    fields = json.loads(answer.body)
    assert answer.signal == signal
    assert fields["status"] == 400
    assert fields["message"]


@pytest.mark.parametrize("name", BAD_SUBS)
@every_kind
def test_sub_with_a_bad_body(fleet: Fleet, kind: str, name: str) -> None:
    """Answered by status 400 and what is wrong, then closed; nothing is bound."""
    closings = Closings(fleet, "rejected")
    unreadable = kind in ("ws_snake", "ws_camel") and name in UNREADABLE_IN_TEXT
    with connect(kind, fleet.address) as client:
        if unreadable:
            client.ping(30)  # so that the style of the answer is known
        client.write(client.encode(Packet(SUB, BAD_SUBS[name])))
        if unreadable:
            expect_status_400(client, 0)
            assert client.ping(30) == 30
        else:
            expect_status_400(client, SUB)
            expect_end(client, "rejected")
        with RawSender(fleet.endpoint) as sender:
            assert sender.push("bad-body", b"anybody?") == OFFLINE
    closings.expect(0 if unreadable else 1)


@pytest.mark.parametrize("kind", ["v0", "v1", "v2", "ws_binary"])
def test_sub_that_is_not_utf8(fleet: Fleet, kind: str) -> None:
    closings = Closings(fleet, "rejected")
    with connect(kind, fleet.address) as client:
        assert client.ask(SUB, NOT_UTF8)["status"] == 400
        expect_end(client, "rejected")
    closings.expect(1)


@pytest.mark.parametrize("name", ["not JSON", "list", "number", "deep list"])
@every_kind
def test_other_signals_with_a_bad_body(fleet: Fleet, kind: str, name: str) -> None:
    """PING and CONTACT are answered by status 400 and go on; AUTH is answered and closed."""
    closings = Closings(fleet, "rejected")
    unreadable = kind in ("ws_snake", "ws_camel") and name in UNREADABLE_IN_TEXT
    with connect(kind, fleet.address) as client:
        client.ping(30)
        client.write(client.encode(Packet(PING, BAD_SUBS[name])))
        expect_status_400(client, 0 if unreadable else PING)
        client.subscribe(f"bad-bodies-{kind}")
        client.write(client.encode(Packet(CONTACT, BAD_SUBS[name])))
        expect_status_400(client, 0 if unreadable else CONTACT)
        assert client.ping(30) == 30
    with connect(kind, fleet.address) as client:
        client.ping(30)
        client.write(client.encode(Packet(AUTH, BAD_SUBS[name])))
        expect_status_400(client, 0 if unreadable else AUTH)
        if unreadable:
            assert client.ping(30) == 30
        else:
            expect_end(client, "rejected")
    closings.expect(0 if unreadable else 1)


BAD_TEXTS = {
    "not JSON": b"hello",
    "empty": b"",
    "list": b"[]",
    "number": b"5",
    "deep": DEEP,
    "no signal": b"{}",
    "signal a list": b'{"signal": []}',
    "sub_signal unknown": b'{"signal": "PING", "sub_signal": "NO_SUCH"}',
    "sub_signal over 127": b'{"signal": "PING", "sub_signal": 128}',
    "message_id negative": b'{"signal": "PING", "message_id": -1}',
    "message_id over 65535": b'{"signal": "PING", "message_id": 65536}',
    "message_id a string": b'{"signal": "PING", "message_id": "1"}',
    "content a number": b'{"signal": "PING", "content": 5}',
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_text_messages_of_the_wrong_shape(fleet: Fleet, name: str) -> None:
    """Status 400 and what is wrong, in a message of the usual form; the connection goes on."""
    with connect("ws_snake", fleet.address) as client:
        assert isinstance(client, WebSocketClient)
        client.write(encode_frame(Frame(frames.TEXT, BAD_TEXTS[name])))
        frame = client.socket.read_message()
        fields = json.loads(frame.payload)
        assert frame.opcode == frames.TEXT
        assert fields.keys() == {"signal", "sub_signal", "message_id", "content"}
        content = json.loads(fields["content"])
        assert content["status"] == 400
        assert content["message"]
        assert client.ping(30) == 30
