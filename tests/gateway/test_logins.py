import base64
import json

import pytest

from gateway.connections import NEVER, Login
from gateway.logins import AcceptedLogin, login_request

ASKED = {"userName": "u", "password": "p", "clientIdentifier": "c"}
ACCEPTED = {
    "uid": "u",
    "token": "c",
    "session_key": base64.b64encode(bytes(range(16))).decode(),
    "expires": 1_800_000_000,
    "ack": {"nodePort": 1},
}


def test_what_is_asked_of_the_login_service():
    assert login_request({**ASKED, "accept": ["deflate"], "else": 5}) == (ASKED, 0)
    numbers = {"userName": 13900000001, "password": 5, "clientIdentifier": 7}
    assert login_request(numbers)[0] == {"userName": "13900000001", "password": "5", "clientIdentifier": "7"}


def test_a_number_of_more_digits_than_are_ever_written():
    assert login_request({**ASKED, "userName": 10**5000}) == ({}, 5)


@pytest.mark.parametrize("value", [None, "", "x" * 256, "a\nb", "\ud800", [], {}, True, 1.5, 1 << 64])
def test_an_identifier_that_is_no_token(value):
    assert login_request({**ASKED, "clientIdentifier": value}) == ({}, 3)


@pytest.mark.parametrize("name", ["userName", "password"])
@pytest.mark.parametrize("value", [None, "x" * 4097, "\ud800", [], {}, True, 1.5, 1 << 64, -1 << 64])
def test_a_name_or_password_that_is_no_text(name, value):
    assert login_request({**ASKED, name: value}) == ({}, 5)


def parse(**changes):
    fields = {name: value for name, value in {**ACCEPTED, **changes}.items() if value != "absent"}
    return AcceptedLogin.parse(json.dumps(fields).encode())


def test_an_accepted_login():
    login = Login("u", [b"c"], 1_800_000_000, bytes(range(16)))
    assert parse() == AcceptedLogin(b"c", login, {"nodePort": 1})
    assert parse(else_=5) == parse()


@pytest.mark.parametrize("absent", [None, "absent"])
def test_an_accepted_login_needs_no_key_and_may_have_no_end(absent):
    accepted = parse(session_key=absent, expires=absent, ack=absent)
    assert accepted == AcceptedLogin(b"c", Login("u", [b"c"], NEVER), {})


@pytest.mark.parametrize(
    ("said", "expires"), [(1e300, NEVER), (float("inf"), NEVER), (10**400, NEVER), (5.9, 5), (float("-inf"), 0)]
)
def test_the_end_of_a_login(said, expires):
    assert parse(expires=said).login.expires == expires


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": None},
        {"uid": ""},
        {"uid": "absent"},
        {"token": 5},
        {"token": "a\n"},
        {"token": "absent"},
        {"session_key": "AAAA"},
        {"session_key": "*"},
        {"session_key": 5},
        {"expires": "soon"},
        {"expires": True},
        {"expires": float("nan")},
    ],
    ids=repr,
)
def test_an_accepted_login_of_the_wrong_shape(changes):
    assert parse(**changes) is None


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"5", b"\xff", b"[" * 5000])
def test_what_is_no_accepted_login(body):
    assert AcceptedLogin.parse(body) is None
