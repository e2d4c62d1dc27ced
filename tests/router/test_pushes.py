"""Pushes to tokens: routing, windows, coalescing, outcomes."""

import pytest

from router.batches import BATCH_PUSHES
from shared import bus
from shared.outcomes import Outcome
from shared.push_ids import id_prefix
from shared.requests import DONE1
from tests.router.driven_core import STARTED_MS, DrivenCore, push2, tokens_of

TWO = ("h/0", "h/1")
SENT, OFFLINE, OVERLOADED = bytes([0]), bytes([3]), bytes([5])
UNAVAILABLE, REFUSED, BUFFERED, UNKNOWN = bytes([7]), bytes([8]), bytes([9]), bytes([10])


def test_a_push_goes_at_once_as_one_batch() -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(*push2(b"r1", [(b"alice", b"hello")]))
    (sent,) = fleet.sent()
    assert sent.worker == "h/0"
    assert sent.pushes == [(b"alice", b"hello", 0)]
    assert sent.batch.epoch == (STARTED_MS, 1)
    (segment,) = sent.batch.segments
    assert segment == (1, 0, segment.id_prefix, 4, 0)
    assert len(segment.id_prefix) == 16
    fleet.outcomes(sent)
    assert fleet.answer() == [DONE1, b"r1", SENT, b""]


def test_push1_means_the_same() -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(b"PUSH1", b"r1", b"", b"alice", b"hello", b"bob", b"")
    (sent,) = fleet.sent()
    assert sent.pushes == [(b"alice", b"hello", 0), (b"bob", b"", 1)]
    fleet.outcomes(sent, OFFLINE + SENT)
    assert fleet.answer() == [DONE1, b"r1", OFFLINE + SENT, b""]


def test_pushes_go_to_owners_and_outcomes_come_back_in_order() -> None:
    fleet = DrivenCore(*TWO)
    tokens = [token for pair in zip(*(tokens_of(name, TWO, 5) for name in TWO), strict=True) for token in pair]
    fleet.push(b"r1", *tokens)
    first, second = sorted(fleet.sent())
    assert [position for _, _, position in first.pushes] == [0, 2, 4, 6, 8]
    assert [position for _, _, position in second.pushes] == [1, 3, 5, 7, 9]
    assert [token for token, _, _ in second.pushes] == tokens[1::2]
    fleet.outcomes(second, bytes([3, 5, 6, 8, 9]))
    assert fleet.answers() == []
    fleet.outcomes(first)
    assert fleet.answer()[2] == bytes([0, 3, 0, 5, 0, 6, 0, 8, 0, 9])


def test_requests_of_one_turn_share_a_batch() -> None:
    fleet = DrivenCore("h/0")
    for number in range(3):
        frames = push2(b"r%d" % number, [(b"a", b"%d" % number), (b"b", b"")])
        fleet.core.from_sender(b"s%d" % number, frames, fleet.now)
    fleet.turn()
    (sent,) = fleet.sent()
    assert [segment.pushes for segment in sent.batch.segments] == [2, 2, 2]
    assert len({segment.id_prefix for segment in sent.batch.segments}) == 3
    assert [payload for _, payload, _ in sent.pushes] == [b"0", b"", b"1", b"", b"2", b""]
    fleet.outcomes(sent, bytes([0, 0, 3, 0, 0, 5]))
    assert [fleet.answer(b"s%d" % number)[2] for number in range(3)] == [bytes(2), bytes([3, 0]), bytes([0, 5])]


def test_an_id_makes_pushes_repeatable() -> None:
    fleet = DrivenCore("h/0")
    fleet.hello(b"billing")
    fleet.push(b"r1", b"alice", id="order-1", signal="PUBLISH", sub_signal="FRP")
    (sent,) = fleet.sent()
    assert sent.batch.segments == [(1, bus.REPEATABLE, id_prefix(b"billing", b"order-1"), 9, 14)]


def test_a_full_window_makes_pushes_wait_and_go_together() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=2)
    for number in range(5):
        fleet.push(b"r%d" % number, b"alice")
    first, second = fleet.sent()
    assert fleet.core.parts.pushes.waiting() == {"h/0": 3}
    fleet.outcomes(first)
    (third,) = fleet.sent()
    assert len(third.pushes) == 3
    fleet.outcomes(third)
    fleet.outcomes(second)
    assert sorted(frames[1] for frames in fleet.answers()) == [b"r0", b"r1", b"r2", b"r3", b"r4"]


