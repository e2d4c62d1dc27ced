import ujson

from services.sender.in_flight import Batch, Inquiry
from services.sender.options import DEFAULT, encode_options
from services.sender.tickets import Push, Question
from shared.outcomes import Outcome
from shared.requests import STAT1, decode_push, unpack_targets

REPEAT = (Outcome.UNAVAILABLE, Outcome.UNKNOWN)


def make(*tokens: str) -> Batch:
    return Batch(7, "k-7", [Push(None, 0.0, token.encode(), b"p" + token.encode(), DEFAULT) for token in tokens])


def outcomes(final: list[tuple[Push, Outcome]]) -> dict[bytes, Outcome]:
    return {push.target: outcome for push, outcome in final}


def test_frames_are_a_request_that_routers_understand():
    request = decode_push(make("a", "b").frames())
    assert request.options.id == "k-7"
    assert list(unpack_targets(request.index, request.data)) == [(b"a", b"pa"), (b"b", b"pb")]


def test_options_go_along():
    push = Push(None, 0.0, b"a", b"", encode_options({"timeout_ms": 900, "signal": 9}))
    options = decode_push(Batch(1, "k", [push]).frames()).options
    assert (options.timeout_ms, options.signal, options.id) == (900, 9, "k")


def test_request_id_is_new_for_a_repeat_only():
    batch = make("a")
    first = batch.frames()
    assert batch.frames() == first
    batch.settle(b"\7", REPEAT)
    assert batch.frames()[1] != first[1]
    assert batch.frames()[2:] == first[2:]


def test_final_outcomes_leave_nothing_pending():
    batch = make("a", "b", "c")
    assert outcomes(batch.settle(bytes([0, 3, 5]), REPEAT)) == {
        b"a": Outcome.SENT,
        b"b": Outcome.OFFLINE,
        b"c": Outcome.OVERLOADED,
    }
    assert not batch.pending


def test_what_a_router_may_try_again_stays_pending():
    batch = make("a", "b", "c", "d")
    assert outcomes(batch.settle(bytes([0, 5, 10, 3]), REPEAT)) == {b"a": Outcome.SENT}
    assert list(batch.pending) == [1, 2, 3]
    assert outcomes(batch.settle(bytes([0, 0, 0, 3]), REPEAT)) == {
        b"b": Outcome.SENT,
        b"c": Outcome.SENT,
        b"d": Outcome.OFFLINE,
    }


def test_giving_up_tells_the_last_word():
    batch = make("a", "b", "c")
    batch.settle(bytes([7, 5, 10]), REPEAT)
    assert outcomes(batch.give_up()) == {b"a": Outcome.UNAVAILABLE, b"b": Outcome.OVERLOADED, b"c": Outcome.UNKNOWN}


def test_giving_up_without_any_word():
    never_sent, lost = make("a"), make("a")
    lost.mark_lost()
    assert outcomes(never_sent.give_up()) == {b"a": Outcome.UNAVAILABLE}
    assert outcomes(lost.give_up()) == {b"a": Outcome.UNKNOWN}


def test_a_lost_request_may_have_been_delivered_whatever_the_next_router_says():
    batch = make("a", "b", "c", "d")
    batch.mark_lost()
    assert outcomes(batch.settle(bytes([7, 0, 3, 8]), ())) == {
        b"a": Outcome.UNKNOWN,
        b"b": Outcome.SENT,
        b"c": Outcome.UNKNOWN,
        b"d": Outcome.REFUSED,
    }


def test_an_inquiry_repeats_itself():
    inquiry = Inquiry(3, Question(None, 0.0, STAT1, []), 5.0)
    assert inquiry.frames() == [STAT1, b"3.0"]
    inquiry.mark_lost()
    assert inquiry.frames() == [STAT1, b"3.0"]


def test_options_are_json():
    assert ujson.loads(DEFAULT.with_id("k-1")) == {"id": "k-1"}
