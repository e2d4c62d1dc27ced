"""Calls to services: who gets them, and that each is answered, whatever becomes of the service."""

import pytest
import ujson
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, integers, none, sampled_from

from router.services import LATE_S
from shared import __version__
from shared.calls import (
    ASK1,
    BEAT1,
    LEAVE1,
    REGROUP1,
    RETURN1,
    SERVING1,
    TOLD1,
    WHO1,
    Answer,
    Call,
    Topic,
    encode_answer,
    encode_call,
)
from shared.signals import PublishError
from tests.router.driven_services import FP, MS, DrivenServices

A, B = b"\0a", b"\0b"


def test_a_call_there_and_back_byte_for_byte() -> None:
    core = DrivenServices(service_heartbeat_ms=500, service_timeout_ms=2000, body_limit_bytes=4096)
    core.tell(A, b"SERVE1", b'{"name":"chat","instance":"1f","topics":[{"signal":9,"sub_signal":16}]}')
    assert core.to_services == [(A, [
        b"SERVING1",
        b'{"version":"%s","position":0,"heartbeat_ms":500,"timeout_ms":2000,"window":256,"body_limit_bytes":4096}'
        % __version__.encode(),
    ])]  # fmt: skip
    core.to_services.clear()
    head = b'{"signal":9,"sub_signal":16,"key":"k","timeout_ms":700,"token":"t","more":[1]}'
    core.say("h/0", [b"ASK1", bytes([0, 0, 0, 0, 0, 0, 0, 7]), head, b"\xff\0"])
    ((service, (kind, number, told_head, body)),) = core.to_services
    assert (service, kind, told_head, body) == (A, b"CALL1", head, b"\xff\0")
    core.tell(A, b"RETURN1", number, b"\x05", b"answer")
    assert core.messages(TOLD1) == [[b"TOLD1", bytes([0, 0, 0, 0, 0, 0, 0, 7]), b"\x05", b"answer"]]
    assert core.core.unanswered == 0
    assert core.count("service_answers") == 1


# who answers what


def test_workers_are_told_the_topics_when_they_change_and_when_they_come() -> None:
    core = DrivenServices()
    assert core.topics() == []  # nothing is new: a worker of an older version does not know TOPICS1
    core.serve(A, FP, idempotent=True)
    core.serve(B, FP, MS)
    core.serve(B, FP, MS)
    assert core.topics() == [[[9, 16, True]], [[9, 16, False], [9, 18, False]]]
    core.join("h/0", "b")
    assert core.topics()[-1] == [[9, 16, False], [9, 18, False]]
    core.tell(B, LEAVE1)
    core.tell(A, LEAVE1)
    assert core.topics()[-2:] == [[[9, 16, True]], []]
    assert len(core.topics()) == 5
    core.join("h/0", "c")
    assert core.topics()[-1] == []
    assert len(core.topics()) == 6


def test_no_service_for_the_topic_is_f0_at_once() -> None:
    core = DrivenServices()
    core.call(FP)
    core.serve(A, MS)
    core.call(FP)
    assert core.told() == [Answer(1, 0xF0, b""), Answer(2, 0xF0, b"")]
    assert core.count("service_calls_unserved") == 2


def test_services_ask_each_other() -> None:
    core = DrivenServices()
    core.serve(A, FP)
    core.tell(B, *encode_call(ASK1, 3, FP._asdict(), b"q"))  # need not serve anything itself
    (call,) = core.given(A)
    assert call.head == {"signal": 9, "sub_signal": 16, "timeout_ms": 5000}
    core.give_back(A, call)
    assert core._take(B, TOLD1) == [encode_answer(TOLD1, 3, 0, b"done")]
    assert core.told() == []


