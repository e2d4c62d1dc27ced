import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connections import Connection, Granted, Protocol
from gateway.encoders import Encoder, style_of
from gateway.permessage_deflate import decompress
from gateway.text_messages import Style
from shared.errors import BodyError, TooLargeError
from shared.packets import HEADER_BYTES, parse_packet
from shared.reasons import WEBSOCKET_CODES, CloseReason
from shared.signals import PublishError, Signal, SubSignal

PUSH = Signal.PUSH
plain = Encoder(1 << 20)
ID = "0" * 32 + "-7"


def connection(protocol, granted=0, window_bits=0):
    one = Connection(5, "a")
    one.protocol, one.granted, one.window_bits = protocol, granted, window_bits
    return one


def frame_of(data):
    """(first byte, payload) of the one server's frame in `data`."""
    size, start = data[1], 2
    if size >= 126:
        start += 2 if size == 126 else 8
        size = int.from_bytes(data[2:start], "big")
    assert len(data) == start + size
    return data[0], data[start:]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (Protocol.V0, bytes.fromhex("04 00000002") + b"hi"),
        (Protocol.V1, bytes.fromhex("F801 04 0002 00 0009") + b"hi"),
        (Protocol.V2, bytes.fromhex("F802 04 00000002 00 0009") + b"hi"),
        (Protocol.WS_BINARY, bytes.fromhex("82 0C F802 04 00000002 00 0009") + b"hi"),
        (Protocol.WS_TEXT, b'\x81\x43{"signal":"PUSH","sub_signal":"NONE","message_id":9,"content":"hi"}'),
    ],
)
def test_a_push_in_every_protocol(protocol, expected):
    assert plain.push(connection(protocol), PUSH, 0, 9, b"hi", ID) == expected


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (Granted.CAMEL, b'{"signal":"PUSH","subSignal":"NONE","messageId":0,"content":"hi","pushId":"%b"}'),
        (Granted.LOWER, b'{"signal":"push","sub_signal":"none","message_id":0,"content":"hi","push_id":"%b"}'),
        (3 << 5, b'{"signal":"push","subSignal":"none","messageId":0,"content":"hi","pushId":"%b"}'),
    ],
)
def test_the_style_of_a_text_client(style, expected):
    one = connection(Protocol.WS_TEXT, Granted.IDS | Granted.STYLED | style)
    assert frame_of(plain.push(one, PUSH, 0, 0, b"hi", ID)) == (0x81, expected % ID.encode())


@pytest.mark.parametrize("camel", [False, True])
@pytest.mark.parametrize("lower", [False, True])
def test_style_of_a_record(camel, lower):
    granted = Granted.HEARD | (Granted.CAMEL if camel else 0) | (Granted.LOWER if lower else 0)
    assert style_of(connection(Protocol.WS_TEXT, granted)) == Style(camel, lower)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_id_stands_in_front_of_a_binary_payload(version):
    data = plain.push(connection(version, Granted.IDS), PUSH, 0, 0, b"hi", ID)
    assert data[HEADER_BYTES[version] :] == bytes([34]) + ID.encode() + b"hi"


def test_the_id_is_not_shown_to_who_did_not_ask():
    assert ID.encode() not in plain.push(connection(Protocol.V2), PUSH, 0, 0, b"hi", ID)
    assert ID.encode() not in plain.push(connection(Protocol.WS_TEXT), PUSH, 0, 0, b"hi", ID)


def test_a_body_that_does_not_fit_version_1():
    one = connection(Protocol.V1)
    assert len(plain.push(one, PUSH, 0, 0, bytes(65_535), ID)) == 8 + 65_535
    with pytest.raises(TooLargeError):
        plain.push(one, PUSH, 0, 0, bytes(65_536), ID)
    one.granted = Granted.IDS
    with pytest.raises(TooLargeError):
        plain.push(one, PUSH, 0, 0, bytes(65_535), ID)


def test_a_payload_that_is_not_text_for_a_text_client():
    with pytest.raises(BodyError):
        plain.push(connection(Protocol.WS_TEXT), PUSH, 0, 0, b"\xff", ID)
    content = frame_of(plain.push(connection(Protocol.WS_TEXT, Granted.BASE64), PUSH, 0, 0, b"\xff", ID))[1]
    assert json.loads(content)["content"] == "/w=="


