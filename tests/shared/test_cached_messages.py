from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import cached_messages as codec
from shared.cached_messages import (
    Clear,
    Copy,
    Count,
    Counted,
    Drop,
    Dropped,
    Full,
    Message,
    Messages,
    Read,
    Store,
    Stored,
)
from shared.calls import Internal, Topic
from shared.errors import BusError
from shared.signals import Signal

KEY = bytes(range(16)) + b"\x01\x02"

tokens = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=50).map(str.encode)
wholes = st.integers(0, (1 << 53) - 1)
bytes_ = st.binary(max_size=100)
keys = st.binary(min_size=18, max_size=18)
small = st.integers(0, 255)
operations = st.one_of(
    st.builds(
        Store,
        tokens,
        keys,
        small,
        small,
        wholes,
        st.none() | st.text(max_size=100),
        st.text(max_size=60),
        bytes_,
        request_id=st.text("a7:-", max_size=64),
    ),
    st.builds(Read, tokens, wholes, wholes, wholes),
    st.builds(Drop, tokens, st.lists(wholes)),
    st.builds(Clear, tokens),
    st.builds(Count, tokens),
)
results = st.one_of(
    st.builds(Stored, wholes, wholes, wholes),
    st.builds(Copy, wholes),
    st.builds(Full),
    st.builds(codec.Failed, st.text()),
    st.builds(
        Messages, st.lists(st.builds(Message, wholes, keys, small, small, wholes, bytes_)), wholes, st.booleans()
    ),
    st.builds(Dropped, wholes),
    st.builds(codec.Cleared, wholes),
    st.builds(Counted, wholes, wholes),
)


def test_operations_spelled_out():
    body = codec.encode_operations(
        [Store(b"alice", KEY, 3, 0, 1_700_000_000_000, "score", "billing", b"hi"), Clear(b"bob")]
    )
    assert msgpack.unpackb(body) == [
        ["store", b"alice", KEY, 3, 0, 1_700_000_000_000, "score", "billing", b"hi", False, ""],
        ["clear", b"bob"],
    ]


def test_results_spelled_out():
    body = codec.encode_results([Stored(7, 0), Full(), Messages([Message(7, KEY, 3, 0, 5, b"hi")], 9, True)])
    assert msgpack.unpackb(body) == [
        ["stored", 7, 0, 0],
        ["full"],
        ["messages", [[7, KEY, 3, 0, 5, b"hi", ""]], 9, True],
    ]


@given(st.lists(operations))
def test_operations_come_back(sent):
    decoded = codec.decode_operations(codec.encode_operations(sent))
    assert decoded == sent
    assert [type(each) for each in decoded] == [type(each) for each in sent]


@given(st.lists(results))
def test_results_come_back(sent):
    decoded = codec.decode_results(codec.encode_results(sent))
    assert decoded == sent
    assert [type(each) for each in decoded] == [type(each) for each in sent]


def test_tokens_may_be_text_and_unknown_fields_are_passed_over():
    body = msgpack.packb([["read", "alice", 0, 10, 1000, "new"], ["count", "bob", None]])
    assert codec.decode_operations(body) == [Read(b"alice", 0, 10, 1000), Count(b"bob")]
    assert codec.decode_results(msgpack.packb([["copy", 3, "new"], ["stored", 4, 0, 1, "new"]])) == [
        Copy(3),
        Stored(4, 0, 1),
    ]


def test_request_ids_are_no_part_of_what_older_processes_say():
    said = ["store", b"alice", KEY, 3, 0, 5, None, "", b"hi"]
    bodies = [msgpack.packb([[*said, *more]]) for more in ([], [True], [True, "order-7"], [True, "order-7", "new"])]
    stores = [codec.decode_operations(body)[0] for body in bodies]
    assert [(one.absent, one.request_id) for one in stores] == [(False, ""), *[(True, "")], *[(True, "order-7")] * 2]
    kept = [7, KEY, 3, 0, 5, b"hi"]
    body = msgpack.packb([["messages", [kept, [*kept, "order-7"], [*kept, "order-7", "new"]], 9, False]])
    [result] = codec.decode_results(body)
    assert [one.request_id for one in result.messages] == ["", "order-7", "order-7"]


def test_an_older_cache_does_not_say_whether_it_replaced_one():
    assert codec.decode_results(msgpack.packb([["stored", 4, 2]])) == [Stored(4, 2, 0)]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        "store",
        7,
        ["steal", b"alice"],
        [["store"], b"alice"],
        ["count"],
        ["count", 7],
        ["count", b""],
        ["count", b"\xff"],
        ["count", b"a\0"],
        ["count", b"x" * 256],
        ["store", b"alice", KEY[1:], 3, 0, 5, None, "", b""],
        ["store", b"alice", KEY, 256, 0, 5, None, "", b""],
        ["store", b"alice", KEY, 3, 0, 1 << 53, None, "", b""],
        ["store", b"alice", KEY, 3, 0, 1.5, None, "", b""],
        ["store", b"alice", KEY, 3, 0, 5, 7, "", b""],
        ["store", b"alice", KEY, 3, 0, 5, "x" * 513, "", b""],
        ["store", b"alice", KEY, 3, 0, 5, None, None, b""],
        ["store", b"alice", KEY, 3, 0, 5, None, "", "text"],
        ["store", b"alice", KEY, 3, 0, 5, None, ""],
        ["store", b"alice", KEY, 3, 0, 5, None, "", b"", False, "x" * 65],
        ["store", b"alice", KEY, 3, 0, 5, None, "", b"", False, 7],
        ["read", b"alice", -1, 1, 1],
        ["read", b"alice", 0, True, 1],
        ["drop", b"alice", 7],
        ["drop", b"alice", ["x"]],
    ],
)
def test_malformed_operations(fields):
    with pytest.raises(BusError):
        codec.decode_operations(msgpack.packb([fields]))


@pytest.mark.parametrize("fields", [["stored", 1], ["copy", "x"], ["messages", [[1]], 1, False], ["messages", 1, 1, 1]])
def test_malformed_results(fields):
    with pytest.raises(BusError):
        codec.decode_results(msgpack.packb([fields]))


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_bus_errors(body):
    for decode in (codec.decode_operations, codec.decode_results):
        with suppress(BusError):
            decode(body)


def test_keys_are_made_of_prefix_and_position():
    assert codec.key_of(bytes(range(16)), 258) == KEY
    assert codec.prefix_and_position(KEY) == (bytes(range(16)), 258)


def test_the_cache_of_a_token():
    assert codec.topic_of(b"alice", 1) == Topic(Signal.NONE, Internal.MESSAGES)
    assert {codec.topic_of(b"t%d" % i, 3).sub_signal for i in range(50)} == {64, 65, 66}