def test_the_router_asks_itself() -> None:
    core = DrivenServices()
    answers: list[tuple[int, bytes, float]] = []
    core.core.parts.services.ask(FP, "k", b"q", 0.5, core.now, lambda *answer: answers.append(answer))
    assert answers == [(0xF0, b"", 100.0)]
    core.serve(A, FP)
    core.core.parts.services.ask(FP, "k", b"q", 0.5, core.now, lambda *answer: answers.append(answer))
    core.core.parts.services.ask(FP, None, b"q", 0.5, core.now, lambda *answer: answers.append(answer))
    core.turn()
    first, second = core.given(A)
    assert first.head == {"signal": 9, "sub_signal": 16, "timeout_ms": 500, "key": "k"}
    assert "key" not in second.head
    core.give_back(A, first, 1, b"x")
    core.advance(0.6)
    assert answers[1:] == [(1, b"x", 100.0), (0xF1, b"", pytest.approx(100.5, abs=0.02))]


# spread and order


def test_keys_are_spread_evenly_and_stay_where_they_were() -> None:
    core = DrivenServices()
    for service in (A, B):
        core.serve(service, window=4096)
    keys = [f"key-{number}" for number in range(1000)]

    def places() -> dict[str, bytes]:
        for key in keys:
            core.call(key=key)
        found = {}
        for service in (A, B, b"\0c"):
            for call in core.given(service):
                found[call.head["key"]] = service
                core.give_back(service, call)
        return found

    before = places()
    assert 400 < sum(place == A for place in before.values()) < 600
    assert places() == before
    core.serve(b"\0c", window=4096)
    after = places()
    moved = [key for key in keys if after[key] != before[key]]
    assert 250 < len(moved) < 420
    assert all(after[key] == b"\0c" for key in moved)


def test_calls_of_a_key_stay_with_the_instance_that_has_some_of_them() -> None:
    core = DrivenServices()
    core.serve(A)
    keys = [f"{number}" for number in range(40)]
    for key in keys:
        core.call(key=key)
    core.serve(B)
    for key in keys:
        core.call(key=key)
    calls = core.given(A)
    assert [call.head["key"] for call in calls] == keys * 2
    assert core.given(B) == []
    for call in calls:
        core.give_back(A, call)
    for key in keys:
        core.call(key=key)
    assert 8 < len(core.given(B)) < 32


def test_calls_without_key_go_to_whoever_has_least_to_do() -> None:
    core = DrivenServices()
    core.serve(A)
    core.serve(B)
    for _ in range(10):
        core.call(key=None)
    assert (len(core.given(A)), len(core.given(B))) == (5, 5)


def test_over_the_window_calls_wait_in_order_and_lanes_take_turns() -> None:
    core = DrivenServices()
    core.serve(A, window=2)
    for key in "aaaabb":
        core.call(key=key)
    calls = core.given(A)
    assert len(calls) == 2
    order = [call.head["key"] for call in calls]
    while calls:
        core.give_back(A, calls.pop(0))
        calls += (more := core.given(A))
        order += [call.head["key"] for call in more]
    assert order == ["a", "a", "a", "b", "a", "b"]
    assert sorted(answer.number for answer in core.told()) == [1, 2, 3, 4, 5, 6]


def test_what_has_waited_says_how_much_time_is_left() -> None:
    core = DrivenServices()
    core.serve(A, window=1)
    core.call()
    core.call(timeout_ms=3000)
    (first,) = core.given(A)
    core.advance(1.0)
    core.give_back(A, first)
    (second,) = core.given(A)
    assert second.head["timeout_ms"] == 2000


def test_a_window_that_grows_is_used() -> None:
    core = DrivenServices()
    core.serve(A, window=1)
    for _ in range(3):
        core.call()
    assert len(core.given(A)) == 1
    core.serve(A, window=10)
    assert len(core.given(A)) == 2


def test_who_leaves_answers_what_it_has_and_gets_no_more() -> None:
    core = DrivenServices()
    core.serve(A, window=2)
    for key in ("k", "k", "k", "j"):
        core.call(key=key)
    calls = core.given(A)
    core.tell(A, LEAVE1)
    core.serve(B)
    # `j` goes at once; the third of `k` may not overtake the two that A is at work on
    assert [call.head["key"] for call in core.given(B)] == ["j"]
    core.give_back(A, calls[0])
    assert core.given(B) == []
    core.give_back(A, calls[1])
    assert [call.head["key"] for call in core.given(B)] == ["k"]
    core.cut.add(A)
    core.advance(1.1)
    assert core.count("services_lost") == 0
    assert core.notices[-1] == "service chat/0061 left"


