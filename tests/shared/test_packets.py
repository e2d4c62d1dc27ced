import json
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bodies import decode_body
from shared.errors import ProtocolError, RemoteError, TooLargeError
from shared.packets import BODY_MAX, HEADER_BYTES, Packet, encode_header, encode_packet, parse_packet, sniff_version
from shared.signals import V0_SIGNALS
from tests.chunks import bytewise, cut, places

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "packets.json").read_text())
LIMIT = 1 << 20


def wire(case):
    return bytes.fromhex(case["hex"]) + bytes.fromhex(case.get("fill_hex", "")) * case.get("fill_count", 0)


def fields(case):
    body = bytes.fromhex(case["body_hex"]) + bytes.fromhex(case["fill_hex"]) * case["fill_count"]
    flags = case["compressed"], case["encrypted"]
    return Packet(case["signal"], case["sub_signal"], case["message_id"], body, *flags)


def receive(chunks, limit=LIMIT):
    """(version, packets) out of a stream as it comes in."""
    buffer, offset, version, packets = bytearray(), 0, None, []
    for chunk in chunks:
        buffer += chunk
        if version is None:
            version = sniff_version(buffer)
        while version is not None and (parsed := parse_packet(buffer, offset, version, limit)):
            packet, offset = parsed
            packets.append(packet)
    assert offset == len(buffer)
    return version, packets


def receive_bodies(chunks):
    return [decode_body(packet, None, LIMIT) for packet in receive(chunks)[1]]


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"])


@named(VECTORS["valid"])
def test_valid_vectors_whole_bytewise_and_in_chunks(case):
    expected = case["version"], [fields(case)]
    data = wire(case)
    assert receive([data]) == expected
    assert receive(bytewise(data)) == expected
    cuts = random.Random(case["name"])
    for _ in range(20):
        assert receive(cut(data, [cuts.randint(0, len(data)) for _ in range(5)])) == expected


@named(VECTORS["valid"])
def test_valid_vectors_are_what_we_encode(case):
    assert encode_packet(case["version"], fields(case)) == wire(case)


@named(VECTORS["streams"])
def test_streams(case):
    data = wire(case)
    whole = receive([data])
    assert len(whole[1]) == case["packets"]
    assert receive(bytewise(data)) == whole
    for at in range(len(data)):
        assert receive([data[:at], data[at:]]) == whole


@named(VECTORS["invalid"])
def test_invalid_vectors_cost_their_reason(case):
    for chunks in ([wire(case)], bytewise(wire(case))):
        with pytest.raises(RemoteError) as caught:
            receive_bodies(chunks)
        assert caught.value.reason == case["reason"]


@pytest.mark.parametrize(
    ("version", "start"),
    [
        (2, "00"),
        (2, "01"),
        (2, "f801"),
        (2, "f80200"),
        (2, "f8020b"),
        (2, "f8027f"),
        (2, "f80280"),
        (1, "f802"),
        (1, "f80100"),
        (0, "00"),
        (0, "0b"),
        (0, "f8"),
        (0, "80"),
        (0, "06"),
        (0, "07"),
        (0, "09"),
        (0, "0a"),
        (0, "89"),
    ],
)
def test_a_wrong_byte_is_refused_without_waiting_for_the_header(version, start):
    data = bytes.fromhex(start)
    with pytest.raises(ProtocolError):
        parse_packet(data, 0, version, LIMIT)
    with pytest.raises(ProtocolError):
        parse_packet(data + bytes(20), 0, version, LIMIT)
    assert parse_packet(data[:-1], 0, version, LIMIT) is None


@pytest.mark.parametrize(("head", "version"), [("", None), ("f8", None), ("f802", 2), ("f801", 1)])
def test_sniffing(head, version):
    assert sniff_version(bytes.fromhex(head)) == version


def test_sniffing_version_0():
    assert [sniff_version(bytes([first])) for first in range(1, 11)] == [0] * 10


