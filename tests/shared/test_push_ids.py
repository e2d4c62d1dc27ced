from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from shared.push_ids import PREFIX_BYTES, id_prefix, push_id


def test_a_push_id_spelled_out():
    prefix = id_prefix(b"billing", b"order-17")
    assert prefix == sha256(b"billing\0order-17").digest()[:16]
    assert push_id(prefix, 42) == sha256(b"billing\0order-17").hexdigest()[:32] + "-42"


def test_name_and_id_do_not_run_together():
    assert id_prefix(b"ab", b"c") != id_prefix(b"a", b"bc")


@given(st.binary(min_size=PREFIX_BYTES, max_size=PREFIX_BYTES), st.integers(0, 65535))
def test_form(prefix, index):
    text = push_id(prefix, index)
    digits, dash, number = text.partition("-")
    assert (bytes.fromhex(digits), dash, int(number)) == (prefix, "-", index)
    assert digits == digits.lower()