# bounds


def test_a_full_queue_is_f4() -> None:
    core = DrivenServices(service_queue_max=2)
    core.serve(A, FP, MS, window=1)
    for _ in range(4):
        core.call()
    core.call(MS)
    assert core.told() == [Answer(4, 0xF4, b"")]
    assert core.count("service_calls_refused") == 1
    assert core.core.parts.services.lanes.waiting(FP) == 2


def test_too_many_bytes_are_f4() -> None:
    core = DrivenServices(pending_bytes_max=1 << 16)
    core.serve(A)
    core.call(body=bytes(60_000))
    core.call(body=bytes(6_000))
    assert core.told() == [Answer(2, 0xF4, b"")]
    core.give_back(A, core.given(A)[0])
    core.call(body=bytes(6_000))
    assert core.told() == [Answer(1, 0, b"done")]
    assert core.core.parts.services.bytes < 7_000


def test_an_answer_that_is_too_large_is_f3() -> None:
    core = DrivenServices(body_limit_bytes=1024)
    core.serve(A)
    core.call()
    core.call()
    first, second = core.given(A)
    core.give_back(A, first, body=bytes(1025))
    core.give_back(A, second, body=bytes(1024))
    assert core.told() == [Answer(1, 0xF3, b""), Answer(2, 0, bytes(1024))]
    assert core.count("service_answers_too_large") == 1


# time


def test_time_over_is_f1_and_what_comes_later_is_dropped() -> None:
    core = DrivenServices()
    core.serve(A, window=1)
    core.call(timeout_ms=1000)
    core.call(timeout_ms=2000)
    (call,) = core.given(A)
    core.advance(0.99)
    assert core.told() == []
    core.advance(0.03)
    assert core.told() == [Answer(1, 0xF1, b"")]
    assert core.given(A) == []  # it may be at work on the first still
    core.give_back(A, call)
    assert core.told() == []
    (second,) = core.given(A)
    core.give_back(A, second)
    core.give_back(A, second)
    core.give_back(A, call)
    assert core.told() == [Answer(2, 0, b"done")]
    assert (core.count("service_answers"), core.count("service_answers_late")) == (1, 3)
    assert core.count("service_calls_timed_out") == 1


def test_nobody_waits_longer_than_the_setting_says() -> None:
    core = DrivenServices(call_timeout_ms=2000)
    core.serve(A)
    core.call(timeout_ms=60_000)
    (call,) = core.given(A)
    assert call.head["timeout_ms"] == 2000
    core.advance(2.1)
    assert core.told() == [Answer(1, 0xF1, b"")]


def test_a_call_that_waits_times_out_too() -> None:
    core = DrivenServices()
    core.serve(A, window=1)
    core.call(timeout_ms=4000)
    core.call(key="other", timeout_ms=1000)
    core.call(key=None, timeout_ms=1000)
    core.advance(1.1)
    assert {answer.number: answer.code for answer in core.told()} == {2: 0xF1, 3: 0xF1}
    assert core.core.parts.services.lanes.waiting(FP) == 0
    (call,) = core.given(A)
    core.give_back(A, call)
    assert core.given(A) == []


def beat(core: DrivenServices, service: bytes, seconds: int) -> None:
    for _ in range(seconds):
        core.advance(1.0)
        core.tell(service, BEAT1)


def test_a_call_that_is_never_returned_holds_its_place_for_a_minute() -> None:
    core = DrivenServices()
    core.serve(A, window=1)
    core.call(timeout_ms=1000)
    core.given(A)
    beat(core, A, int(LATE_S))
    core.call()
    assert core.given(A) == []
    beat(core, A, 2)
    assert len(core.given(A)) == 1
    assert core.told() == [Answer(1, 0xF1, b"")]