@pytest.mark.parametrize("head", [bytes([first]) for first in (0, *range(11, 0xF8), *range(0xF9, 0x100))])
def test_bytes_that_begin_nothing(head):
    with pytest.raises(ProtocolError, match=head.hex()):
        sniff_version(head)


@pytest.mark.parametrize("second", [0, 3, 0xF8])
def test_versions_that_do_not_exist(second):
    with pytest.raises(ProtocolError, match=f"version {second} "):
        sniff_version(bytes([0xF8, second]))


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_limit_holds_before_the_body_comes(version):
    fits = encode_header(version, 1, 0, 0, 1024)
    assert parse_packet(fits, 0, version, 1024) is None
    over = encode_header(version, 1, 0, 0, 1025)
    assert parse_packet(over[:-1], 0, version, 1024) is None
    with pytest.raises(TooLargeError, match="packet body of 1025 bytes exceeds the limit of 1024"):
        parse_packet(over, 0, version, 1024)


def test_a_body_that_does_not_fit_version_1():
    assert encode_packet(1, Packet(4, body=bytes(65_535)))[3:5] == b"\xff\xff"
    with pytest.raises(TooLargeError) as caught:
        encode_packet(1, Packet(4, body=bytes(65_536)))
    assert (caught.value.size, caught.value.limit) == (65_536, 65_535)


@pytest.mark.parametrize("version", [0, 2])
def test_4_gib_do_not_fit(version):
    assert len(encode_header(version, 4, 0, 0, BODY_MAX[version])) == HEADER_BYTES[version]
    with pytest.raises(TooLargeError):
        encode_header(version, 4, 0, 0, BODY_MAX[version] + 1)


def test_version_0_cannot_say_encrypted():
    with pytest.raises(ValueError, match="no flag"):
        encode_header(0, 4, 0, 0, 5, encrypted=True)


def test_flags_spelled_out():
    packet = Packet(9, 18, 513, b"xy", compressed=True, encrypted=True)
    assert encode_packet(2, packet).hex(" ") == "f8 02 89 00 00 00 02 92 02 01 78 79"
    assert encode_packet(1, packet).hex(" ") == "f8 01 89 00 02 92 02 01 78 79"
    assert encode_packet(0, Packet(4, body=b"xy", compressed=True)).hex(" ") == "84 00 00 00 02 78 79"


packets = st.builds(
    Packet,
    st.integers(1, 10),
    st.integers(0, 127),
    st.integers(0, 65_535),
    st.binary(max_size=200),
    st.booleans(),
    st.booleans(),
)
old_packets = st.builds(
    Packet,
    st.sampled_from(sorted(V0_SIGNALS)).map(int),
    st.just(0),
    st.just(0),
    st.binary(max_size=200),
    st.booleans(),
    st.just(False),
)
streams = st.one_of(
    st.tuples(st.sampled_from([1, 2]), st.lists(packets, max_size=5)),
    st.tuples(st.just(0), st.lists(old_packets, max_size=5)),
)


@given(streams, st.data())
def test_any_chunking_gives_the_packets_that_were_sent(stream, data):
    version, sent = stream
    bytes_sent = b"".join(encode_packet(version, packet) for packet in sent)
    # A connection of version 0 cannot begin with a flag, but go on with one.
    start = b"" if version else encode_packet(0, Packet(3))
    whole = start + bytes_sent
    received = receive(cut(whole, data.draw(places(len(whole)))))
    assert received[1][1 if start else 0 :] == sent


@given(st.binary(max_size=100), st.sampled_from([0, 1, 2]), st.integers(0, 50))
def test_random_bytes_raise_only_what_is_documented(data, version, limit):
    for parse in (lambda: sniff_version(data), lambda: parse_packet(data, 0, version, limit)):
        with suppress(ProtocolError, TooLargeError):
            parse()


@given(packets, st.binary(max_size=20))
def test_offsets_and_kinds_of_buffer(packet, before):
    data = before + encode_packet(2, packet)
    for buffer in (data, bytearray(data), memoryview(data)):
        assert parse_packet(buffer, len(before), 2, LIMIT) == (packet, len(data))
