from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy_headers import SIGNATURES, ProxyHeader, is_proxy_start, parse_proxy_header
from shared.errors import ProtocolError
from tests.chunks import bytewise

V2 = bytes.fromhex("0d0a0d0a000d0a515549540a")
TCP4 = V2 + bytes.fromhex("21 11 000c c0000201 c6336402 8f43 1a85")
TCP6 = V2 + bytes.fromhex("21 21 0024 20010db8000000000000000000000001 20010db8000000000000000000000002 8f43 1a85")
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 36675 6789\r\n"
CLIENT = ProxyHeader("192.0.2.1", 36675)
UNSAID = ProxyHeader(None, 0)

GOOD = [
    (V1, CLIENT),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 36675 6789\r\n", ProxyHeader("2001:db8::1", 36675)),
    (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", ProxyHeader(
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)),
    (b"PROXY UNKNOWN\r\n", UNSAID),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", UNSAID),
    (TCP4, CLIENT),
    (TCP6, ProxyHeader("2001:db8::1", 36675)),
    (V2 + bytes.fromhex("21 11 0013") + TCP4[16:] + bytes.fromhex("04 0004 00000000"), CLIENT),
    (V2 + bytes.fromhex("20 00 0000"), UNSAID),
    (V2 + bytes.fromhex("20 11 000c") + TCP4[16:], UNSAID),
    (V2 + bytes.fromhex("21 00 0003 aabbcc"), UNSAID),
    (V2 + bytes.fromhex("21 31 00d8") + bytes(216), UNSAID),
]  # fmt: skip


@pytest.mark.parametrize(("data", "header"), GOOD)
def test_good_headers_in_any_split(data, header):
    assert parse_proxy_header(b"??" + data + b"GET ", 2) == (header, len(data) + 2)
    buffer = bytearray()
    for byte in bytewise(data):
        assert parse_proxy_header(buffer, 0) is None
        buffer += byte
    assert parse_proxy_header(buffer, 0) == (header, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"\r\n\r\n\x00\r\nQUIT\r",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 ١ 2\r\n".encode(),
        b"PROXY TCP4 192.0.2.\xff 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0\nforged 2001:db8::2 1 2\r\n",
        b"PROXY " + b"x" * 101,
        b"PROXY UNKNOWN " + b"x" * 93,
        V2 + bytes.fromhex("11 11 000c") + TCP4[16:],
        V2 + bytes.fromhex("22 11 000c") + TCP4[16:],
        V2 + bytes.fromhex("21 41 000c") + TCP4[16:],
        V2 + bytes.fromhex("21 13 000c") + TCP4[16:],
        V2 + bytes.fromhex("21 11 000b") + TCP4[16:27],
        V2 + bytes.fromhex("21 21 000c") + TCP4[16:],
        V2 + bytes.fromhex("21 11 1001"),
    ],
)
def test_bad_headers(data):
    with pytest.raises(ProtocolError):
        parse_proxy_header(data, 0)


def test_tlvs_up_to_the_limit():
    data = V2 + bytes.fromhex("21 11 1000") + TCP4[16:] + bytes(4096 - 12)
    assert parse_proxy_header(data, 0) == (CLIENT, 16 + 4096)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", None),
        (b"P", None),
        (b"PROXY", None),
        (b"PROXY ", True),
        (V1, True),
        (b"\r\n\r\n\x00", None),
        (V2, True),
        (TCP4, True),
        (b"GET ", False),
        (b"PROXYX", False),
        (b"\xf8\x02", False),
        (b"\r\n\r\n\x01", False),
    ],
)
def test_first_bytes(head, said):
    assert is_proxy_start(head) is said
    assert is_proxy_start(bytearray(head)) is said


@given(st.sampled_from([b"", *SIGNATURES]), st.binary(max_size=60))
def test_random_bytes_raise_only_what_is_documented(signature, data):
    with suppress(ProtocolError):
        parse_proxy_header(signature + data, 0)


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_every_address_comes_back(address, port):
    line = f"PROXY TCP{address.version} {address} {address} {port} 1\r\n".encode()
    assert parse_proxy_header(line, 0) == (ProxyHeader(str(address), port), len(line))
    family = 0x11 if address.version == 4 else 0x21
    block = address.packed * 2 + port.to_bytes(2, "big") + b"\x00\x01"
    binary = V2 + bytes([0x21, family]) + len(block).to_bytes(2, "big") + block
    assert parse_proxy_header(binary, 0) == (ProxyHeader(str(address), port), len(binary))
