import pytest

from services.sender.options import DEFAULT, encode_options
from shared.errors import SenderError
from shared.origins import Origin
from shared.requests import parse_options


@pytest.mark.parametrize(
    "options", [{}, {"timeout_ms": 100}, {"to": "all", "sub_signal": "MN"}, {"collapse": 'a"\\/ä', "ttl": 3}]
)
def test_with_id_is_what_was_said_and_the_id(options: dict[str, object]):
    parsed = parse_options(encode_options(options).with_id("k-1"))
    assert parsed.id == "k-1"
    for name in options.keys() - {"sub_signal"}:
        assert getattr(parsed, name) == options[name]


def test_what_the_protocol_needs_to_know():
    assert (DEFAULT.to_many, DEFAULT.timeout_s) == (False, 5.0)
    everybody = encode_options({"to": "all", "timeout_ms": 1500})
    assert (everybody.to_many, everybody.timeout_s) == (True, 1.5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"id": "mine"}, "id is set by the sender itself"),
        ({"ttl": -1}, "ttl is not a whole number"),
        ({"to": "nobody"}, "to is none of"),
        ({"collapse": object()}, "collapse|JSON"),
        ({"wait": float("nan")}, "wait|JSON"),
    ],
)
def test_bad_options(options: dict[str, object], complaint: str):
    with pytest.raises(SenderError, match=complaint) as caught:
        encode_options(options)
    assert caught.value.code == "bad_options"


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("more", [{}, {"ttl": 3}])
def test_where_a_push_comes_from_is_told_to_routers_that_know_it(more: dict[str, object]):
    options = encode_options({**more, "request_id": "web/7", "traceparent": TRACEPARENT})
    parsed = parse_options(options.with_id("k-1"))
    assert (parsed.origin, parsed.id, parsed.ttl) == (Origin("web/7", TRACEPARENT), "k-1", more.get("ttl", 0))
    assert options.with_id("k-1", tells_origin=False) == encode_options(more).with_id("k-1")
    assert parse_options(encode_options({**more, "request_id": "x"}).with_id("k")).origin == Origin("x")
    assert encode_options({**more, "request_id": None}).origin is None


@pytest.mark.parametrize("options", [{"request_id": "a\nb"}, {"request_id": 7}, {"traceparent": "00"}])
def test_what_is_no_origin(options: dict[str, object]):
    with pytest.raises(SenderError, match=r"request_id|traceparent") as caught:
        encode_options(options)
    assert caught.value.code == "bad_options"
