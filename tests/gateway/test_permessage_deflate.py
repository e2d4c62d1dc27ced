import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.permessage_deflate import compress, decompress, negotiate
from shared.errors import BodyError, TooLargeError

ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offer", "window"),
    [
        ("permessage-deflate", None),
        ("permessage-deflate; client_max_window_bits", None),
        ("Permessage-Deflate ;Client_Max_Window_Bits=10", None),
        ("permessage-deflate; client_max_window_bits=8", None),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", None),
        ("permessage-deflate; server_max_window_bits=9", 9),
        ('permessage-deflate; server_max_window_bits="12"', 12),
        ("permessage-deflate; server_max_window_bits=15", 15),
        ("x-webkit-deflate-frame, permessage-deflate", None),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", None),
        ("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10", 10),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", 10),
    ],
)
def test_offers_that_can_be_met(offer, window):
    answer = ANSWER if window is None else f"{ANSWER}; server_max_window_bits={window}"
    assert negotiate([offer]) == (answer, window or 15)


@pytest.mark.parametrize(
    "offer",
    [
        "",
        ",",
        ";",
        "permessage-bzip2",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; unknown",
        "permessage-deflate;",
    ],
)
def test_offers_that_are_declined(offer):
    assert negotiate([offer]) is None


def test_several_lines():
    assert negotiate([]) is None
    assert negotiate(["foo", "permessage-deflate; bar", "permessage-deflate"]) == (ANSWER, 15)


@given(st.lists(st.text(max_size=80), max_size=3))
def test_any_header_is_met_or_declined(values):
    negotiate(values)


def test_the_examples_of_section_7_2_3():
    for data in ("f2 48 cd c9 c9 07 00", "00 05 00 fa ff 48 65 6c 6c 6f 00", "f3 48 cd c9 c9 07 00 00"):
        assert decompress(bytes.fromhex(data), 100) == b"Hello"
    two_blocks = "f2 48 05 00 00 00 ff ff ca c9 c9 07 00"
    assert decompress(bytes.fromhex(two_blocks), 100) == b"Hello"


def test_empty_messages():
    assert decompress(b"\x00", 0) == b""
    assert decompress(b"\x02\x00", 0) == b""
    assert decompress(compress(b"", 15), 0) == b""


@given(st.binary(max_size=5000), st.integers(9, 15))
def test_compress_and_back(data, window_bits):
    packed = compress(data, window_bits)
    assert not packed.endswith(b"\x00\x00\xff\xff")
    assert decompress(packed, len(data)) == data
    small_window = zlib.decompressobj(-window_bits)
    assert small_window.decompress(packed + b"\x00\x00\xff\xff") == data


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_distances_stay_within_the_window(window_bits):
    block = bytes(at * at % 251 for at in range(700))
    data = b"".join(block + bytes([at]) * 600 for at in range(60))
    small_window = zlib.decompressobj(-window_bits)
    assert small_window.decompress(compress(data, window_bits) + b"\x00\x00\xff\xff") == data


@pytest.mark.parametrize("limit", [0, 1, 1000, 100_000])
def test_the_limit_is_exact(limit):
    assert decompress(compress(bytes(limit), 15), limit) == bytes(limit)
    with pytest.raises(TooLargeError) as caught:
        decompress(compress(bytes(limit + 1), 15), limit)
    assert caught.value.size == limit + 1


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        compress(b"Hello, Hello, Hello", 15)[:4],
        compress(bytes(range(256)), 15)[:-20],
        bytes.fromhex("f3 48 cd c9 c9 07 00 aa"),
        bytes.fromhex("03 00") * 1000,
    ],
)
def test_payloads_that_are_no_message(data):
    with pytest.raises(BodyError):
        decompress(data, 1000)


@given(st.binary(max_size=100))
def test_random_bytes_raise_only_what_is_documented(data):
    with suppress(BodyError, TooLargeError):
        decompress(data, 100)


def test_a_bytearray_is_taken_too():
    assert decompress(bytearray(compress(b"Hello", 15)), 5) == b"Hello"
