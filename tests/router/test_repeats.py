"""Requests with an `id`: repeated, waited for, remembered and forgotten."""

import pytest

from router.repeats import ENTRY_BYTES
from shared import bus
from shared.requests import DONE1
from tests.router.driven_core import DrivenCore, push2

ID = {"id": "order-1"}


def greeted(*workers: str, **settings: int) -> DrivenCore:
    """A fleet that knows s1 by name."""
    fleet = DrivenCore(*(workers or ("h/0",)), **settings)
    fleet.hello(b"billing")
    return fleet


def finish(fleet: DrivenCore, outcomes: bytes | None = None) -> None:
    """Answer the one batch under way."""
    (sent,) = fleet.sent()
    fleet.outcomes(sent, outcomes)


def test_a_finished_request_is_answered_from_memory() -> None:
    fleet = greeted()
    fleet.push(b"r1", b"a", b"b", b"c", **ID)
    finish(fleet, bytes([0, 3, 9]))
    fleet.answers()
    fleet.push(b"r2", b"a", b"b", b"c", **ID)
    assert fleet.answer() == [DONE1, b"r2", bytes([0, 3, 9]), b""]
    assert fleet.sent() == []
    assert fleet.core.counters["repeats"] == 1


def test_only_overloaded_unavailable_and_unknown_are_tried_again() -> None:
    fleet = greeted()
    tokens = [b"t%d" % number for number in range(11)]
    fleet.push(b"r1", *tokens, **ID)
    (first,) = fleet.sent()
    fleet.outcomes(first, bytes(range(11)))
    fleet.answers()
    fleet.push(b"r2", *tokens, **ID)
    (again,) = fleet.sent()
    assert again.pushes == [(b"t5", b"p", 5), (b"t7", b"p", 7), (b"t10", b"p", 10)]
    assert again.batch.segments == [first.batch.segments[0]._replace(pushes=3)]
    fleet.outcomes(again, bytes([0, 5, 0]))
    assert fleet.answer()[2] == bytes([0, 1, 2, 3, 4, 0, 6, 5, 8, 9, 0])
    fleet.push(b"r3", *tokens, **ID)
    (third,) = fleet.sent()
    assert [position for _, _, position in third.pushes] == [7]


def test_a_retry_that_is_not_sent_says_so_except_of_the_unknown() -> None:
    fleet = greeted(bus_window_batches=1)
    fleet.push(b"r1", b"a", b"b", b"c", b"d", **ID)
    finish(fleet, bytes([0, 5, 7, 10]))
    fleet.answers()
    fleet.push(b"r2", b"z")
    fleet.push(b"r3", b"a", b"b", b"c", b"d", timeout_ms=100, **ID)
    fleet.advance(0.2)
    assert fleet.answer()[1:3] == [b"r3", bytes([0, 7, 7, 10])]


def test_a_retry_without_workers() -> None:
    fleet = greeted()
    fleet.push(b"r1", b"a", b"b", b"", **ID)
    finish(fleet, bytes([0, 10, 5]))
    fleet.say("h/0", bus.encode_control(bus.BYE1, {"gone": True}))
    fleet.answers()
    fleet.push(b"r2", b"a", b"b", b"", **ID)
    assert fleet.answer()[2] == bytes([0, 10, 8])


def test_an_unfinished_request_is_waited_for() -> None:
    fleet = greeted()
    fleet.push(b"r1", b"a", **ID)
    fleet.hello(b"billing", sender=b"s2")
    fleet.push(b"r2", b"a", sender=b"s2", **ID)
    fleet.push(b"r1", b"a", **ID)
    assert fleet.core.parts.admission.requests == 3
    finish(fleet, bytes([3]))
    assert fleet.answers() == [[DONE1, b"r1", bytes([3]), b""]] * 2
    assert fleet.answer(b"s2") == [DONE1, b"r2", bytes([3]), b""]
    assert fleet.core.parts.admission.requests == 0


def test_ids_are_scoped_to_the_name() -> None:
    fleet = greeted()
    fleet.hello(b"other", sender=b"s2")
    fleet.push(b"r1", b"a", **ID)
    finish(fleet)
    fleet.push(b"r1", b"a", sender=b"s2", **ID)
    assert len(fleet.sent()) == 1


