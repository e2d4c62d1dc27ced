import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connections import Connection, Granted, Login, Pending, Protocol, State, decode_record, encode_record
from gateway.messages import Partial
from shared.errors import BusError

FIELDS = tuple(name for name in Connection.__slots__ if name not in ("partial", "scheduled"))
#: Begin anew with a new holder: places in its tables, its clock, what it reads.
LOCAL = ("fd", "full_since", "paused", "rate_tick", "rate_bytes", "rate_packets", "extra")

small = st.integers(0, 2**31)
tokens = st.binary(min_size=1, max_size=255)
recent = st.dictionaries(
    st.binary(min_size=18, max_size=18), st.tuples(st.integers(0, 10), st.integers(970, 1000)), max_size=5
)


@st.composite
def connections(draw):
    connection = Connection(7, draw(st.text(max_size=50)))
    connection.protocol = draw(st.sampled_from(Protocol))
    connection.state = draw(st.sampled_from(State))
    connection.granted = draw(st.integers(0, 511))
    connection.token = draw(st.none() | tokens)
    connection.uid = draw(st.none() | st.text(min_size=1, max_size=20))
    connection.binding, connection.bound_by = draw(st.integers(0, 2**63)), draw(st.sampled_from(["", "h/0"]))
    connection.moves = draw(small)
    connection.fan_out_seen = draw(st.lists(st.integers(0, 2**63), max_size=3).map(tuple))
    connection.pending = draw(st.none() | st.builds(Pending, tokens, st.integers(0, 65_535), st.booleans()))
    connection.login = draw(st.none() | st.builds(Login, st.text(min_size=1), st.lists(tokens, max_size=3), small))
    connection.proxied = draw(st.integers(0, 3))
    connection.window_bits = draw(st.sampled_from([0, *range(8, 16)]))
    connection.beat, connection.last_message_id = draw(st.integers(0, 600)), draw(st.integers(0, 65_535))
    connection.deadline = draw(st.integers(1001, 1600))
    connection.input, connection.output = draw(buffers), draw(buffers)
    connection.partial = draw(
        st.none() | st.builds(Partial, st.sampled_from([1, 2]), st.booleans(), st.binary(), st.binary(max_size=3))
    )
    connection.unacknowledged = draw(st.none() | st.sets(st.integers(1, 65_535), min_size=1, max_size=5))
    connection.recent = draw(st.none() | recent.filter(bool))
    return connection


buffers = st.none() | st.binary(min_size=1, max_size=100).map(bytearray)


def fields_of(connection):
    values = {name: getattr(connection, name) for name in FIELDS if name not in LOCAL}
    partial = connection.partial
    values["partial"] = partial and (partial.opcode, partial.compressed, partial.data, partial.utf8_tail)
    return values


@given(connections())
def test_a_record_comes_out_as_it_went_in(connection):
    arrived = decode_record(encode_record(connection, 1000), 9, 1000)
    assert arrived.fd == 9
    assert fields_of(arrived) == fields_of(connection)
    assert {name: getattr(arrived, name) for name in LOCAL[1:]} == dict.fromkeys(LOCAL[1:-1], 0) | {"extra": None}


@given(connections())
def test_times_are_told_apart_from_the_clocks_of_two_workers(connection):
    arrived = decode_record(encode_record(connection, 1000), 9, 50)
    assert arrived.deadline - 50 == connection.deadline - 1000
    ages = {key: 1000 - when for key, (_, when) in (connection.recent or {}).items()}
    assert {key: 50 - when for key, (_, when) in (arrived.recent or {}).items()} == ages


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("state", list(State))
def test_every_protocol_and_state(protocol, state):
    connection = Connection(7, "1.2.3.4:5")
    connection.protocol, connection.state, connection.deadline = protocol, state, 11
    arrived = decode_record(encode_record(connection, 1), 8, 1)
    assert (arrived.protocol, arrived.state, arrived.deadline) == (protocol, state, 11)


def test_a_deadline_that_has_passed_leaves_a_moment():
    connection = Connection(7, "a")
    connection.deadline = 3
    assert decode_record(encode_record(connection, 10), 8, 10).deadline == 11