# ends


def test_a_silent_service_is_dead() -> None:
    core = DrivenServices()
    core.serve(A)
    core.call()
    core.advance(4.9)
    assert core.told() == []
    core.advance(0.7)
    assert [answer.code for answer in core.told()] == [PublishError.TIMED_OUT]
    core.serve(B)
    core.call(timeout_ms=60_000)
    beat(core, B, 20)
    assert core.count("services_lost") == 1
    assert core.heard(B, BEAT1) == 20


def test_its_calls_are_f3_unless_they_may_be_done_twice() -> None:
    core = DrivenServices()
    core.serve(A, FP)
    core.serve(A, FP, MS, idempotent=False)
    core.call(FP)
    core.call(MS)
    core.cut.add(A)
    core.advance(1.1)  # BEAT1 cannot be sent
    assert core.told() == [Answer(1, 0xF3, b""), Answer(2, 0xF3, b"")]
    assert core.count("service_calls_lost") == 2
    assert core.core.next_deadline() < core.now + 1.0


def test_idempotent_calls_go_once_more_under_the_same_number_in_order() -> None:
    core = DrivenServices()
    core.serve(A, idempotent=True, window=2)
    for body in (b"1", b"2", b"3"):
        core.call(body=body)
    had = core.given(A)
    core.serve(B, idempotent=True)
    core.cut.add(A)
    core.advance(1.1)
    calls = core.given(B)
    assert [(call.body, call.head.get("retry", False)) for call in calls] == [(b"1", True), (b"2", True), (b"3", False)]
    assert [call.number for call in calls[:2]] == [call.number for call in had]
    assert calls[0].head["timeout_ms"] == 4000
    assert core.count("service_retries") == 2
    core.tell(A, *encode_answer(RETURN1, had[0].number, 0, b"too late"))
    core.serve(b"\0c", idempotent=True)
    core.cut.add(B)
    core.advance(1.1)
    assert core.told() == [Answer(1, 0xF3, b""), Answer(2, 0xF3, b"")]  # a second time is once too often
    (third,) = core.given(b"\0c")
    core.give_back(b"\0c", third)
    assert core.told() == [Answer(3, 0, b"done")]


def test_what_zeromq_did_not_take_the_dead_one_certainly_has_not() -> None:
    core = DrivenServices()
    core.serve(A)
    core.serve(B)
    core.cut |= {A, B}
    core.call(body=b"x")
    assert core.told() == []
    core.cut.clear()
    core.serve(b"\0c")
    (call,) = core.given(b"\0c")
    assert (call.body, call.head.get("retry")) == (b"x", None)
    assert core.count("services_lost") == 2


def test_with_no_instance_left_they_wait_until_their_time_is_over() -> None:
    core = DrivenServices()
    core.serve(A, idempotent=True)
    core.call(timeout_ms=4000)
    core.call(key="2", timeout_ms=2000)
    core.cut.add(A)
    core.advance(1.1)
    core.call(key="3")
    assert core.told() == [Answer(3, 0xF0, b"")]
    core.advance(1.0)
    assert core.told() == [Answer(2, 0xF1, b"")]
    core.serve(B, idempotent=True)
    (call,) = core.given(B)
    assert call.head["retry"] is True
    core.give_back(B, call)
    assert core.told() == [Answer(1, 0, b"done")]


def test_another_instance_on_the_same_connection_means_that_the_first_is_dead() -> None:
    core = DrivenServices()
    core.serve(A, instance="one")
    core.call()
    core.serve(A, instance="two")
    assert core.told() == [Answer(1, 0xF3, b"")]
    core.call()
    assert len(core.given(A)) == 2
    assert core.count("services_lost") == 1


def test_the_same_instance_on_another_connection_too() -> None:
    core = DrivenServices()
    core.serve(A, instance="one", idempotent=True)
    core.call()
    core.serve(B, instance="one", idempotent=True)
    (call,) = core.given(B)
    assert call.head["retry"] is True
    assert list(core.core.parts.services.services) == [B]


