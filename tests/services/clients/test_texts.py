from base64 import b64encode

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from services.clients.texts import decode_text, encode_text
from shared.errors import ProtocolError
from shared.packets import Packet
from shared.signals import Signal, SubSignal


def text(**fields: object) -> str:
    return ujson.dumps({"signal": "PUSH", "sub_signal": "NONE", "message_id": 0, "content": "", **fields})


def test_encodes_names_and_an_object():
    said = ujson.loads(encode_text(Packet(Signal.SUB, body=b'{"token":"a/\xc3\xa4"}')))
    assert said == {"signal": "SUB", "sub_signal": "NONE", "message_id": 0, "content": {"token": "a/ä"}}
    said = ujson.loads(encode_text(Packet(Signal.PUB_ACK, 17, 9)))
    assert said == {"signal": "PUB_ACK", "sub_signal": "MN", "message_id": 9}
    assert ujson.loads(encode_text(Packet(Signal.PUB_ACK, 100)))["sub_signal"] == 100


@given(st.text(), st.sampled_from(list(SubSignal)), st.integers(0, 65535))
def test_decodes_any_payload(content: str, sub_signal: SubSignal, message_id: int):
    said = text(content=content, sub_signal=sub_signal.name, message_id=message_id)
    assert decode_text(said, base64=False) == Packet(
        4, sub_signal, message_id, content.encode("utf-8", "surrogatepass")
    )


@given(st.binary())
def test_decodes_base64(payload: bytes):
    assert decode_text(text(content=b64encode(payload).decode()), base64=True).body == payload


def test_only_pushes_are_base64():
    assert decode_text(text(signal="PING", content='{"interval":3}'), base64=True).body == b'{"interval":3}'


def test_push_id_goes_where_binary_packets_have_it():
    assert decode_text(text(content="x", push_id="ab-0"), base64=False).body == b"\x04ab-0x"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "no json",
        "{}",
        text(signal="SHOUT"),
        text(signal=4),
        text(sub_signal="XX"),
        text(content={}),
        text(message_id="a"),
        text(push_id="ä"),
        text(push_id="x" * 300),
    ],
)
def test_what_is_no_message(said: str):
    with pytest.raises(ProtocolError, match="the gateway sent a text that is no message"):
        decode_text(said, base64=False)
