import os
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.subscribe.tokens import TokenMaker, made_at
from shared.tokens import token_fault

NOW = 1_795_000_000_000


def test_a_token_is_time_number_instance_and_chance():
    maker = TokenMaker(lambda size: bytes(range(1, size + 1)))
    assert maker.make(0x0102_0304_0506) == "010203040506" + "0000" + "010203" + "0102030405"
    assert maker.make(0x0102_0304_0506) == "010203040506" + "0001" + "010203" + "0102030405"
    assert maker.make(0x0102_0304_0507)[:16] == "010203040507" + "0000"


@given(st.lists(st.integers(0, NOW), min_size=2, max_size=50))
def test_tokens_grow_whatever_the_clock_does(clock):
    maker = TokenMaker(bytes)
    tokens = [maker.make(now) for now in clock]
    assert all(older < newer for older, newer in pairwise(tokens))
    assert all(made_at(token) >= now for token, now in zip(tokens, clock, strict=True))
    assert {len(token) for token in tokens} == {32}


def test_a_clock_that_went_back_makes_none_twice():
    maker = TokenMaker(os.urandom)
    before = maker.make(NOW)
    after = [maker.make(NOW - 86_400_000) for _ in range(70_000)]  # more than one ms has room for
    assert before < after[0]
    assert after == sorted(set(after))
    assert made_at(after[-1]) == NOW + 1


def test_instances_at_the_same_ms_do_not_clash():
    tokens = [TokenMaker(os.urandom).make(NOW) for _ in range(1000)]
    assert len(set(tokens)) == 1000


def test_time_never_outgrows_its_bytes():
    assert token_fault(TokenMaker(os.urandom).make((1 << 48) - 1).encode()) is None
