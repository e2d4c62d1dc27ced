import msgpack
import pytest

from services.library.calls import ClientCall, Refusal, Returned, refusal, returned
from shared.calls import Topic


def call(body: bytes = b"", **head: object) -> ClientCall:
    return ClientCall({"signal": 9, "sub_signal": 16, **head}, body)


def test_a_call_says_who_and_what():
    one = call(b"x", token="t", uid=None, key="t", retry=True)
    assert (one.topic, one.token, one.uid, one.key, one.is_retry) == (Topic(9, 16), "t", None, "t", True)
    assert not call().is_retry


def test_bodies_are_read_or_refused():
    assert call(b'{"a": 1}').json() == {"a": 1}
    assert call(msgpack.packb({"op": "list"})).fields() == {"op": "list"}
    for read in (call(b"{").json, call(b"\xc1").fields, call(b"").fields, call(msgpack.packb([1])).fields):
        with pytest.raises(Refusal) as caught:
            read()
        assert caught.value.code == 1


def test_a_refusal_of_own_topics_has_status_and_message():
    assert msgpack.unpackb(refusal(403, "no").body) == {"status": 403, "message": "no"}


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (b"x", Returned(0, b"x")),
        (Returned(255, b"x"), Returned(255, b"x")),
        (Refusal(4, b"x"), Returned(4, b"x")),
        (None, None),
        ("x", None),
        (bytearray(b"x"), None),
        (Returned(256), None),
        (Returned(-1), None),
        (Returned(0, "x"), None),
    ],
)
def test_what_a_handler_says(outcome, answer):
    assert returned(outcome) == answer
