import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RequestError
from shared.origins import Origin, is_request_id, known_traceparent, record_request_id
from shared.requests import parse_options

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "text", ["a", "x" * 64, "orders/3/17", "0b8e5c1e-2f4f-4a38-9d77-5ed9cbb17f1a", "a.b_c:d@e+f=g#h"]
)
def test_request_ids(text):
    assert is_request_id(text)


@pytest.mark.parametrize(
    "text", ["", "x" * 65, "a b", "a\n", "a\r\nb", "ü", "a\0", "\x1b[31m", "a\u2028", '"', "\uff11"]
)
def test_what_is_no_request_id(text):
    assert not is_request_id(text)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f" {TRACEPARENT} ", TRACEPARENT),
        (f"cc{TRACEPARENT[2:]}-what-the-future-brings", TRACEPARENT),
        (f"{TRACEPARENT}-x", ""),
        (f"ff{TRACEPARENT[2:]}", ""),
        (f"cc{TRACEPARENT[2:]}x", ""),
        (TRACEPARENT.upper(), ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", ""),
        ("", ""),
        ("00", ""),
    ],
)
def test_traceparents(said, known):
    assert known_traceparent(said) == known


@given(st.text(max_size=70))
def test_whatever_is_said_gives_a_traceparent_or_none(said):
    assert known_traceparent(said) in ("", f"00{said.strip()[2:55]}")


def test_what_is_sampled_and_shown():
    assert Origin("", TRACEPARENT).sampled
    assert not Origin("", f"{TRACEPARENT[:-2]}00").sampled
    assert not Origin("a").sampled
    assert Origin("a", TRACEPARENT).shown == "a"
    assert Origin("", TRACEPARENT).shown == "0af7651916cd43dd8448eb211c80319c"


@given(st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
def test_a_record_has_a_request_id(topic, partition, offset):
    request_id = record_request_id(topic, partition, offset)
    assert is_request_id(request_id)
    assert request_id.endswith(f"/{partition}/{offset}")


def test_the_options_of_a_push():
    both = f'{{"request_id":"web/7","traceparent":"{TRACEPARENT}"}}'.encode()
    assert parse_options(both).origin == Origin("web/7", TRACEPARENT)
    assert parse_options(b'{"request_id":"web/7"}').origin == Origin("web/7")
    assert parse_options(b'{"ttl":1}').origin is None


@pytest.mark.parametrize(
    "options", [b'{"request_id":""}', b'{"request_id":"a\\n"}', b'{"request_id":7}', b'{"traceparent":"00-1-2-3"}']
)
def test_bad_options_are_named(options):
    with pytest.raises(RequestError, match=r"request_id|traceparent"):
        parse_options(options)