def test_an_idle_record_is_short():
    connection = Connection(7, "127.0.0.1:50000")
    connection.protocol, connection.state, connection.granted = Protocol.WS_TEXT, State.BOUND, Granted.HEARD
    connection.token, connection.binding, connection.deadline = b"alice", 1_700_000_000_000, 600
    fields = msgpack.unpackb(encode_record(connection, 0))
    assert fields == {
        "version": 1,
        "address": "127.0.0.1:50000",
        "protocol": 3,
        "state": 2,
        "granted": 128,
        "token": b"alice",
        "binding": 1_700_000_000_000,
        "remaining": 600,
    }


unknown_values = st.recursive(st.none() | st.integers(0, 9) | st.binary(max_size=9) | st.text(max_size=9), st.lists)


@given(st.dictionaries(st.text(min_size=1, max_size=9).map(lambda name: "x-" + name), unknown_values, max_size=4))
def test_fields_of_a_newer_version_are_kept_and_passed_on(unknown):
    connection = Connection(7, "a")
    fields = msgpack.unpackb(encode_record(connection, 1)) | unknown | {"version": 9}
    arrived = decode_record(msgpack.packb(fields), 8, 1)
    assert (arrived.extra or {}) == unknown
    again = msgpack.unpackb(encode_record(arrived, 1))
    assert again == fields | {"version": 1}


def test_a_newer_version_may_add_to_the_lists_in_a_record():
    connection = Connection(7, "a")
    connection.login, connection.pending = Login("bob", [b"t"], 99), Pending(b"t", 5, True)
    connection.recent = {b"k": (0, 1)}
    fields = msgpack.unpackb(encode_record(connection, 1))
    for name in ("login", "pending"):
        fields[name].append("new")
    fields["recent"][0].append("new")
    arrived = decode_record(msgpack.packb(fields), 8, 1)
    assert (arrived.login, arrived.pending, arrived.recent) == (connection.login, connection.pending, {b"k": (0, 1)})


WRONG_FIELDS = [
    {"remaining": "soon"},
    {"protocol": 7},
    {"protocol": -1},
    {"protocol": "v2"},
    {"state": 4},
    {"state": None},
    {"token": "text"},
    {"token": 5},
    {"granted": []},
    {"address": None},
    {"address": 5},
    {"uid": b"bytes"},
    {"binding": "1"},
    {"fan_out_seen": None},
    {"login": 1},
    {"login": ["bob"]},
    {"pending": []},
    {"pending": ["text", 0, False]},
    {"input": 5},
    {"input": "text"},
    {"output": {"a": 1}},
    {"partial": {}},
    {"partial": []},
    {"unacknowledged": 3},
    {"unacknowledged": [[]]},
    {"recent": [[b"k", 1]]},
    {"recent": [[[], 1, 1]]},
    {"recent": [[b"k", 0, "old"]]},
]


@pytest.mark.parametrize("wrong", WRONG_FIELDS, ids=repr)
def test_a_field_of_the_wrong_kind(wrong):
    fields = {"version": 1, "address": "a", "protocol": 2, "remaining": 5} | wrong
    with pytest.raises(BusError, match="malformed record"):
        decode_record(msgpack.packb(fields), 8, 1)


def test_a_record_without_its_deadline():
    with pytest.raises(BusError):
        decode_record(msgpack.packb({"version": 1, "protocol": 2}), 8, 1)


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_what_is_documented(data):
    with pytest.raises(BusError):
        decode_record(data, 8, 1)


def test_fan_outs_seen_of_one_router_are_told_as_older_versions_do():
    connection = Connection(7, "test")
    connection.deadline = 5
    connection.fan_out_seen = (9, 0, 3)
    fields = msgpack.unpackb(encode_record(connection, 0))
    assert (fields["fan_out_seen"], fields["fan_outs_seen"]) == (9, [0, 3])
    del fields["fan_outs_seen"]
    assert decode_record(msgpack.packb(fields), 7, 0).fan_out_seen == (9,)


@pytest.mark.parametrize("seen", [["x"], [None], 5])
def test_fan_outs_seen_that_are_no_numbers(seen):
    record = msgpack.packb({"remaining": 5, "fan_out_seen": 1, "fan_outs_seen": seen})
    with pytest.raises(BusError):
        decode_record(record, 7, 0)
