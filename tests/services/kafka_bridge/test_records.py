"""Records and what they ask for."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kafka_bridge.records import Header, Place, Poison, Record, wanted
from services.kafka_bridge.serving import begun
from tests.services.sender.test_spans import Recorder


def record(key: bytes | None = b"alice", value: bytes | None = b"hello", *headers: Header) -> Record:
    return Record(Place("topic", 3), 17, key, value, headers)


def test_its_id_is_its_place() -> None:
    assert record().id == "topic/3/17"


def test_options_are_headers_and_others_are_left_alone() -> None:
    asked = wanted(record(b"a", b"x", ("ttl", b"60"), ("to", b"user"), ("trace", b"\xff"), ("signal", b"4")), 100)
    assert asked == (b"a", b"x", {"ttl": 60, "to": "user", "signal": 4, "request_id": "topic/3/17"}, None)


def test_an_own_id_is_no_option() -> None:
    asked = wanted(record(b"a", b"x", ("id", b"order-1")), 100)
    assert (asked.options, asked.id) == ({"request_id": "topic/3/17"}, "order-1")


TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_its_producer_may_say_where_it_comes_from() -> None:
    asked = wanted(record(b"a", b"x", ("Request-Id", b"order-7"), ("traceparent", TRACEPARENT)), 100)
    assert asked.options == {"request_id": "order-7", "traceparent": TRACEPARENT.decode()}
    assert record(b"a", b"x", ("request-id", "order-7")).shown == "topic/3/17 (request_id order-7)"


@pytest.mark.parametrize("said", [None, b"", b"a b", b"\xff", b"x" * 65])
def test_what_says_nothing_is_passed_over(said: bytes | None) -> None:
    bad = record(b"a", b"x", ("request-id", said), ("traceparent", said))
    assert wanted(bad, 100).options == {"request_id": "topic/3/17"}
    assert bad.shown == "topic/3/17"


def test_everybody_needs_no_key() -> None:
    assert wanted(record(None, b"x", ("to", b"all")), 100).target == b"*"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(None), "record has no key"),
        (record(b""), "record has no key"),
        (record(b"a", None), "record has no value"),
        (record(b"a", b"12345678901"), "value of 11 bytes exceeds the limit of 10"),
        (record(b"a", b"x", ("ttl", b"-1")), "header ttl is no whole number"),
        (record(b"a", b"x", ("ttl", "٣".encode())), "header ttl is no whole number"),
        (record(b"a", b"x", ("ttl", b"1"), ("ttl", b"2")), "header ttl comes twice"),
        (record(b"a", b"x", ("to", None)), "header to has no value"),
        (record(b"a", b"x", ("to", b"\xff")), "header to is not UTF-8"),
        (record(b"a", b"x", ("wait", b"long")), "wait is none of sent, acked"),
    ],
)
def test_poison(bad: Record, reason: str) -> None:
    with pytest.raises(Poison) as caught:
        wanted(bad, 10)
    assert str(caught.value) == reason


names = st.sampled_from(["to", "ttl", "wait", "collapse", "id", "signal", "sub_signal", "timeout_ms", "other"])


@given(st.lists(st.tuples(names, st.none() | st.binary(max_size=20)), max_size=5))
def test_any_headers_are_options_or_poison(headers: list[Header]) -> None:
    with suppress(Poison):
        asked = wanted(record(b"a", b"x", *headers), 10).options
        assert asked.keys() <= {name for name, _ in headers} | {"request_id"}


def test_a_span_of_a_record_names_its_place() -> None:
    found = record(b"a", b"x", ("traceparent", TRACEPARENT))
    spans = Recorder()
    assert begun(spans, found, wanted(found, 100)) is spans
    assert spans.began[:3] == ("process topic", TRACEPARENT.decode(), "consumer")
    assert spans.began[3] == {
        "messaging.system": "kafka",
        "messaging.destination.name": "topic",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 17,
        "push.request_id": "topic/3/17",
    }
