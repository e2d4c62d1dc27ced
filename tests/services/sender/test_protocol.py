from collections import Counter
from typing import Any

import pytest
import ujson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sender.links import State
from services.sender.options import DEFAULT, encode_options
from services.sender.policies import Policy
from services.sender.protocol import Protocol
from services.sender.tickets import Push, Question
from shared.errors import SenderError
from shared.origins import Origin
from shared.outcomes import Outcome
from shared.requests import DONE1, FAIL1, FIND1, HELLO1, INFO1, PUSH2, decode_push, unpack_targets
from tests.services.sender.simulated_router import PushKey, Simulation

READY = [HELLO1, b'{"max_frame_bytes":1000,"max_targets":100}']


def make(endpoints: tuple[str, ...] = ("tcp://a",), **settings_: Any) -> Protocol:
    return Protocol(endpoints, b"name", b"k", Policy(**settings_))


def make_push(token: str, payload: str = "x", deadline: float = 1e9, options: Any = DEFAULT) -> Push:
    return Push(None, deadline, token.encode(), payload.encode(), options)


def put(protocol: Protocol, *tokens: str, deadline: float = 1e9) -> list[Push]:
    pushes = [make_push(token, deadline=deadline) for token in tokens]
    for push in pushes:
        protocol.put_push(push)
    return pushes


def connect(protocol: Protocol, now: float = 0.0) -> list[list[bytes]]:
    """Opens a connection whose HELLO1 is answered; what is sent after it."""
    assert protocol.endpoint_to_open(now) is not None
    protocol.connection_opened(now)
    assert protocol.messages_to_send(now)[0][:2] == [HELLO1, b"name"]
    protocol.receive_message(READY, now)
    return protocol.messages_to_send(now)


def targets(frames: list[bytes]) -> list[bytes]:
    request = decode_push(frames)
    return [target for target, _ in unpack_targets(request.index, request.data)]


def fail(request: list[bytes], code: str, **more: int) -> list[bytes]:
    return [FAIL1, request[1], ujson.dumps({"code": code, "message": "m", **more}).encode()]


def test_says_hello_before_anything_else():
    protocol = make()
    put(protocol, "a")
    assert protocol.endpoint_to_open(0.0) == "tcp://a"
    protocol.connection_opened(0.0)
    assert [frames[0] for frames in protocol.messages_to_send(0.0)] == [HELLO1]
    assert protocol.messages_to_send(0.1) == []
    protocol.receive_message(READY, 0.2)
    assert protocol.link.state is State.READY
    assert [frames[0] for frames in protocol.messages_to_send(0.2)] == [PUSH2]


def test_what_waits_goes_together():
    protocol = make(batch_pushes=3)
    put(protocol, "a", "b", "c", "d")
    assert [targets(frames) for frames in connect(protocol)] == [[b"a", b"b", b"c"], [b"d"]]


def test_each_request_has_its_own_id():
    protocol = make(batch_pushes=1)
    put(protocol, "a", "b")
    ids = [decode_push(frames).options.id for frames in connect(protocol)]
    assert ids == ["k-1", "k-2"]


def test_outcomes_reach_their_pushes():
    protocol = make()
    pushes = put(protocol, "a", "b", "c")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], bytes([0, 3, 9]), b""], 0.1)
    assert [push.result() for push in pushes] == [Outcome.SENT, Outcome.OFFLINE, Outcome.BUFFERED]
    assert protocol.is_idle()
    assert protocol.next_deadline(0.1) == float("inf")


def test_window_bounds_the_requests_in_flight():
    protocol = make(window=2, batch_pushes=1)
    put(protocol, "a", "b", "c")
    first, _ = connect(protocol)
    assert protocol.messages_to_send(0.1) == []
    protocol.receive_message([DONE1, first[1], b"\0", b""], 0.2)
    assert [targets(frames) for frames in protocol.messages_to_send(0.2)] == [[b"c"]]


def test_repeat_has_the_same_id_and_content_and_another_request_id():
    protocol = make(backoff_s=1)
    pushes = put(protocol, "a", "b")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], bytes([0, 10]), b""], 0.0)
    assert [push.done() for push in pushes] == [True, False]
    assert protocol.messages_to_send(0.9) == []
    (repeat,) = protocol.messages_to_send(1.0)
    assert repeat[1] != request[1]
    assert repeat[2:] == request[2:]
    protocol.receive_message([DONE1, repeat[1], bytes([0, 1]), b""], 1.1)
    assert pushes[1].result() is Outcome.ACKED


