import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.text_messages import Style, encode_text, parse_text, pub_ack_content
from shared.errors import BodyError, ProtocolError
from shared.packets import Packet
from shared.signals import Signal, SubSignal

SNAKE = Style(camel=False, lower=False)
CAMEL = Style(camel=True, lower=False)


def parsed(**fields):
    return parse_text(json.dumps(fields).encode())


def test_a_message_of_each_style():
    assert parse_text(b'{"signal":"SUB","sub_signal":"NONE","message_id":7,"content":{"token":"a"}}') == (
        Packet(Signal.SUB, 0, 7, b'{"token":"a"}'),
        SNAKE,
    )
    assert parse_text(b'{"signal":"publish","subSignal":"ms","messageId":65535,"content":"{}"}') == (
        Packet(Signal.PUBLISH, SubSignal.MS, 65_535, b"{}"),
        Style(camel=True, lower=True),
    )


def test_the_message_of_the_seed():
    seed = b'{\n\t"signal": "connect",\n\t"sub_signal": "conect_ack",\n\t"message_id": 0,\n\t"content": ""\n}'
    assert parse_text(seed) == (Packet(Signal.CONNECT), Style(camel=False, lower=True))


@pytest.mark.parametrize(
    ("said", "signal", "lower"),
    [
        ("SUB", 1, False),
        ("sub", 1, True),
        ("Sub", 1, False),
        ("conect_ack", 7, True),
        ("CONECT_ACK", 7, False),
        ("pub_ack", 10, True),
        (3, 3, False),
        *[(signal.name, signal.value, False) for signal in Signal if signal],
    ],
)
def test_signals_by_name_and_by_number(said, signal, lower):
    packet, style = parsed(signal=said)
    assert packet == Packet(signal)
    assert style == Style(camel=False, lower=lower)


@pytest.mark.parametrize("said", ["", "NONE", "SHOUT", "1", 0, 11, -1, 2**70])
def test_unknown_signals(said):
    with pytest.raises(ProtocolError, match="signal is unknown"):
        parsed(signal=said)


@pytest.mark.parametrize(
    ("said", "number"),
    [("NONE", 0), ("mn", 17), ("GD", 33), (0, 0), (34, 34), (127, 127), (None, 0), ("CONNECTION_ACCEPTED", 1)],
)
def test_sub_signals(said, number):
    assert parsed(signal="PUBLISH", sub_signal=said)[0].sub_signal == number
    assert parsed(signal="PUBLISH", subSignal=said)[0].sub_signal == number


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "signal is missing"),
        ({"signal": None}, "signal is missing"),
        ({"signal": True}, "signal is neither"),
        ({"signal": 1.0}, "signal is neither"),
        ({"signal": ["SUB"]}, "signal is neither"),
        ({"signal": 1, "sub_signal": "HUM"}, "sub_signal"),
        ({"signal": 1, "sub_signal": 128}, "sub_signal"),
        ({"signal": 1, "sub_signal": -1}, "sub_signal"),
        ({"signal": 1, "sub_signal": True}, "sub_signal"),
        ({"signal": 1, "sub_signal": {}}, "sub_signal"),
        ({"signal": 1, "message_id": 65_536}, "message_id"),
        ({"signal": 1, "message_id": -1}, "message_id"),
        ({"signal": 1, "messageId": "7"}, "message_id"),
        ({"signal": 1, "message_id": False}, "message_id"),
        ({"signal": 1, "content": 7}, "content is neither"),
        ({"signal": 1, "content": False}, "content is neither"),
        ({"signal": 1, "content": "\ud800"}, "content holds"),
        ({"signal": 1, "content": {"x": "\udfff"}}, "content holds"),
        ({"signal": 1, "content": [float("nan")]}, "content holds"),
        ({"signal": 1, "content": [float("inf")]}, "content holds"),
    ],
)
def test_messages_of_a_wrong_shape_say_what_is_wrong(fields, said):
    with pytest.raises(BodyError, match=said):
        parsed(**fields)


@pytest.mark.parametrize(
    "text", [b"", b"ping", "心跳内容".encode(), b"{", b'{"signal":1}x', b"\xff", b"[" * 10_000, b'{"a":' * 10_000]
)
def test_text_that_is_not_json(text):
    with pytest.raises(BodyError, match=r"not JSON$"):
        parse_text(text)