def test_who_speaks_without_serve1_is_asked_who_it_is_once_a_heartbeat() -> None:
    core = DrivenServices()
    core.tell(A, BEAT1)
    core.tell(A, *encode_answer(RETURN1, 1, 0, b""))
    core.tell(A, LEAVE1)
    assert core.heard(A, WHO1) == 1
    assert core.count("service_answers_late") == 1
    core.advance(1.1)
    core.tell(A, BEAT1)
    assert core.heard(A, WHO1) == 1
    core.serve(A)
    core.tell(A, BEAT1)
    assert (core.heard(A, WHO1), core.heard(A, SERVING1)) == (0, 1)


def test_what_a_service_counts_of_itself_is_shown() -> None:
    core = DrivenServices()
    core.serve(A)
    core.tell(A, BEAT1, b'{"figures":{"kept":3},"statistics":{"calls":1}}')
    (service,) = core.core.parts.services.services.values()
    assert (service.statistics, service.figures) == ({"calls": 1}, {"kept": 3})
    many = ujson.dumps({"figures": {str(number): number for number in range(65)}}).encode()
    for wrong in (
        b'{"figures":{"kept":1.5}}',
        b'{"figures":[]}',
        b"[]",
        b"\xff",
        many,
        b'{"figures":{"%s":1}}' % (b"k" * 65),
    ):
        core.tell(A, BEAT1, wrong)
    assert core.count("service_errors") == 6
    assert service.figures == {"kept": 3}
    core.tell(A, BEAT1)
    assert service.figures == {}


def test_a_pause_of_the_router_is_not_held_against_services() -> None:
    core = DrivenServices()
    core.serve(A)
    core.now += 30.0
    core.core.tick(core.now)
    core.turn()
    assert core.count("services_lost") == 0
    core.tell(A, BEAT1)
    core.advance(3.0)
    assert core.count("services_lost") == 0


# whoever asked


def test_answers_for_a_worker_that_is_gone_or_another_are_dropped() -> None:
    core = DrivenServices()
    core.serve(A)
    core.call()
    core.join("h/0", "another")
    core.give_back(A, core.given(A)[0])
    core.call()
    core.say("h/0", [b"BYE1", b'{"gone":true}'])
    core.give_back(A, core.given(A)[0])
    assert core.told() == []
    assert core.count("service_answers_dropped") == 2


def test_a_worker_that_is_not_known_yet_may_ask() -> None:
    core = DrivenServices()
    core.serve(A)
    core.say("h/9", encode_call(ASK1, 4, FP._asdict(), b""))
    assert len(core.messages(WHO1, "h/9")) == 1
    core.join("h/9")
    core.give_back(A, core.given(A)[0])
    assert core.told("h/9") == [Answer(4, 0, b"done")]


def test_a_service_that_is_gone_costs_its_answer() -> None:
    core = DrivenServices()
    core.serve(A)
    core.tell(B, *encode_call(ASK1, 3, FP._asdict(), b"q"))
    core.cut.add(B)
    core.give_back(A, core.given(A)[0])
    assert core.count("service_answers_dropped") == 1


# the same socket


def test_services_are_senders_too_and_their_answers_come_back_to_them() -> None:
    core = DrivenServices()
    core.tell(A, b"HELLO1", b"chat", b"")
    core.tell(A, b"PUSH1", b"r1", b'{"id":"1"}', b"t", b"p")
    core.outcomes(core.sent()[0])
    core.tell(A, b"FIND1", b"r2", b"t")
    core.tell(A, b"KICK1", b"r3", b"t")
    core.tell(A, b"NONSENSE", b"r4")
    core.tell(A, b"STAT1", b"r5")
    answers = [frames for identity, frames in core.to_services if identity == A]
    assert [answer[0] for answer in answers] == [b"HELLO1", b"DONE1", b"FAIL1", b"INFO1"]
    assert len(core.messages(b"CALL1")) == 2
    assert core.to_senders == []
    core.ask(b"PUSH1", b"r1", b"", b"t", b"p", sender=A)  # the same identity, at the other endpoint
    core.outcomes(core.sent()[0])
    assert core.answer(A) == [b"DONE1", b"r1", b"\0", b""]