def test_no_push_overtakes_one_that_is_repeated():
    protocol = make(backoff_s=1)
    put(protocol, "a", "b")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], bytes([7, 0]), b""], 0.0)
    put(protocol, "a", "b", "c")
    (other,) = protocol.messages_to_send(0.1)
    assert targets(other) == [b"b", b"c"]
    (repeat,) = protocol.messages_to_send(1.0)
    protocol.receive_message([DONE1, repeat[1], bytes([0, 0]), b""], 1.1)
    assert [targets(frames) for frames in protocol.messages_to_send(1.1)] == [[b"a"]]


def test_unordered_pushes_to_one_token_share_a_request():
    protocol = make(ordered=False)
    put(protocol, "a", "a", "a")
    assert [targets(frames) for frames in connect(protocol)] == [[b"a", b"a", b"a"]]


def test_retries_end():
    protocol = make(retries=1, backoff_s=1)
    (push,) = put(protocol, "a")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], b"\7", b""], 0.0)
    (repeat,) = protocol.messages_to_send(1.0)
    protocol.receive_message([DONE1, repeat[1], b"\7", b""], 1.0)
    assert push.result() is Outcome.UNAVAILABLE


def test_overloaded_is_an_answer_unless_it_is_to_be_repeated():
    for policy, done in (((), True), ((Outcome.OVERLOADED,), False)):
        protocol = make(retry_outcomes=policy)
        (push,) = put(protocol, "a")
        (request,) = connect(protocol)
        protocol.receive_message([DONE1, request[1], b"\5", b""], 0.0)
        assert push.done() is done


def test_all_retryable_outcomes_wait_for_the_repeat_that_tries_them_again():
    protocol = make()
    pushes = put(protocol, "a", "b")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], bytes([Outcome.OVERLOADED, Outcome.UNKNOWN]), b""], 0.0)
    assert not pushes[0].done()
    (repeat,) = protocol.messages_to_send(1.0)
    protocol.receive_message([DONE1, repeat[1], bytes([5, 0]), b""], 1.0)
    assert [push.result() for push in pushes] == [Outcome.OVERLOADED, Outcome.SENT]


def test_another_router_may_deliver_what_the_first_one_could_not():
    """So it is not told, and nothing for its token goes out, before the request is done with."""
    protocol = make(("tcp://a", "tcp://b"), backoff_s=1)
    offline, unavailable = put(protocol, "a", "b")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], bytes([Outcome.OFFLINE, Outcome.UNAVAILABLE]), b""], 0.0)
    put(protocol, "a")
    protocol.connection_lost(0.1, "ended")
    assert connect(protocol, 0.1) == []
    (repeat,) = protocol.messages_to_send(1.0)
    assert repeat[2:] == request[2:]
    assert not offline.done()
    protocol.receive_message([DONE1, repeat[1], bytes([0, 7]), b""], 1.0)
    assert offline.result() is Outcome.SENT
    assert not unavailable.done()
    assert [targets(frames) for frames in protocol.messages_to_send(1.0)] == [[b"a"]]


def test_not_delivered_is_not_said_of_a_push_that_was_once_lost():
    protocol = make(retries=1)
    (push,) = put(protocol, "a")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], bytes([Outcome.UNKNOWN]), b""], 0.0)
    (repeat,) = protocol.messages_to_send(1.0)
    protocol.receive_message([DONE1, repeat[1], bytes([Outcome.UNAVAILABLE]), b""], 1.0)
    assert push.result() is Outcome.UNKNOWN


def test_after_overloaded_goes_back_to_the_refused_request():
    protocol = make(batch_pushes=1, window=10)
    put(protocol, "a", "b", "c", "d")
    a, b, c, d = connect(protocol)
    protocol.receive_message(fail(b, "overloaded", retry_after_ms=500), 0.0)
    put(protocol, "e")
    assert protocol.messages_to_send(0.6) == [], "c and d are not turned away yet"
    protocol.receive_message(fail(c, "overloaded", retry_after_ms=500), 0.6)
    protocol.receive_message(fail(d, "overloaded", retry_after_ms=500), 0.6)
    assert protocol.next_deadline(0.1) <= 0.5
    again = protocol.messages_to_send(0.7)
    assert again[:3] == [b, c, d], "same request ids, same order"
    assert targets(again[3]) == [b"e"]
    protocol.receive_message([DONE1, a[1], b"\0", b""], 0.8)
    assert protocol.statistics.turned_away == 3