@pytest.mark.parametrize("size", [255, 256, 70_000])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_bodies_are_compressed_where_granted_and_worth_it(version, size):
    encoder = Encoder(256)
    one = connection(version, Granted.DEFLATE)
    data = encoder.push(one, PUSH, 0, 0, b"x" * size, ID)
    packet, end = parse_packet(data, 0, version, 1 << 20)
    assert end == len(data)
    assert packet.compressed == (size >= 256)
    assert (zlib.decompress(packet.body, -15) if packet.compressed else packet.body) == b"x" * size
    one.granted = 0
    if version != 1:
        assert encoder.push(one, PUSH, 0, 0, b"x" * size, ID).endswith(b"x" * size)


@pytest.mark.parametrize("protocol", [Protocol.WS_TEXT, Protocol.WS_BINARY])
def test_messages_are_compressed_where_negotiated(protocol):
    first, payload = frame_of(Encoder(100).push(connection(protocol, 0, 15), PUSH, 0, 0, b"x" * 200, ID))
    assert first & 0x40
    assert b"x" * 200 in decompress(payload, 1000)
    first, _ = frame_of(Encoder(300).push(connection(protocol, 0, 15), PUSH, 0, 0, b"x" * 200, ID))
    assert not first & 0x40


def test_statuses():
    assert plain.status(connection(Protocol.V0), Signal.PING, 400) == b'\x03\x00\x00\x00\x0e{"status":400}'
    text = frame_of(plain.status(connection(Protocol.WS_TEXT), Signal.SUB, 409, 'say "no"/', 5))[1]
    message = json.loads(text)
    assert message == {
        "signal": "SUB",
        "sub_signal": "NONE",
        "message_id": 5,
        "content": '{"status":409,"message":"say \\"no\\"/"}',
    }


def test_a_pub_ack_in_text_is_what_the_service_said_or_an_error():
    one = connection(Protocol.WS_TEXT)
    for body, content in ((b"\x00[1]", [1]), (bytes([PublishError.NOT_BOUND]), {"code": 242, "message": "not bound"})):
        message = json.loads(frame_of(plain.encode(one, Signal.PUB_ACK, SubSignal.MN, 3, body))[1])
        assert (message["signal"], message["sub_signal"], message["message_id"]) == ("PUB_ACK", "MN", 3)
        assert json.loads(message["content"]) == content


def test_last_words():
    reason = CloseReason.REPLACED
    assert plain.last_words(connection(Protocol.V0), reason) == b'\x08\x00\x00\x00\x15{"reason":"replaced"}'
    assert plain.last_words(connection(Protocol.UNKNOWN), reason) == b""
    data = plain.last_words(connection(Protocol.WS_TEXT), CloseReason.SHUTDOWN, 1500)
    text, close = data[: 2 + data[1]], data[2 + data[1] :]
    assert json.loads(json.loads(text[2:])["content"]) == {"reason": "shutdown", "retry_after_ms": 1500}
    assert close == b"\x88\x0a\x03\xf4shutdown"


@pytest.mark.parametrize("reason", list(CloseReason))
@pytest.mark.parametrize("protocol", list(Protocol))
def test_every_reason_has_a_close_frame_on_a_websocket(reason, protocol):
    data = plain.close_frame(connection(protocol), reason)
    if protocol in (Protocol.WS, Protocol.WS_TEXT, Protocol.WS_BINARY):
        assert frame_of(data) == (0x88, WEBSOCKET_CODES[reason].to_bytes(2, "big") + reason.value.encode())
    else:
        assert data == b""


bits = st.integers(0, 511).map(lambda bits: bits & ~Granted.AES_GCM)


@given(st.sampled_from(Protocol), bits, st.sampled_from([0, 9, 15]), st.binary(max_size=200), st.integers(0, 65_535))
def test_any_payload_goes_out_or_raises_what_is_documented(protocol, granted, window_bits, payload, message_id):
    if protocol == Protocol.UNKNOWN:
        return
    one = connection(protocol, granted, window_bits if protocol >= Protocol.WS_TEXT else 0)
    try:
        assert Encoder(50).push(one, PUSH, 40, message_id, payload, ID)
    except BodyError:
        assert protocol in (Protocol.WS_TEXT, Protocol.WS)
        assert not granted & Granted.BASE64