def test_figures() -> None:
    core = DrivenServices()
    core.serve(A, MS, FP, window=1)
    core.call()
    core.call()
    core.ask(b"STAT1", b"r")
    said = ujson.loads(core.answer()[2])
    assert said["services"] == {
        "chat/0061": {
            "topics": [[9, 16], [9, 18]], "window": 1, "outstanding": 1, "queued": 1, "leaving": False,
            "heartbeat_age_s": 0.0, "statistics": {}, "figures": {},
        }
    }  # fmt: skip
    assert said["router"]["unanswered_calls"] == 2
    assert said["router"]["unanswered_call_bytes"] > 2


def test_what_members_joined_is_passed_on_to_workers() -> None:
    core = DrivenServices("h/0", "h/1")
    said = [REGROUP1, b'{"group":"g","tokens":["t"],"uids":[],"joined":true}']
    core.tell(A, *said)
    assert core.messages(REGROUP1, "h/0") == core.messages(REGROUP1, "h/1") == [said]


@pytest.mark.parametrize(
    "frames",
    [
        [b"SERVE1"],
        [b"SERVE1", b"[]"],
        [b"SERVE1", b'{"name":"","instance":"1","topics":[]}'],
        [b"SERVE1", b'{"name":"n","topics":[]}'],
        [b"SERVE1", b'{"name":"n","instance":"1\\n","topics":[]}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":{}}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":[[9,16]]}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":[{"signal":9}]}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":[{"signal":11,"sub_signal":1}]}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":[{"signal":9,"sub_signal":128}]}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":[{"signal":true,"sub_signal":1}]}'],
        [b"SERVE1", b'{"name":"n","instance":"1","topics":[],"window":0}'],
        [b"RETURN1", b"12345678", b"\0"],
        [b"RETURN1", b"1234567", b"\0", b""],
        [b"RETURN1", b"12345678", b"\0\0", b""],
        [b"ASK1", b"12345678", b"{}", b""],
        [b"ASK1", b"12345678", b"\xff", b""],
        [b"ASK1", b"12345678", b'{"signal":9,"sub_signal":16,"key":5}', b""],
        [b"ASK1", b"12345678", b'{"signal":9,"sub_signal":16,"timeout_ms":0}', b""],
        [b"ASK1", b"12345678", b'{"signal":9,"sub_signal":16,"timeout_ms":"5"}', b""],
        [b"REGROUP1", b"no"],
    ],
)
def test_what_does_not_decode_is_told_and_counted(frames: list[bytes]) -> None:
    core = DrivenServices()
    core.tell(A, *frames)
    core.tell(A, *frames)
    said = [frames for identity, frames in core.to_services if identity == A]
    assert [frames[:2] for frames in said] == [[b"FAIL1", b""]] * 2
    assert ujson.loads(said[0][2])["code"] == "malformed"
    assert core.count("service_errors") == 2
    assert sum("passed over" in notice for notice in core.notices) == 1
    assert core.core.parts.services.services == {}


def test_an_empty_message() -> None:
    core = DrivenServices()
    core.tell(A)
    core.tell(A, b"")
    assert core.heard(A, b"FAIL1") == 2


def test_a_router_that_stops_answers_all_calls() -> None:
    core = DrivenServices()
    core.serve(A, window=1)
    for _ in range(3):
        core.call()
    core.core.stop(core.now)
    core.turn()
    assert core.topics()[-1] == []
    core.call()
    assert core.told() == [Answer(4, 0xF0, b"")]
    core.give_back(A, core.given(A)[0])
    assert core.core.unanswered == 2
    core.core.end(core.now)
    core.turn()
    assert core.told() == [Answer(1, 0, b"done"), Answer(2, 0xF3, b""), Answer(3, 0xF3, b"")]


# whatever happens

_SERVICES = (A, B, b"\0c")
_TOPICS = (FP, MS)


