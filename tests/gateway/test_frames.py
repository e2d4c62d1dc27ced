from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import Frame, Opcode, encode_close, encode_frame, frame_header, parse_close, parse_frame, unmask
from shared.errors import BodyError, ProtocolError, TooLargeError
from tests.chunks import bytewise, cut, places
from tests.gateway.client_frames import masked

LIMIT = 1 << 20


def receive(chunks, limit=LIMIT):
    """Frames out of a stream as it comes in."""
    buffer, offset, frames = bytearray(), 0, []
    for chunk in chunks:
        buffer += chunk
        while parsed := parse_frame(buffer, offset, limit):
            frame, offset = parsed
            frames.append(frame)
    assert offset == len(buffer)
    return frames


def test_the_examples_of_section_5_7():
    hello = bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")
    assert parse_frame(hello, 0, LIMIT) == (Frame(True, False, Opcode.TEXT, b"Hello"), 11)
    pong = bytes.fromhex("8a 85 37 fa 21 3d 7f 9f 4d 51 58")
    assert parse_frame(pong, 0, LIMIT) == (Frame(True, False, Opcode.PONG, b"Hello"), 11)
    assert encode_frame(Opcode.TEXT, b"Hello").hex(" ") == "81 05 48 65 6c 6c 6f"
    assert encode_frame(Opcode.BINARY, bytes(256))[:4].hex(" ") == "82 7e 01 00"
    assert encode_frame(Opcode.BINARY, bytes(65_536))[:10].hex(" ") == "82 7f 00 00 00 00 00 01 00 00"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 511, 512, 513, 514, 515, 4096, 65_535, 65_536, 100_001])
def test_payload_sizes(size):
    payload = bytes(at * 7 & 0xFF for at in range(size))
    data = b"??" + masked(Opcode.BINARY, payload)
    for buffer in (data, bytearray(data), memoryview(data)):
        parsed = parse_frame(buffer, 2, LIMIT)
        assert parsed == (Frame(True, False, Opcode.BINARY, payload), len(data))
        assert type(parsed[0].payload) is bytes
    assert parse_frame(data[:-1], 2, LIMIT) is None


def test_a_16_mib_frame():
    payload = bytes(range(256)) * (1 << 16)
    header = bytes.fromhex("82 ff 00 00 00 00 01 00 00 00")
    data = header + bytes(4) + payload
    frame, end = parse_frame(bytearray(data), 0, 1 << 25)
    assert frame.payload == payload
    assert end == len(data)


@given(st.binary(max_size=1200), st.binary(min_size=4, max_size=4))
def test_unmasking_is_xor_with_the_mask_repeated(payload, mask):
    assert unmask(payload, mask) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("90", "RSV2"),
        ("a1", "RSV2 or RSV3"),
        ("b2", "RSV2"),
        *[(f"8{opcode:x}", f"reserved opcode {opcode}") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        ("08", "fragmented control"),
        ("09", "fragmented control"),
        ("0a", "fragmented control"),
        ("c9", "control frame with RSV1"),
        ("81 05", "unmasked"),
        ("81 00", "unmasked"),
        ("88 fe", "more than 125"),
        ("89 ff", "more than 125"),
        ("82 ff 80 00 00 00 00 00 00 00", "top bit"),
        ("82 ff ff ff ff ff ff ff ff ff", "top bit"),
    ],
)
def test_a_wrong_frame_is_refused_at_its_first_wrong_byte(data, said):
    data = bytes.fromhex(data)
    with pytest.raises(ProtocolError, match=said):
        parse_frame(data, 0, LIMIT)
    assert parse_frame(data[:-1], 0, LIMIT) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [("81 fd", 125), ("82 fe 00 7e", 126), ("82 ff 00 00 00 01 00 00 00 00", 1 << 32), ("82 fe ff ff", 65_535)],
)
def test_the_limit_holds_before_the_payload_comes(header, size):
    data = bytes.fromhex(header)
    assert parse_frame(data, 0, size) is None
    with pytest.raises(TooLargeError, match=f"frame of {size} bytes exceeds the limit of {size - 1}"):
        parse_frame(data, 0, size - 1)


opcodes = st.sampled_from([int(opcode) for opcode in Opcode])
frames = st.one_of(
    st.builds(Frame, st.booleans(), st.booleans(), st.sampled_from([0, 1, 2]), st.binary(max_size=700)),
    st.builds(Frame, st.just(True), st.just(False), st.sampled_from([8, 9, 10]), st.binary(max_size=125)),
)


@given(st.lists(frames, max_size=5), st.binary(min_size=4, max_size=4), st.data())
def test_any_chunking_gives_the_frames_that_were_sent(sent, mask, data):
    stream = b"".join([masked(opcode, payload, fin, rsv1 << 2, mask) for fin, rsv1, opcode, payload in sent])
    assert receive([stream]) == sent
    assert receive(cut(stream, data.draw(places(len(stream))))) == sent
    assert receive(bytewise(stream)) == sent


@given(st.binary(max_size=60), st.integers(0, 60))
def test_random_bytes_raise_only_what_is_documented(data, limit):
    with suppress(ProtocolError, TooLargeError):
        parse_frame(data, 0, limit)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
        (1 << 32, "827f0000000100000000"),
    ],
)
def test_headers(size, header):
    assert frame_header(0x82, size).hex() == header


def test_a_compressed_frame():
    assert encode_frame(Opcode.TEXT, b"x", rsv1=True).hex(" ") == "c1 01 78"


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_codes_that_may_be_sent(code):
    assert parse_close(encode_close(code, "再见")) == (code, "再见")
    assert parse_close(encode_close(code)) == (code, "")


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_close_codes_that_may_not(code):
    with pytest.raises(ProtocolError, match=f"close code {code} "):
        parse_close(code.to_bytes(2, "big") + b"bye")


def test_other_close_payloads():
    assert parse_close(b"") == (1005, "")
    with pytest.raises(ProtocolError, match="1 byte"):
        parse_close(b"\x03")
    with pytest.raises(BodyError, match="UTF-8"):
        parse_close(b"\x03\xe8\xff")


@given(st.integers(3000, 4999), st.text(max_size=200))
def test_a_close_reason_is_cut_between_characters(code, reason):
    payload = encode_close(code, reason)
    assert len(payload) <= 125
    said = parse_close(payload)
    assert said[0] == code
    assert reason.startswith(said[1])
    assert len(reason.encode()) > 120 or said[1] == reason
