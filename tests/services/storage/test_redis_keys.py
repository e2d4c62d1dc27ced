"""Names of keys: one slot for all keys of a text, and no two texts with one key."""

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from services.storage.redis_keys import BUCKETS, Keys, bucket_of
from tests.services.storage.odd_texts import ODD_TEXTS

KEYS = Keys("push")
TEXTS = st.one_of(st.sampled_from(ODD_TEXTS), st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()))


def test_form() -> None:
    assert KEYS.of("sessions", "u1") == "push:sessions:{u1}"
    assert KEYS.of("members", "a}%{b", "x:y") == "push:members:{a%7D%25%7Bb}:x:y"
    assert KEYS.alone("schema") == "push:schema"


@given(TEXTS)
def test_keys_of_one_text_are_in_one_slot(text: str) -> None:
    keys = [KEYS.of("group", text), KEYS.of("members", text, "0a:token"), KEYS.of("groups", text, "uid")]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert 0 <= bucket_of(text) < BUCKETS


@given(TEXTS, TEXTS)
def test_two_texts_have_two_keys(one: str, other: str) -> None:
    assert (KEYS.of("group", one) == KEYS.of("group", other)) is (one == other)