@pytest.mark.parametrize(
    "other",
    [
        push2(b"r2", [(b"a", b"q")], **ID),
        push2(b"r2", [(b"b", b"p")], **ID),
        push2(b"r2", [(b"a", b"p"), (b"a", b"p")], **ID),
        push2(b"r2", [(b"ap", b"")], **ID),
        push2(b"r2", [(b"a", b"p")], signal="PUBLISH", **ID),
        push2(b"r2", [(b"a", b"p")], sub_signal=9, **ID),
        push2(b"r2", [(b"a", b"p")], to="all", **ID),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_the_same_id_with_other_content(other: list[bytes], finished: bool) -> None:
    fleet = greeted()
    fleet.push(b"r1", b"a", **ID)
    (sent,) = fleet.sent()
    if finished:
        fleet.outcomes(sent)
        fleet.answers()
    fleet.ask(*other)
    assert fleet.fault() == "id_reused"


def test_push1_repeats_push2_and_another_timeout_is_no_other_content() -> None:
    fleet = greeted()
    fleet.push(b"r1", b"a", **ID)
    finish(fleet)
    fleet.answers()
    fleet.ask(b"PUSH1", b"r2", b'{"timeout_ms": 77, "id": "order-1"}', b"a", b"p")
    assert fleet.answer()[:3] == [DONE1, b"r2", bytes(1)]


def test_a_name_is_needed_per_connection() -> None:
    fleet = greeted()
    fleet.push(b"r1", b"a", sender=b"s2", **ID)
    assert fleet.fault(b"s2") == "hello_needed"
    fleet.core.sender_gone(b"s1")
    fleet.push(b"r1", b"a", **ID)
    assert fleet.fault() == "hello_needed"


def test_a_refused_request_leaves_nothing_behind() -> None:
    fleet = greeted(pending_requests_max=2)
    fleet.push(b"r0", b"z")
    fleet.push(b"r1", b"a", **ID)
    assert fleet.fault() == "overloaded"
    finish(fleet)
    fleet.answers()
    fleet.push(b"r1", b"b", **ID)
    assert len(fleet.sent()) == 1


def test_ids_are_forgotten_after_the_window() -> None:
    fleet = greeted(repeat_window_s=600, worker_timeout_ms=600_000)
    fleet.push(b"r1", b"a", **ID)
    finish(fleet)
    fleet.answers()
    fleet.advance(599)
    fleet.push(b"r2", b"a", **ID)
    assert fleet.answer()[:2] == [DONE1, b"r2"]
    fleet.advance(2)
    assert len(fleet.core.parts.repeats) == 0
    assert fleet.core.parts.repeats.bytes == 0


def test_the_last_ids_per_name_are_kept() -> None:
    fleet = greeted(repeat_window_requests=3)
    fleet.hello(b"other", sender=b"s2")
    fleet.push(b"r", b"a", sender=b"s2", id="x")
    finish(fleet)
    for number in range(5):
        fleet.push(b"r", b"a", id=str(number))
        finish(fleet)
    fleet.answers()
    for number in (2, 3, 4):
        fleet.push(b"r", b"a", id=str(number))
    assert len(fleet.answers()) == 3
    fleet.push(b"r", b"a", id="1")
    assert len(fleet.sent()) == 1
    fleet.answers(b"s2")
    fleet.push(b"r", b"a", sender=b"s2", id="x")
    assert len(fleet.answers(b"s2")) == 1


def test_memory_is_bounded_over_all_names() -> None:
    fleet = DrivenCore("h/0", repeat_bytes_max=1 << 16)
    for number in range(500):
        fleet.hello(b"name-%d" % number)
        fleet.push(b"r", b"a", id="x" * 512)
        finish(fleet)
    assert fleet.core.parts.repeats.bytes <= 1 << 16
    assert 10 < len(fleet.core.parts.repeats) <= (1 << 16) // ENTRY_BYTES


def test_a_push_to_all_is_repeated_too() -> None:
    fleet = greeted()
    fleet.ask(*push2(b"r1", [(b"", b"news")], to="all", **ID))
    (first,) = fleet.messages(bus.ALL1)
    fleet.say("h/0", bus.encode_numbered(bus.COUNTS1, bus.number_of(first), {"matched": 1, "overloaded": 1}))
    assert fleet.answer()[2] == bytes([5])
    fleet.ask(*push2(b"r2", [(b"", b"news")], to="all", **ID))
    _, second = fleet.messages(bus.ALL1)
    assert bus.number_of(second) > bus.number_of(first)
    fleet.say("h/0", bus.encode_numbered(bus.COUNTS1, bus.number_of(second), {"matched": 1, "sent": 1}))
    sent = fleet.answer()
    assert sent[2] == bytes([0])
    fleet.ask(*push2(b"r3", [(b"", b"news")], to="all", **ID))
    assert fleet.answer()[2:] == sent[2:]