def test_much_goes_in_several_batches() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", *[b"t%d" % number for number in range(10_000)])
    sizes, positions, outcomes = [], [], []
    while batches := fleet.sent():
        (sent,) = batches
        sizes.append(len(sent.pushes))
        positions += [position for _, _, position in sent.pushes]
        outcomes.append(bytes([len(outcomes) % 2 * 3]) * len(sent.pushes))
        fleet.outcomes(sent, outcomes[-1])
    assert sizes == [BATCH_PUSHES, BATCH_PUSHES, 10_000 - 2 * BATCH_PUSHES]
    assert positions == list(range(10_000))
    assert fleet.answer()[2] == b"".join(outcomes)


def test_batches_are_bounded_in_bytes_but_hold_one_push() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    payloads = [b"x" * size for size in (3 << 20, 2 << 20, 5 << 20, 1)]
    fleet.ask(*push2(b"r1", [(b"alice", payload) for payload in payloads]))
    sizes = []
    while batches := fleet.sent():
        sizes.append([len(payload) for _, payload, _ in batches[0].pushes])
        fleet.outcomes(batches[0])
    assert sizes == [[3 << 20], [2 << 20], [5 << 20], [1]]
    assert fleet.answer()[2] == bytes(4)


def test_held_pushes_are_answered_late() -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", b"a", b"b", b"c")
    fleet.push(b"r2", b"d")
    first, second = fleet.sent()
    fleet.outcomes(first, bytes([0, bus.HELD, bus.HELD]))
    fleet.outcomes(second, bytes([bus.HELD]))
    fleet.late(first, (2, 3))
    assert fleet.answers() == []
    fleet.late(first, (1, 9))
    assert fleet.answer() == [DONE1, b"r1", bytes([0, 9, 3]), b""]
    fleet.late(second, (0, 0))
    assert fleet.answer()[2] == SENT
    assert not fleet.core.parts.membership.workers[b"h/0"].held


def test_held_batches_do_not_fill_the_window() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", b"a")
    fleet.outcomes(fleet.sent()[0], bytes([bus.HELD]))
    fleet.push(b"r2", b"a")
    assert len(fleet.sent()) == 1


def test_time_out_tells_waiting_from_sent_and_never_sends_later() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", b"a", timeout_ms=500)
    fleet.push(b"r2", b"a", b"b", timeout_ms=500)
    fleet.push(b"r3", b"a", timeout_ms=5000)
    (first,) = fleet.sent()
    fleet.advance(0.49)
    assert fleet.answers() == []
    fleet.advance(0.03)
    assert {frames[1]: frames[2] for frames in fleet.answers()} == {b"r1": UNKNOWN, b"r2": UNAVAILABLE * 2}
    fleet.outcomes(first)
    assert fleet.answers() == []
    (second,) = fleet.sent()
    assert len(second.pushes) == 1
    fleet.outcomes(second)
    assert fleet.answer()[1:3] == [b"r3", SENT]


def test_time_out_of_a_request_that_is_partly_answered() -> None:
    fleet = DrivenCore(*TWO, bus_window_batches=1)
    here, there = tokens_of("h/0", TWO, 1)[0], tokens_of("h/1", TWO, 1)[0]
    fleet.push(b"r0", there)
    fleet.push(b"r1", here, there, here)
    blocked, sent = sorted(fleet.sent(), key=lambda each: each.batch.number)
    fleet.outcomes(sent, bytes([0, bus.HELD]))
    fleet.advance(6)
    assert {frames[1]: frames[2] for frames in fleet.answers()} == {b"r0": UNKNOWN, b"r1": SENT + UNAVAILABLE + UNKNOWN}
    fleet.outcomes(blocked)
    assert fleet.sent() == []


def test_answers_lost_with_a_link_do_not_fill_the_window_for_ever() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=2)
    for number in range(5):
        fleet.push(b"lost%d" % number, b"a", timeout_ms=1000)
        fleet.sent()  # and no answer comes
        fleet.advance(1.1)
        fleet.say("h/0", bus.encode_control(bus.BEAT1, {}))
    fleet.push(b"r", b"a")
    (batch,) = fleet.sent()
    fleet.outcomes(batch)
    assert fleet.answers()[-1][1:3] == [b"r", SENT]
    assert fleet.core.counters["batches_forgotten"] == 5


def test_the_window_of_a_silent_worker_stays_full() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1, worker_timeout_ms=60_000)
    fleet.push(b"r1", b"a", timeout_ms=5000)
    assert len(fleet.sent()) == 1
    fleet.advance(5.1)
    fleet.push(b"r2", b"a", timeout_ms=1000)
    assert fleet.sent() == []


def test_the_dead_do_not_pile_up_behind_a_stuck_worker() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1, worker_timeout_ms=600_000)
    fleet.push(b"r", b"a")
    for number in range(100):
        fleet.push(b"r%d" % number, *[b"t%d" % token for token in range(1000)], timeout_ms=100)
        fleet.advance(0.2)
        fleet.say("h/0", bus.encode_control(bus.BEAT1, {}))
    assert fleet.core.parts.pushes.waiting()["h/0"] <= BATCH_PUSHES + 1000
    assert fleet.core.parts.admission.bytes == 0


