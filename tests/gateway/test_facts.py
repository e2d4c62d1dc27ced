"""gateway/facts.py: the part of a record that outlives its worker."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connections import Connection, Login, Pending, Protocol, State
from gateway.facts import decode_facts, encode_facts, unacknowledged_of, window_of
from shared.errors import BusError

KEPT = (
    "address",
    "protocol",
    "state",
    "granted",
    "token",
    "uid",
    "binding",
    "bound_by",
    "proxied",
    "window_bits",
    "beat",
    "login",
    "extra",
)

names = st.text(max_size=20)
tokens = st.binary(min_size=1, max_size=64)
records = st.fixed_dictionaries(
    {"address": names, "protocol": st.sampled_from(Protocol), "state": st.sampled_from(State)},
    optional={
        "granted": st.integers(1, 511),
        "token": tokens,
        "uid": st.text(min_size=1, max_size=20),
        "binding": st.integers(1, 2**63),
        "bound_by": st.text(min_size=1, max_size=20),
        "proxied": st.integers(1, 3),
        "window_bits": st.integers(9, 15),
        "beat": st.integers(1, 86_400),
        "login": st.builds(Login, names, st.lists(tokens, max_size=3), st.integers(0, 2**40)),
        "extra": st.dictionaries(st.text(min_size=2, max_size=9), st.integers(0, 99), min_size=1),
    },
)


def connection(**fields):
    made = Connection(5, "")
    made.protocol = Protocol.V0
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@given(records)
def test_facts_come_out_as_they_went_in(fields):
    before = connection(**fields)
    after = decode_facts(encode_facts(before), 9)
    assert after.fd == 9
    for name in KEPT:
        assert getattr(after, name) == getattr(before, name), name


def test_what_is_in_motion_has_marks_instead():
    busy = connection(
        input=bytearray(b"x"), output=bytearray(b"y"), pending=Pending(b"t", 1, True), deadline=99, last_message_id=7
    )
    assert encode_facts(busy) == encode_facts(connection())


#: Written by version 1. Later versions must read it for as long as they take over from workers of that one.
VECTOR = bytes.fromhex(
    "8da161ae3139322e302e322e313a34303030a17002a17302a1670da174c405616c696365a175a5616c696365a162cf"
    "0000019b0000c350a177a3682f30a17801a17a0ca1681ea16c93a5616c69636591c405616c696365ce77359400a165"
    "81a46d6f6f64a4676f6f64"
)
FULL = {
    "address": "192.0.2.1:4000",
    "protocol": Protocol.V2,
    "state": State.BOUND,
    "granted": 13,
    "token": b"alice",
    "uid": "alice",
    "binding": 0x19B_0000_C350,
    "bound_by": "h/0",
    "proxied": 1,
    "window_bits": 12,
    "beat": 30,
    "login": Login("alice", [b"alice"], 2_000_000_000),
    "extra": {"mood": "good"},
}


def test_the_bytes_of_version_1():
    assert encode_facts(connection(**FULL)) == VECTOR
    read = decode_facts(VECTOR, 5)
    assert {name: getattr(read, name) for name in KEPT} == FULL


def test_facts_of_an_idle_client_fit_a_slot():
    idle = connection(**{**FULL, "login": None, "extra": None, "token": b"t" * 64, "address": "[2001:db8::1]:65535"})
    assert len(encode_facts(idle)) < 160


def test_keys_of_a_newer_version_are_kept():
    data = msgpack.packb({"a": "192.0.2.1:1", "p": 2, "e": {"mood": "good"}, "new": [1, 2]})
    read = decode_facts(data, 5)
    assert read.extra == {"mood": "good", "new": [1, 2]}
    assert decode_facts(encode_facts(read), 5).extra == read.extra


def test_a_login_of_a_newer_version_may_say_more():
    assert decode_facts(msgpack.packb({"l": ["u", [b"t"], 5, "more"]}), 5).login == Login("u", [b"t"], 5)


@pytest.mark.parametrize(
    "facts", [5, None, [], "text", {"p": 99}, {"s": 9}, {"p": "v2"}, {"l": 5}, {"l": ["u"]}, {"e": 5}], ids=repr
)
def test_wrong_facts(facts):
    with pytest.raises(BusError, match="malformed facts"):
        decode_facts(msgpack.packb(facts), 5)


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_what_is_documented(data):
    with contextlib.suppress(BusError):
        decode_facts(data, 5)


def test_cut_facts():
    for size in range(len(VECTOR)):
        with pytest.raises(BusError):
            decode_facts(VECTOR[:size], 5)


@pytest.mark.parametrize(
    ("last", "ids", "bits"),
    [
        (0, set(), 0),
        (1, {1}, 0b1),
        (5, {1, 3, 5}, 0b10101),
        (2, {65_534, 65_535, 1, 2}, 0b1111),
        (64, {1}, 1 << 63),
        (65, {1}, 0),
        (65_535, {65_535}, 1),
    ],
)
def test_windows(last, ids, bits):
    assert window_of(last, ids) == bits
    assert unacknowledged_of(last, bits) == (ids if bits else set())