def test_waits_as_long_as_the_router_says():
    protocol = make()
    put(protocol, "a")
    (request,) = connect(protocol)
    protocol.receive_message(fail(request, "overloaded", retry_after_ms=500), 0.0)
    assert protocol.messages_to_send(0.49) == []
    assert protocol.next_deadline(0.49) == 0.5
    assert protocol.messages_to_send(0.5) == [request]


def test_a_refused_request_that_is_given_up_is_followed_by_hello():
    protocol = make(give_up_s=5)
    put(protocol, "a", deadline=5.0)
    (request,) = connect(protocol)
    protocol.receive_message(fail(request, "overloaded", retry_after_ms=30_000), 4.0)
    assert [frames[0] for frames in protocol.messages_to_send(5.0)] == [HELLO1]


def test_hello_needed_is_answered_and_the_request_repeated():
    protocol = make(batch_pushes=1)
    put(protocol, "a", "b")
    a, b = connect(protocol)
    protocol.receive_message(fail(a, "hello_needed"), 0.1)
    protocol.receive_message(fail(b, "hello_needed"), 0.1)
    assert [frames[0] for frames in protocol.messages_to_send(0.1)] == [HELLO1]
    protocol.receive_message(READY, 0.2)
    assert protocol.messages_to_send(0.2) == [a, b]


def test_lost_router_everything_unanswered_goes_to_the_next_in_order_before_anything_new():
    protocol = make(("tcp://a", "tcp://b"), batch_pushes=1, window=3)
    put(protocol, "a", "b", "c", "d")
    a, b, c = connect(protocol)
    protocol.receive_message([DONE1, b[1], b"\0", b""], 0.1)
    protocol.connection_lost(0.1, "ended")
    assert protocol.endpoint_to_open(0.1) == "tcp://b"
    again = connect(protocol, 0.1)
    assert again[:2] == [a, c]
    assert targets(again[2]) == [b"d"]
    assert protocol.statistics.routers_lost == 1


def test_silent_router_is_left():
    protocol = make(("tcp://a", "tcp://b"), answer_grace_s=1)
    protocol.put_push(make_push("a", options=encode_options({"timeout_ms": 2000})))
    connect(protocol)
    assert protocol.messages_to_send(2.9) == []
    assert protocol.endpoint_to_open(2.9) is None
    protocol.messages_to_send(3.4)
    assert protocol.endpoint_to_open(3.4) == "tcp://b"


def test_router_that_does_not_say_hello_is_left():
    protocol = make(("tcp://a", "tcp://b"), hello_timeout_s=2)
    protocol.endpoint_to_open(0.0)
    protocol.connection_opened(0.0)
    protocol.messages_to_send(0.0)
    assert protocol.next_deadline(0.0) == 2.0
    protocol.messages_to_send(2.0)
    assert protocol.endpoint_to_open(2.0) == "tcp://b"
    assert "no answer to HELLO1 within 2 s" in protocol.link.last_fault


def test_pauses_between_rounds_of_attempts_grow():
    protocol = make(("tcp://a", "tcp://b"), backoff_s=1, backoff_max_s=3)
    now, pauses = 0.0, []
    for _ in range(10):
        assert protocol.endpoint_to_open(now) is not None
        protocol.connection_opened(now)
        protocol.connection_lost(now, "refused")
        pauses.append(max(0.0, protocol.next_deadline(now) - now))
        now += pauses[-1]
    assert pauses == [0, 0, 1, 0, 2, 0, 3, 0, 3, 0]


def test_an_idle_sender_goes_on_to_look_for_a_router():
    protocol = make(("tcp://a", "tcp://b"))
    protocol.endpoint_to_open(0.0)
    protocol.connection_opened(0.0)
    protocol.connection_lost(0.1, "refused")
    assert protocol.messages_to_send(0.1) == []
    assert protocol.next_deadline(0.1) <= 0.1
    assert protocol.endpoint_to_open(0.1) == "tcp://b"


