import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bodies import ENCRYPTION_BYTES, decode_body, decrypt, deflate, encrypt, inflate
from shared.errors import BodyError, TooLargeError
from shared.packets import Packet

KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
NONCE = bytes.fromhex("cafebabefacedbaddecaf888")


def test_the_compressed_vector():
    body = bytes.fromhex("ab562a49ad2851b2524a1c05230e28d50200")
    assert inflate(body, 1000) == b'{"text":"' + b"a" * 500 + b'"}'


@given(st.binary(max_size=10_000))
def test_deflate_and_back(body):
    assert inflate(deflate(body), len(body)) == body


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 1 << 20])
def test_sizes(size):
    assert inflate(deflate(b"ab" * (size // 2) + b"c" * (size % 2)), size) == b"ab" * (size // 2) + b"c" * (size % 2)


@pytest.mark.parametrize("limit", [0, 1, 1023, 1024])
def test_the_limit_is_exact(limit):
    assert inflate(deflate(bytes(limit)), limit) == bytes(limit)
    with pytest.raises(TooLargeError, match=f"inflated body of {limit + 1} bytes exceeds the limit of {limit}"):
        inflate(deflate(bytes(limit + 1)), limit)


def test_a_bomb_is_not_inflated():
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
    with pytest.raises(TooLargeError) as caught:
        inflate(body, 1 << 20)
    assert caught.value.size == (1 << 20) + 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"plain",
        zlib.compress(b"with a zlib header"),
        deflate(b"hello" * 50)[:-1],
        deflate(b"hello") + b"!",
        deflate(b"hello") * 2,
    ],
)
def test_bodies_that_are_not_deflate(body):
    with pytest.raises(BodyError):
        inflate(body, 1 << 20)


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_what_is_documented(body):
    with suppress(BodyError, TooLargeError):
        inflate(body, 100)


def test_aes_gcm_spelled_out():
    # Test case 3 of the GCM specification (McGrew and Viega), first 16 bytes of ciphertext.
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
    )
    body = encrypt(plain, KEY, NONCE)
    assert body[:12] == NONCE
    assert body[12:28].hex() == "42831ec2217774244b7221b784d0d49c"
    assert body[-16:].hex() == "4d5c2af327cd64a62cf35abd2ba6fab4"
    assert decrypt(body, KEY) == plain


@given(st.binary(max_size=300), st.binary(min_size=16, max_size=16), st.binary(min_size=12, max_size=12))
def test_encrypt_and_back(body, key, nonce):
    encrypted = encrypt(body, key, nonce)
    assert len(encrypted) == len(body) + ENCRYPTION_BYTES
    assert decrypt(encrypted, key) == body


@pytest.mark.parametrize("at", [0, 11, 12, 20, -1])
def test_a_changed_byte_is_noticed(at):
    body = bytearray(encrypt(b"attack at dawn", KEY, NONCE))
    body[at] ^= 1
    with pytest.raises(BodyError, match="does not fit the session key"):
        decrypt(bytes(body), KEY)


def test_another_key_does_not_fit():
    with pytest.raises(BodyError, match="session key"):
        decrypt(encrypt(b"x", KEY, NONCE), bytes(16))


@pytest.mark.parametrize("size", [0, 1, 12, 27])
def test_too_short_to_be_encrypted(size):
    with pytest.raises(BodyError, match=f"of {size} bytes"):
        decrypt(bytes(size), KEY)


def test_both_flags_are_undone_in_order():
    body = encrypt(deflate(b"hello" * 100), KEY, NONCE)
    packet = Packet(9, 18, 1, body, compressed=True, encrypted=True)
    assert decode_body(packet, KEY, 500) == b"hello" * 100
    with pytest.raises(TooLargeError):
        decode_body(packet, KEY, 499)


def test_each_flag_alone_and_none():
    assert decode_body(Packet(1, body=b"{}"), None, 10) == b"{}"
    assert decode_body(Packet(1, body=deflate(b"{}"), compressed=True), None, 10) == b"{}"
    assert decode_body(Packet(1, body=encrypt(b"{}", KEY, NONCE), encrypted=True), KEY, 10) == b"{}"


def test_encrypted_before_there_is_a_key():
    with pytest.raises(BodyError, match="without a session key"):
        decode_body(Packet(1, body=encrypt(b"{}", KEY, NONCE), encrypted=True), None, 10)