@pytest.mark.parametrize("text", [b"[]", b"7", b"null", b'"SUB"', b"[{}]"])
def test_json_that_is_no_object(text):
    with pytest.raises(BodyError, match="not a JSON object"):
        parse_text(text)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}'),
        ([], b"[]"),
        ({}, b"{}"),
        ("", b""),
        (None, b""),
        ("plain", b"plain"),
        ('{"a": 1}', b'{"a": 1}'),
        ("推送/📣", "推送/📣".encode()),
        ({"k": "推/"}, '{"k":"推/"}'.encode()),
        ({"n": 2**63}, b'{"n":9223372036854775808}'),
    ],
)
def test_contents_become_bodies(content, body):
    assert parsed(signal=1, content=content)[0].body == body


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=4) | st.lists(json_values, max_size=4))
def test_any_object_or_array_comes_through(content):
    assert json.loads(parsed(signal=1, content=content)[0].body) == content


@given(json_values)
def test_any_json_raises_only_what_is_documented(value):
    for text in (value, {"signal": value}, {"signal": 1, "sub_signal": value, "messageId": value, "content": value}):
        with suppress(BodyError, ProtocolError):
            parse_text(json.dumps(text).encode())


@given(st.binary(max_size=60))
def test_random_bytes_raise_only_what_is_documented(text):
    with suppress(BodyError, ProtocolError):
        parse_text(text)


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (SNAKE, '{"signal":"CONNECT_ACK","sub_signal":"CONNECTION_ACCEPTED","message_id":7,"content":"{}"}'),
        (CAMEL, '{"signal":"CONNECT_ACK","subSignal":"CONNECTION_ACCEPTED","messageId":7,"content":"{}"}'),
        (
            Style(camel=True, lower=True),
            '{"signal":"connect_ack","subSignal":"connection_accepted","messageId":7,"content":"{}"}',
        ),
    ],
)
def test_answers_in_each_style(style, said):
    assert encode_text(7, 1, 7, b"{}", style).decode() == said


def test_a_push_spelled_out():
    assert encode_text(4, 0, 0, 'a "b" /\n📣'.encode(), SNAKE).decode() == (
        '{"signal":"PUSH","sub_signal":"NONE","message_id":0,"content":"a \\"b\\" /\\n📣"}'
    )


def test_push_ids_in_each_style():
    assert json.loads(encode_text(4, 0, 1, b"x", SNAKE, "00ff-3"))["push_id"] == "00ff-3"
    assert json.loads(encode_text(4, 0, 1, b"x", CAMEL, "00ff-3"))["pushId"] == "00ff-3"


def test_a_topic_without_a_name_goes_by_number():
    assert json.loads(encode_text(9, 120, 1, b"", SNAKE))["sub_signal"] == 120


@given(st.text(), st.integers(0, 65_535), st.booleans(), st.booleans())
def test_content_is_a_string_that_comes_back(text, message_id, camel, lower):
    style = Style(camel, lower)
    decoded = json.loads(encode_text(4, 17, message_id, text.encode(), style))
    assert decoded["content"] == text
    assert decoded["messageId" if camel else "message_id"] == message_id
    assert decoded["signal"] == ("push" if lower else "PUSH")
    assert decoded["subSignal" if camel else "sub_signal"] == ("mn" if lower else "MN")


packets = st.builds(
    Packet,
    st.integers(1, 10),
    st.integers(0, 127),
    st.integers(0, 65_535),
    st.text().map(str.encode),
    st.just(False),
    st.just(False),
)


@given(packets, st.builds(Style, st.booleans(), st.booleans()))
def test_what_we_write_we_read(packet, style):
    assert parse_text(encode_text(*packet[:4], style)) == (packet, style)


@pytest.mark.parametrize("payload", [b"\xff", b"ok\xe6\x8e", b"\xed\xa0\x80"])
def test_a_payload_that_is_not_utf_8(payload):
    with pytest.raises(BodyError, match="not UTF-8"):
        encode_text(4, 0, 0, payload, SNAKE)


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"", b""),
        (b"\x00", b""),
        (b'\x00{"id":1}', b'{"id":1}'),
        (b"\xf0", b'{"code":240,"message":"not implemented"}'),
        (b"\xf1", b'{"code":241,"message":"service timed out"}'),
        (b"\xf2", b'{"code":242,"message":"not bound"}'),
        (b"\xf3", b'{"code":243,"message":"outcome unknown"}'),
        (b"\xf4", b'{"code":244,"message":"queue full"}'),
        (b"\x07", b'{"code":7,"message":"failed"}'),
        ("\x07没有".encode(), '{"code":7,"message":"没有"}'.encode()),
    ],
)
def test_publish_answers_in_text(body, content):
    assert pub_ack_content(body) == content