def test_a_worker_that_is_away_leaves_unknown_what_it_had_and_gets_what_waits_when_it_is_back() -> None:
    fleet = DrivenCore(*TWO, bus_window_batches=1)
    mine, other = tokens_of("h/0", TWO, 2), tokens_of("h/1", TWO, 1)
    fleet.push(b"r1", mine[0], other[0])
    fleet.push(b"r2", mine[1])
    first, second = sorted(fleet.sent())
    fleet.outcomes(second)
    fleet.cut.add(b"h/0")
    fleet.advance(3)
    assert fleet.answer()[1:3] == [b"r1", UNKNOWN + SENT]
    assert fleet.sent() == []
    fleet.cut.clear()
    fleet.join("h/0", incarnation="b")
    (again,) = fleet.sent()
    assert (again.worker, again.batch.epoch) == ("h/0", first.batch.epoch)
    fleet.outcomes(again, OFFLINE)
    assert fleet.answer()[1:3] == [b"r2", OFFLINE]
    fleet.outcomes(first)
    assert fleet.answers() == []


def test_what_waits_for_a_lost_worker_goes_to_the_new_owner() -> None:
    fleet = DrivenCore(*TWO, bus_window_batches=1, worker_timeout_ms=2000)
    (mine,) = tokens_of("h/0", TWO, 1)
    fleet.cut.add(b"h/0")
    fleet.push(b"r1", mine)
    for _ in range(5):
        assert fleet.sent() == []
        fleet.advance(0.5)
        fleet.say("h/1", bus.encode_control(bus.BEAT1, {}))
    (sent,) = fleet.sent()
    assert (sent.worker, sent.batch.epoch) == ("h/1", fleet.rings("h/1")[-1].epoch)


def test_a_batch_that_was_not_taken_waits_in_order() -> None:
    fleet = DrivenCore(*TWO)
    (token,) = tokens_of("h/0", TWO, 1)
    fleet.cut.add(b"h/0")
    fleet.ask(*push2(b"r1", [(token, b"1"), (token, b"2")]))
    fleet.ask(*push2(b"r2", [(token, b"3")]))
    assert fleet.sent() == []
    fleet.cut.clear()
    fleet.join("h/0")
    pushes = [payload for sent in fleet.sent() for _, payload, _ in sent.pushes if sent.worker == "h/0"]
    assert pushes == [b"1", b"2", b"3"]


def test_several_unsent_batches_keep_their_order_before_what_waits() -> None:
    fleet = DrivenCore(*TWO, bus_window_batches=2, max_targets=20_000)
    (token,) = tokens_of("h/0", TWO, 1)
    fleet.cut.add(b"h/0")
    fleet.ask(*push2(b"r1", [(token, b"%d" % number) for number in range(3 * BATCH_PUSHES)], timeout_ms=60_000))
    fleet.cut.clear()
    fleet.join("h/0", incarnation="b")
    payloads: list[int] = []
    while batches := fleet.sent():
        for sent in batches:
            payloads += [int(payload) for _, payload, _ in sent.pushes]
            fleet.outcomes(sent)
    assert payloads == list(range(3 * BATCH_PUSHES))
    assert fleet.answer()[2] == bytes(3 * BATCH_PUSHES)


def test_the_last_worker_lost_means_unavailable_for_what_waits() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", b"a", timeout_ms=60_000)
    fleet.push(b"r2", b"a", b"b", timeout_ms=60_000)
    fleet.advance(11)
    assert {frames[1]: frames[2] for frames in fleet.answers()} == {b"r1": UNKNOWN, b"r2": UNAVAILABLE * 2}


def test_without_workers_bad_tokens_are_refused_and_the_rest_is_unavailable() -> None:
    fleet = DrivenCore()
    fleet.advance(1)
    fleet.push(b"r1", b"alice", b"", b"x" * 256, b"a\x00", b"\xff", b"bob")
    assert fleet.answer() == [DONE1, b"r1", UNAVAILABLE + REFUSED * 4 + UNAVAILABLE, b""]


def test_before_the_first_ring_requests_wait() -> None:
    fleet = DrivenCore(ring_settle_ms=1000, workers=2)
    fleet.push(b"r1", b"a", timeout_ms=200)
    fleet.push(b"r2", b"a")
    fleet.join("h/0")
    fleet.advance(0.5)
    assert fleet.answer()[1:3] == [b"r1", UNAVAILABLE]
    assert fleet.sent() == []
    fleet.advance(0.6)
    (sent,) = fleet.sent()
    fleet.outcomes(sent)
    assert fleet.answer()[1:3] == [b"r2", SENT]