def test_a_router_that_breaks_down_on_every_request_is_not_run_down():
    protocol = make(backoff_s=1, give_up_s=100)
    put(protocol, "a", deadline=100.0)
    now = 0.0
    for _ in range(6):
        connect(protocol, now)
        protocol.connection_lost(now, "ended")
        now = max(now, protocol.next_deadline(now) if protocol.link.state is State.PAUSING else now)
        while protocol.endpoint_to_open(now) is None:
            now += 0.1
    assert now > 4


def test_fail_is_told_to_every_push_of_the_request():
    protocol = make()
    pushes = put(protocol, "a", "b")
    (request,) = connect(protocol)
    protocol.receive_message(fail(request, "not_supported"), 0.0)
    for push in pushes:
        with pytest.raises(SenderError, match="not_supported: m"):
            push.result()
    assert protocol.is_idle()


def test_gives_up_and_says_what_it_knows():
    protocol = make(window=1, batch_pushes=1, give_up_s=5)
    sent, waiting, behind = put(protocol, "a", "b", "a", deadline=5.0)
    connect(protocol)
    protocol.messages_to_send(5.1)
    assert sent.result() is Outcome.UNKNOWN
    assert waiting.result() is Outcome.UNAVAILABLE
    protocol.messages_to_send(6.0)
    assert behind.done()
    assert protocol.is_idle()


def test_close_tells_what_is_known():
    protocol = make(window=1, batch_pushes=1)
    sent, waiting = put(protocol, "a", "b")
    question = Question(None, 1e9, FIND1, [b"a"])
    connect(protocol)
    protocol.put_question(question)
    protocol.close(SenderError("closed", "closed"))
    assert [sent.result(), waiting.result()] == [Outcome.UNKNOWN, Outcome.UNAVAILABLE]
    with pytest.raises(SenderError, match="closed"):
        question.result()
    with pytest.raises(SenderError, match="closed"):
        put(protocol, "c")
    assert protocol.is_idle()


def test_a_push_larger_than_the_routers_frames_is_too_large_alone():
    protocol = make()
    small, large, other = [make_push(token, "x" * size) for token, size in (("a", 1), ("b", 1000), ("c", 1))]
    for push in (small, large, other):
        protocol.put_push(push)
    sent = [target for frames in connect(protocol) for target in targets(frames)]
    assert sent == [b"a", b"c"]
    assert large.result() is Outcome.TOO_LARGE


def test_questions_are_answered():
    protocol = make()
    question = Question(None, 1e9, FIND1, [b"a", b"b"])
    protocol.put_question(question)
    (request,) = connect(protocol)
    assert request[0] == FIND1
    assert request[2:] == [b"a", b"b"]
    protocol.receive_message([INFO1, request[1], b'[{"online":false},{"online":true}]'], 0.1)
    assert question.result() == [{"online": False}, {"online": True}]


def test_counts_of_a_push_to_all():
    protocol = make()
    push = make_push("*", options=encode_options({"to": "all"}))
    protocol.put_push(push)
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], b"\0", b'{"sent":3}'], 0.1)
    assert push.result() is Outcome.SENT
    assert push.detail == {"sent": 3}


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"NOISE"],
        [HELLO1, b"no json"],
        [HELLO1, b"[]"],
        [DONE1],
        [DONE1, b"1.0", b"\0", b"no json"],
        [DONE1, b"99.0", b"\0", b""],
        [INFO1, b"1.0", b"{}"],
        [FAIL1, b"1.0", b"[]"],
        [FAIL1, b"1.0", b"{}"],
        [FAIL1, b"1.0", b'{"code":"overloaded","retry_after_ms":"soon"}'],
        [FAIL1, b"", b'{"code":"malformed"}'],
    ],
)
def test_answers_that_make_no_sense_are_counted_and_lose_nothing(frames: list[bytes]):
    protocol = make()
    (push,) = put(protocol, "a")
    (request,) = connect(protocol)
    protocol.receive_message(frames, 0.1)
    assert protocol.statistics.strays == 1
    protocol.receive_message([DONE1, request[1], b"\0", b""], 0.2)
    assert push.result() is Outcome.SENT