class AnyService(RuleBasedStateMachine):
    """Services do whatever they like: every ASK1 gets one answer, and each key's calls are begun in order."""

    def __init__(self) -> None:
        super().__init__()
        self.core = DrivenServices(service_queue_max=5, pending_bytes_max=1 << 16, worker_timeout_ms=600_000)
        self.topics: dict[int, Topic] = {}
        self.answered: list[int] = []
        self.held: dict[bytes, list[Call]] = {service: [] for service in _SERVICES}
        self.last: dict[tuple[Topic, str], int] = {}
        self.instances = 0

    @rule(service=sampled_from(_SERVICES), window=integers(1, 3), idempotent=booleans(), both=booleans())
    def serve(self, service: bytes, window: int, idempotent: bool, both: bool) -> None:
        self.core.cut.discard(service)
        self.core.serve(service, *_TOPICS[: 1 + both], window=window, idempotent=idempotent)

    @rule(service=sampled_from(_SERVICES))
    def restart(self, service: bytes) -> None:
        self.core.cut.discard(service)
        self.held[service] = []
        self.instances += 1
        self.core.serve(service, *_TOPICS, instance=f"{service.hex()}-{self.instances}", idempotent=True)

    @rule(topic=sampled_from(_TOPICS), key=sampled_from("abc") | none(), timeout_ms=sampled_from((500, 5000)))
    def ask(self, topic: Topic, key: str | None, timeout_ms: int) -> None:
        self.topics[self.core.call(topic, key, body=b"%d" % (self.core.asked + 1), timeout_ms=timeout_ms)] = topic

    @rule(service=sampled_from(_SERVICES), which=integers(0, 9), twice=booleans())
    def answer(self, service: bytes, which: int, twice: bool) -> None:
        if self.held[service]:
            call = self.held[service].pop(which % len(self.held[service]))
            for _ in range(1 + twice):
                self.core.give_back(service, call)

    @rule(service=sampled_from(_SERVICES), number=integers(0, 1 << 63))
    def answer_what_was_not_asked(self, service: bytes, number: int) -> None:
        self.core.tell(service, *encode_answer(RETURN1, number, 0, b""))

    @rule(service=sampled_from(_SERVICES))
    def leave(self, service: bytes) -> None:
        self.core.tell(service, LEAVE1)

    @rule(service=sampled_from(_SERVICES))
    def cut(self, service: bytes) -> None:
        self.core.cut.add(service)

    @rule(service=sampled_from(_SERVICES))
    def beat(self, service: bytes) -> None:
        self.core.tell(service, BEAT1)

    @rule(seconds=sampled_from((0.1, 1.0, 3.0)))
    def wait(self, seconds: float) -> None:
        self.core.advance(seconds)

    @invariant()
    def look(self) -> None:
        for service in _SERVICES:
            for call in self.core.given(service):
                self.held[service].append(call)
                self.check_order(call)
        self.answered += [answer.number for answer in self.core.told()]
        assert len(set(self.answered)) == len(self.answered)
        services = self.core.core.parts.services
        assert len(services.unanswered) == self.core.asked - len(self.answered)
        assert services.bytes == sum(call.size for call in services.unanswered.values())
        for service in services.services.values():
            assert len(service.calls) <= max(service.window, 3)

    def check_order(self, call: Call) -> None:
        key = call.head.get("key")
        if key is not None and not call.head.get("retry"):
            assert int(call.body) > self.last.get((call.topic, key), 0)
            self.last[call.topic, key] = int(call.body)

    def teardown(self) -> None:
        self.core.advance(6.0)
        self.look()
        assert sorted(self.answered) == list(range(1, self.core.asked + 1))
        services = self.core.core.parts.services
        for identity in list(services.services):
            services.lose(services.services[identity], "test", self.core.now)
        assert services.bytes == 0
        assert not services.unanswered
        assert not services.lanes._lanes
        assert not services.lanes._topics


AnyService.TestCase.settings = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)
test_whatever_services_do = AnyService.TestCase