def test_before_the_first_ring_and_nobody_comes() -> None:
    fleet = DrivenCore(ring_settle_ms=1000)
    fleet.push(b"r1", b"a", b"")
    fleet.advance(1.1)
    assert fleet.answer()[1:3] == [b"r1", UNAVAILABLE + REFUSED]


def test_a_restarted_worker_answers_for_nothing_that_it_had() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", b"a")
    fleet.push(b"r2", b"a")
    (old,) = fleet.sent()
    fleet.join("h/0", incarnation="b")
    assert fleet.answer()[1:3] == [b"r1", UNKNOWN]
    (new,) = fleet.sent()
    assert new.batch.epoch == (STARTED_MS, 1)
    fleet.outcomes(old)
    fleet.outcomes(new)
    assert fleet.answer()[1:3] == [b"r2", SENT]
    assert fleet.core.counters["bus_strays"] == 1


def test_a_leaving_worker_still_answers_and_gets_nothing_new() -> None:
    fleet = DrivenCore(*TWO, bus_window_batches=1)
    mine = tokens_of("h/0", TWO, 2)
    fleet.push(b"r1", mine[0])
    fleet.push(b"r2", mine[1])
    (old,) = fleet.sent()
    fleet.say("h/0", bus.encode_control(bus.BYE1, {"leaving": True}))
    assert fleet.sent() == []  # some of the old batch may come back, and go before this one
    fleet.outcomes(old)
    (new,) = fleet.sent()
    assert new.worker == "h/1"
    fleet.outcomes(new)
    assert [frames[1:3] for frames in fleet.answers()] == [[b"r1", SENT], [b"r2", SENT]]


def test_ring_comes_before_the_batches_routed_by_it() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", b"a")
    fleet.push(b"r2", *[b"t%d" % number for number in range(20)])
    (first,) = fleet.sent()
    fleet.join("h/1")
    fleet.outcomes(first)
    kinds = [(frames[0], bus.decode_batch(frames).epoch.counter if frames[0] == bus.PUSHES1 else 0)
             for name, frames in fleet.to_workers if name == "h/1"]  # fmt: skip
    assert kinds == [(bus.ALIVE1, 0), (bus.RING1, 0), (bus.TAKEN1, 0), (bus.PUSHES1, 2)]


@pytest.mark.parametrize("outcomes", [b"", bytes(1), bytes(3)])
def test_outcomes_that_do_not_fit_are_unknown(outcomes: bytes) -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", b"a", b"b")
    (sent,) = fleet.sent()
    fleet.say("h/0", [bus.OUTCOMES1, sent.batch.number.to_bytes(8, "big"), outcomes])
    assert fleet.answer()[2] == UNKNOWN * 2
    assert fleet.core.counters["bus_errors"] == 1


def test_outcome_bytes_that_mean_nothing_are_unknown() -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", b"a", b"b")
    fleet.outcomes(fleet.sent()[0], bytes([77, 0]))
    assert fleet.answer()[2] == UNKNOWN + SENT


@pytest.mark.parametrize("late", [(5, 0), (1, bus.HELD)])
def test_late_words_that_do_not_fit_are_counted(late: tuple[int, int]) -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", b"a", b"b")
    (sent,) = fleet.sent()
    fleet.outcomes(sent, bytes([0, bus.HELD]))
    fleet.late(sent, late)
    assert fleet.core.counters["bus_errors"] == 1
    fleet.late(sent, (1, 3), (1, 0))
    assert fleet.answer()[2] == SENT + OFFLINE
    assert fleet.core.counters["bus_strays"] == 1


def test_stopping_answers_everything() -> None:
    fleet = DrivenCore("h/0", bus_window_batches=1)
    fleet.push(b"r1", b"a")
    fleet.push(b"r2", b"a")
    (first,) = fleet.sent()
    fleet.core.stop(fleet.now)
    fleet.turn()
    assert fleet.answer()[1:3] == [b"r2", UNAVAILABLE]
    fleet.push(b"r3", b"a")
    assert fleet.answer()[1:3] == [b"r3", UNAVAILABLE]
    fleet.push(b"r4", b"")
    assert fleet.answer()[1:3] == [b"r4", REFUSED]
    assert fleet.core.unanswered == 1
    fleet.core.end(fleet.now)
    fleet.turn()
    assert fleet.answer()[1:3] == [b"r1", UNKNOWN]
    fleet.outcomes(first)
    assert fleet.sent() == []
    assert fleet.answers() == []


def test_every_outcome_is_counted() -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", *[b"t%d" % number for number in range(11)])
    fleet.outcomes(fleet.sent()[0], bytes(range(11)))
    assert fleet.answer()[2] == bytes(range(11))
    assert all(fleet.core.counters[f"outcome_{each.name.lower()}"] == 1 for each in Outcome)