@pytest.mark.parametrize("answer", [b"", b"\0\0", bytes([200])])
def test_outcomes_that_do_not_fit_are_unknown(answer: bytes):
    protocol = make(retries=0)
    (push,) = put(protocol, "a")
    (request,) = connect(protocol)
    protocol.receive_message([DONE1, request[1], answer, b""], 0.1)
    assert push.result() is Outcome.UNKNOWN


@given(
    st.data(),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(1, 8),
    st.sampled_from([("tcp://a",), ("tcp://a", "tcp://b")]),
    st.integers(0, 3),
)
@settings(max_examples=300)
def test_whatever_happens_every_push_gets_one_true_outcome_in_order(
    data: st.DataObject, tokens: list[str], window: int, batch: int, endpoints: tuple[str, ...], retries: int
):
    protocol = make(endpoints, window=window, batch_pushes=batch, retries=retries, give_up_s=20)
    simulation = Simulation(protocol, lambda name, choices: data.draw(st.sampled_from(choices), label=name))
    pushes = [make_push(token, f"{number}", deadline=simulation.now + 20) for number, token in enumerate(tokens)]
    for push in pushes:
        protocol.put_push(push)
    simulation.run_until_idle()

    assert all(push.done() for push in pushes)
    assert protocol.statistics.pushes == len(pushes)
    assert protocol.ledger.pushes_open == protocol.ledger.bytes_open == 0
    assert all(router.most_unanswered <= window for router in simulation.routers.values())
    for token, arrived in simulation.world.arrived.items():
        numbers = [int(payload) for payload in arrived]
        assert numbers == sorted(set(numbers)), f"{token!r} got {numbers}"
    arrived_anywhere = Counter(payload for arrived in simulation.world.arrived.values() for payload in arrived)
    for number, push in enumerate(pushes):
        copies = arrived_anywhere[str(number).encode()]
        if push.value in (Outcome.SENT, Outcome.BUFFERED):
            assert copies == 1
        elif push.value in (Outcome.UNAVAILABLE, Outcome.OVERLOADED, Outcome.OFFLINE):
            assert copies == 0


def test_push_keys_of_the_simulation_tell_repeats_apart():
    """The property above is worth something only if the simulated holder recognises copies."""
    simulation = Simulation(make(), lambda name, choices: choices[0])
    key = PushKey(b"n", "k", 0)
    simulation.world.deliver(key, b"a", b"1", Outcome.SENT)
    simulation.world.deliver(key, b"a", b"1", Outcome.BUFFERED)
    assert simulation.world.arrived == {b"a": [b"1"]}


def test_a_router_of_an_older_version_is_not_told_where_a_push_comes_from():
    protocol = make(("tcp://a", "tcp://b"))
    protocol.put_push(make_push("a", options=encode_options({"ttl": 5, "request_id": "web/7"})))
    (sent,) = connect(protocol)
    assert decode_push(sent).options.origin is None
    protocol.connection_lost(1.0, "gone")
    assert protocol.endpoint_to_open(1.0) == "tcp://b"
    protocol.connection_opened(1.0)
    protocol.messages_to_send(1.0)
    protocol.receive_message([HELLO1, b'{"origins":true}'], 1.0)
    (again,) = protocol.messages_to_send(1.0)
    options = decode_push(again).options
    assert (options.origin, options.ttl, options.id) == (Origin("web/7"), 5, decode_push(sent).options.id)


def test_only_a_router_that_wants_to_know_is_told_when_a_request_was_sent():
    clock = iter([1_700_000_000_000_001, 1_700_000_000_000_002])
    protocol = Protocol(("tcp://a", "tcp://b"), b"name", b"k", Policy(), lambda: next(clock))
    protocol.put_push(make_push("a"))
    (sent,) = connect(protocol)
    assert decode_push(sent).options.sent_at == 0
    for number, endpoint in enumerate(("tcp://b", "tcp://a"), start=1):  # each time it is sent it is said anew
        protocol.connection_lost(float(number), "gone")
        assert protocol.endpoint_to_open(float(number)) == endpoint
        protocol.connection_opened(float(number))
        protocol.messages_to_send(float(number))
        protocol.receive_message([HELLO1, b'{"sent_at":true}'], float(number))
        (again,) = protocol.messages_to_send(float(number))
        assert decode_push(again).options.sent_at == 1_700_000_000_000_000 + number
        assert decode_push(again).options.id == decode_push(sent).options.id
