from hypothesis import given
from hypothesis import strategies as st

from gateway.held_pushes import HeldPush, HeldPushes
from shared.bus import Segment

SEGMENT = Segment(1, 0, bytes(16), 4, 0)


def push(place, payload=b""):
    return HeldPush(0, 1, place, SEGMENT, place, payload)


def test_a_tokens_pushes_come_out_in_order():
    held = HeldPushes(10, 1000)
    for place, token in enumerate([b"a", b"b", b"a", b"a"]):
        assert held.hold(token, push(place, b"xy"))
    assert (held.count, held.bytes) == (4, 8)
    assert [one.place for one in held.take(b"a")] == [0, 2, 3]
    assert (held.count, held.bytes) == (1, 2)
    assert held.take(b"a") == []
    assert held.take(b"unheard of") == []


def test_over_the_number_nothing_is_taken():
    held = HeldPushes(2, 1000)
    assert [held.hold(b"a", push(place)) for place in range(3)] == [True, True, False]
    held.take(b"a")
    assert held.hold(b"a", push(3))


def test_over_the_bytes_nothing_is_taken():
    held = HeldPushes(10, 10)
    assert held.hold(b"a", push(0, b"x" * 6))
    assert not held.hold(b"b", push(1, b"x" * 5))
    assert held.hold(b"b", push(2, b"x" * 4))
    assert held.bytes == 10


def test_everything_can_be_taken_at_once():
    held = HeldPushes(10, 1000)
    for place, token in enumerate([b"a", b"b", b"a"]):
        held.hold(token, push(place, b"xyz"))
    assert [(token, one.place) for token, one in held.take_all()] == [(b"a", 0), (b"a", 2), (b"b", 1)]
    assert (held.count, held.bytes, held.take_all()) == (0, 0, [])


def test_the_tokens_can_be_listed_while_some_are_taken():
    held = HeldPushes(10, 1000)
    for place, token in enumerate([b"a", b"b", b"c"]):
        held.hold(token, push(place))
    for token in held.tokens():
        held.take(token)
    assert (held.count, held.tokens()) == (0, [])


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 9)), max_size=60),
    st.integers(0, 12),
    st.integers(0, 40),
)
def test_bounds_and_order_agree_with_a_list(steps, most, most_bytes):
    held, naive = HeldPushes(most, most_bytes), []
    for place, (takes, token, size) in enumerate(steps):
        if takes:
            expected = [one for key, one in naive if key == token]
            naive = [(key, one) for key, one in naive if key != token]
            assert held.take(token) == expected
        else:
            one = push(place, b"x" * size)
            fits = len(naive) < most and sum(len(kept.payload) for _, kept in naive) + size <= most_bytes
            assert held.hold(token, one) == fits
            naive += [(token, one)] if fits else []
        assert held.count == len(naive)
        assert held.bytes == sum(len(kept.payload) for _, kept in naive)


def test_the_first_ones_are_taken_and_the_others_stay():
    held = HeldPushes(10, 100)
    pushes = [HeldPush(0, 1, place, SEGMENT, place, b"xx") for place in range(3)]
    for push in pushes:
        held.hold(b"a", push)
    assert held.take(b"a", 2) == pushes[:2]
    assert (held.count, held.bytes, held.has(b"a")) == (1, 2, True)
    assert held.take(b"a", 2) == pushes[2:]
    assert not held.has(b"a")
