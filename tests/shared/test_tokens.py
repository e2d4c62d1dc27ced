import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tokens import SLOTS, encode_token, slot_of, token_fault

OWNERS = json.loads((Path(__file__).parents[1] / "vectors" / "owners.json").read_text())


@pytest.mark.parametrize("case", OWNERS, ids=lambda case: f"{case['token'][:12]}-{len(case['live'])}")
def test_slots_are_those_of_the_vectors(case):
    assert slot_of(case["token"].encode()) == case["slot"]


@given(st.binary(max_size=300))
def test_every_token_falls_into_a_slot(token):
    assert 0 <= slot_of(token) < SLOTS


@pytest.mark.parametrize("token", ["a", "alice", "用户-1", "x" * 255, "é" * 127, "a b", "~", "\xa0", "\U0001f4e3"])
def test_good_tokens(token):
    assert token_fault(token.encode()) is None
    assert encode_token(token) == (token.encode(), None)


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (b"", "token is empty"),
        (b"x" * 256, "token of 256 bytes exceeds the limit of 255"),
        ("é".encode() * 128, "token of 256 bytes exceeds the limit of 255"),
        (b"\xff", "token is not UTF-8"),
        (b"\xed\xa0\x80", "token is not UTF-8"),
        *[(bytes([code]), "token contains control characters") for code in (*range(0x20), 0x7F)],
        *[(chr(code).encode(), "token contains control characters") for code in range(0x80, 0xA0)],
        (b"alice\n", "token contains control characters"),
    ],
)
def test_bad_tokens(token, fault):
    assert token_fault(token) == fault


@pytest.mark.parametrize("value", [None, 1, True, [], {}, b"alice"])
def test_a_token_that_is_no_text(value):
    assert encode_token(value) == (b"", "token is not a string")


def test_half_a_surrogate_pair_is_no_token():
    assert encode_token("\ud800") == (b"", "token is not valid Unicode")


@given(st.text(max_size=300))
def test_a_token_has_either_bytes_or_a_fault(text):
    token, fault = encode_token(text)
    assert (token == b"") == (fault is not None)
    if token:
        assert token.decode() == text
        assert len(token) <= 255
