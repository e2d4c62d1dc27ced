"""The token of a login and the password of CONNECT, beside openssl."""

import random
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.login.tokens import (
    HOURS_SINCE,
    LoginToken,
    is_usertoken_of,
    make_secret,
    make_usertoken,
    open_password,
    seal_password,
    seal_token,
    session_key,
)
from tests.services.login.openssl import openssl_aes

CLIENT_KEY = bytes.fromhex("001122334455667778797a7b7c7d7e7f")
NOW = HOURS_SINCE + 77_777 * 3600 + 59


def test_a_client_reads_the_token():
    token = LoginToken("dXNlcnRva2Vu", "0123456789abcdefXYZ", "db")
    opened = openssl_aes(b64decode(seal_token(token, NOW, CLIENT_KEY)), CLIENT_KEY, decrypt=True)
    assert opened == (77_777).to_bytes(4, "little") + b"dXNlcnRva2Vu|0123456789abcdefXYZ|db"
    assert token.session_key == b"0123456789abcdef"


def test_a_client_makes_the_password():
    key = b"0123456789abcdef"
    sealed = openssl_aes(b"\xde\xad\xbe\xef" + b"the usertoken", key)  # whatever its hours are
    assert open_password(b64encode(sealed).decode(), key) == b"the usertoken"
    usertoken = b64encode(b"the usertoken").decode()
    assert openssl_aes(b64decode(seal_password(usertoken, NOW, key)), key, decrypt=True)[4:] == b"the usertoken"


@pytest.mark.parametrize("password", ["", "AAAA", "!!!", "A" * 4096, b64encode(bytes(16)).decode(), "é"])
def test_a_password_that_is_none(password: str):
    assert open_password(password, b"0123456789abcdef") is None


@given(st.text())
def test_no_password_raises(password: str):
    open_password(password, b"0123456789abcdef")


def test_a_password_under_another_key():
    password = seal_password(b64encode(b"x" * 48).decode(), NOW, b"0123456789abcdef")
    assert open_password(password, b"fedcba9876543210") != b"x" * 48


def test_a_usertoken_is_signed():
    key = b"s" * 32
    made = b64decode(make_usertoken("alice", NOW, b"12345678", key))
    assert len(made) % 8 == 0
    assert is_usertoken_of(made, "alice", key)
    assert not is_usertoken_of(made, "alicf", key)
    assert not is_usertoken_of(made, "alice", b"t" * 32)
    assert not is_usertoken_of(b"", "alice", key)
    for place in range(len(made)):
        forged = made[:place] + bytes([made[place] ^ 1]) + made[place + 1 :]
        assert not is_usertoken_of(forged, "alice", key)


def test_a_secret_is_printable_and_long_enough():
    secret = make_secret(random.Random(1).choice)
    assert len(secret) >= 16
    assert secret.isalnum()
    assert len(session_key(secret)) == 16
