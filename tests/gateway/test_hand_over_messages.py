import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hand_over_messages import Ask, Give, Have, Hello, Keep, Kept, Moved, Taken, decode, encode
from shared.errors import BusError
from shared.rings import Epoch

numbers = st.integers(0, 2**63)
epochs = st.builds(Epoch, numbers, st.integers(0, 2**32))
ids = st.lists(numbers, max_size=5)
messages = st.one_of(
    st.builds(Hello, st.text(max_size=30)),
    st.builds(Give, numbers, epochs, st.lists(st.none() | st.binary(max_size=50), max_size=5), ids),
    st.builds(Taken, numbers, st.lists(st.integers(0, 99), max_size=5)),
    st.builds(Moved, st.text(max_size=30), epochs),
    st.builds(Ask, ids),
    st.builds(Have, ids, ids),
    st.builds(Keep, st.text(max_size=30)),
    st.builds(Kept, st.text(max_size=30)),
)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Hello("h/0"), ["hello", 1, "h/0"]),
        (Give(7, Epoch(5, 2), [b"record", None], [3, 4]), ["give", 1, 7, [5, 2], [b"record", None], [3, 4]]),
        (Taken(7, [1]), ["taken", 1, 7, [1]]),
        (Moved("h/1", Epoch(5, 2)), ["moved", 1, "h/1", [5, 2]]),
        (Ask([3, 4]), ["ask", 1, [3, 4]]),
        (Have([3, 4], [4]), ["have", 1, [3, 4], [4]]),
        (Keep("h/2"), ["keep", 1, "h/2"]),
        (Kept("h/2"), ["kept", 1, "h/2"]),
    ],
)
def test_the_form_of_each_message(message, fields):
    assert msgpack.unpackb(encode(message)) == fields
    assert decode(msgpack.packb(fields)) == message


@given(messages)
def test_a_message_comes_out_as_it_went_in(message):
    decoded = decode(encode(message))
    assert decoded == message
    assert type(decoded) is type(message)


@given(messages, st.integers(1, 9), st.lists(st.none() | st.integers(0, 5) | st.text(max_size=5), max_size=3))
def test_elements_of_a_newer_version_are_passed_over(message, version, more):
    fields = msgpack.unpackb(encode(message))
    fields[1] = version
    assert decode(msgpack.packb([*fields, *more])) == message


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {},
        5,
        None,
        ["give"],
        [["give"], 1],
        [5, 1],
        [b"give", 1],
        ["ask", 1],
        ["ask", 1, ["3"]],
        ["have", 1, [3]],
        ["have", 1, [3], [None]],
        ["keep", 1, 2],
        ["kept", 1, None],
        ["give", 1, 7, [5, 2], [], 5],
        ["give", 1, 7, [5, 2], [], ["3"]],
        [None, 1, 2],
        ["hello", 1],
        ["hello", 1, 5],
        ["give", 1, 7, [5, 2]],
        ["give", 1, 7, [5], []],
        ["give", 1, 7, "ab", []],
        ["give", 1, 7, None, []],
        ["give", 1, 7, [5, 2], 5],
        ["give", 1, 7, [5, 2], ["text"]],
        ["give", 1, 7, [5, 2], None],
        ["give", 1, [], [5, 2], []],
        ["taken", 1, 7],
        ["taken", 1, 7, 5],
        ["taken", 1, 7, [[]]],
        ["taken", 1, 7, ["0"]],
        ["taken", 1, [], []],
        ["moved", 1, "h/1"],
        ["moved", 1, "h/1", {}],
        ["moved", 1, [], [5, 2]],
    ],
    ids=repr,
)
def test_wrong_messages(fields):
    with pytest.raises(BusError, match="malformed hand-over message"):
        decode(msgpack.packb(fields))


@pytest.mark.parametrize("fields", [["unheard"], ["unheard", 1], ["", 2, None], ["GIVE", 1, 7, [5, 2], []]])
def test_a_kind_of_a_newer_version_is_none(fields):
    assert decode(msgpack.packb(fields)) is None


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_what_is_documented(data):
    try:
        message = decode(data)
    except BusError:
        return
    assert message is None or decode(encode(message)) == message


def test_a_cut_message():
    data = encode(Give(1, Epoch(1, 1), [b"x" * 100]))
    for size in range(len(data)):
        with pytest.raises(BusError):
            decode(data[:size])
