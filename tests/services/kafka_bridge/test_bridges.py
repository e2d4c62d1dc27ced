"""The core: records and outcomes in, pushes, writes and offsets out."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from services.kafka_bridge.bridges import Bridge, DeadLetter, Limits, Report
from services.kafka_bridge.partitions import Entry
from services.kafka_bridge.records import Header, Place, Record
from shared.outcomes import Outcome

PLACE = Place("topic", 0)


def bridge(records_max: int = 100, *, dead: bool = True, outcomes: bool = False) -> Bridge:
    made = Bridge(Limits(records_max, 10_000, 1000, writes_dead_letters=dead, writes_outcomes=outcomes))
    made.assign([PLACE])
    return made


def take(made: Bridge, *keys: str, first: int = 0, place: Place = PLACE) -> None:
    for offset, key in enumerate(keys, first):
        made.take(Record(place, offset, key.encode() or None, b"x"))


def offsets(entries: list[Entry]) -> list[int]:
    return [entry.offset for entry in entries]


def test_one_of_each_key_goes_at_a_time() -> None:
    made = bridge()
    take(made, "a", "b", "a", "a")
    first = made.turn(0).pushes
    assert offsets(first) == [0, 1]
    made.settle(first[0], Outcome.SENT, 0)
    assert offsets(made.turn(0).pushes) == [2]


def test_offsets_are_committed_up_to_the_first_that_is_not_done() -> None:
    made = bridge()
    take(made, "a", "b", "c")
    one, two, three = made.turn(0).pushes
    made.settle(two, Outcome.OFFLINE, 0)
    assert made.turn(0).positions == []
    made.settle(one, Outcome.STORED, 0)
    assert made.turn(0).positions == [(PLACE, 2)]
    made.settle(three, Outcome.ACKED, 0)
    assert made.turn(0).positions == [(PLACE, 3)]


def test_gaps_between_offsets_are_none_of_its_business() -> None:
    made = bridge()
    take(made, "a", first=10)
    take(made, "b", first=20)
    one, two = made.turn(0).pushes
    made.settle(one, Outcome.SENT, 0)
    assert made.turn(0).positions == [(PLACE, 20)]
    made.settle(two, Outcome.SENT, 0)
    assert made.turn(0).positions == [(PLACE, 21)]


def test_one_slow_client_stops_nobody() -> None:
    made = bridge()
    take(made, "a", "b")
    for entry, outcome in zip(made.turn(0).pushes, (Outcome.OVERLOADED, Outcome.BUFFERED), strict=True):
        made.settle(entry, outcome, 0)
    assert made.turn(0).positions == [(PLACE, 2)]


def test_a_fleet_that_is_away_stops_the_partition_until_what_failed_is_done() -> None:
    made = bridge()
    take(made, "a", "b", "c")
    one, two, three = made.turn(0).pushes
    take(made, "d", "a", first=3)
    made.settle(three, Outcome.UNAVAILABLE, 1)
    assert made.turn(9).pushes == []  # one and two are still under way
    made.settle(one, Outcome.UNKNOWN, 9)
    made.settle(two, Outcome.SENT, 9)
    again = made.turn(9).pushes
    assert offsets(again) == [0, 2]
    assert [entry.id for entry in again] == ["topic/0/0", "topic/0/2"]
    made.settle(again[1], Outcome.SENT, 9)
    assert made.turn(9).pushes == []
    made.settle(again[0], Outcome.SENT, 9)
    assert offsets(made.turn(9).pushes) == [3, 4]
    assert made.counters["repeats"] == 2


def test_repeats_wait_longer_each_time() -> None:
    made = bridge()
    take(made, "a")
    [entry] = made.turn(0).pushes
    waits = []
    for _ in range(8):
        made.settle(entry, Outcome.UNAVAILABLE, 100)
        waits.append(made.next_deadline() - 100)
        assert made.turn(100).pushes == []
        assert made.turn(100 + waits[-1] + 0.001).pushes == [entry]
    assert [round(wait, 1) for wait in waits] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_dead_letter_is_written_before_its_offset_is_committed() -> None:
    made = bridge()
    take(made, "")
    turn = made.turn(0)
    [entry] = turn.writes
    assert (entry.told, turn.pushes, turn.positions) == (DeadLetter("record has no key"), [], [(PLACE, 0)])
    made.written(entry, False, 0)
    assert made.turn(0.5).writes == []
    assert made.turn(1.1).writes == [entry]
    made.written(entry, True, 2)
    assert made.turn(2).positions == [(PLACE, 1)]


def test_without_a_topic_for_them_dead_letters_are_told_and_passed_over() -> None:
    made = bridge(dead=False)
    take(made, "")
    turn = made.turn(0)
    assert turn.dropped == [("topic/0/0", "record has no key")]
    assert turn.positions == [(PLACE, 1)]


def test_too_large_for_its_client_is_a_dead_letter() -> None:
    made = bridge()
    take(made, "a")
    [entry] = made.turn(0).pushes
    made.settle(entry, Outcome.TOO_LARGE, 0)
    assert made.turn(0).writes == [entry]


def test_an_outcome_is_written_before_its_offset_is_committed() -> None:
    made = bridge(outcomes=True)
    take(made, "a", "a")
    [entry] = made.turn(0).pushes
    made.settle(entry, Outcome.SENT, 0, "id-0", {"sent": 1})
    turn = made.turn(0)
    assert turn.writes == [entry]
    assert entry.told == Report(Outcome.SENT, "id-0", {"sent": 1})
    assert offsets(turn.pushes) == [1]
    made.written(entry, True, 0)
    assert made.turn(0).positions == [(PLACE, 1)]


def test_a_request_that_is_refused_is_a_dead_letter() -> None:
    made = bridge()
    take(made, "a")
    [entry] = made.turn(0).pushes
    made.refuse(entry, "bad_options", "ttl is too long", 0)
    assert made.turn(0).writes == [entry]
    assert entry.told == DeadLetter("bad_options: ttl is too long")


def test_a_topic_made_anew_gets_new_ids() -> None:
    made = bridge()
    made.take(Record(PLACE, 0, b"a", b"x", (), 123))
    [entry] = made.turn(0).pushes
    made.refuse(entry, "id_reused", "", 0)
    assert made.turn(1).pushes == [entry]
    assert entry.id == "topic/0/0/123"
    made.refuse(entry, "id_reused", "other content", 1)
    assert made.turn(1).writes == [entry]


def test_a_full_partition_is_paused_until_half_is_done() -> None:
    made = bridge(records_max=4)
    take(made, "a", "b", "c", "d")
    turn = made.turn(0)
    assert turn.pauses == [PLACE]
    for number, entry in enumerate(turn.pushes[:2]):
        assert made.turn(0).resumes == []
        made.settle(entry, Outcome.SENT, number)
    assert made.turn(0).resumes == [PLACE]


def test_a_partition_of_many_bytes_is_paused_too() -> None:
    made = Bridge(Limits(100, 500, 1000))
    made.assign([PLACE])
    made.take(Record(PLACE, 0, b"a", b"x" * 499))
    turn = made.turn(0)
    assert turn.pauses == [PLACE]
    made.settle(turn.pushes[0], Outcome.SENT, 0)
    assert made.turn(0).resumes == [PLACE]


def test_a_partition_that_leaves_begins_nothing_and_commits_what_is_done() -> None:
    made = bridge()
    take(made, "a", "a", "b")
    one, other = made.turn(0).pushes
    made.leave([PLACE])
    made.settle(other, Outcome.SENT, 0)
    assert not made.is_settled([PLACE])
    made.settle(one, Outcome.SENT, 0)
    take(made, "c", first=3)
    assert made.turn(0).pushes == []
    assert made.is_settled([PLACE])
    assert made.forget([PLACE]) == [(PLACE, 1)]


def test_answers_of_a_partition_that_went_and_came_back_do_nothing() -> None:
    made = bridge()
    take(made, "a")
    [old] = made.turn(0).pushes
    made.forget([PLACE])
    made.assign([PLACE])
    take(made, "a", "b")
    new = made.turn(0).pushes
    made.settle(old, Outcome.SENT, 0)
    made.refuse(old, "bad_options", "", 0)
    assert made.turn(0).positions == []
    made.settle(new[0], Outcome.SENT, 0)
    assert made.turn(0).positions == [(PLACE, 1)]


def test_a_topic_that_begins_again_is_read_from_there() -> None:
    made = bridge()
    take(made, "a", "b", first=50)
    old = made.turn(0).pushes
    take(made, "c", first=0)
    [new] = made.turn(0).pushes
    made.settle(old[0], Outcome.SENT, 0)
    assert made.turn(0).positions == []
    made.settle(new, Outcome.SENT, 0)
    assert made.turn(0).positions == [(PLACE, 1)]


def test_records_of_partitions_that_are_not_here_are_dropped() -> None:
    made = bridge()
    take(made, "a", place=Place("other", 0))
    assert made.turn(0).pushes == []
    assert made.counters["records"] == 0


answers = st.sampled_from([*Outcome, "refused", "bad write"])
keys = st.lists(st.sampled_from(["a", "b", "c", "", "bad"]), max_size=30)


@settings(max_examples=300)
@given(keys, st.lists(answers, max_size=200), st.integers(1, 8), st.booleans(), st.booleans())
def test_everything_is_done_once_in_order_and_committed(
    which: list[str], said: list[Outcome | str], records_max: int, dead: bool, outcomes: bool
) -> None:
    made = bridge(records_max, dead=dead, outcomes=outcomes)
    to_take = deque(enumerate(which))
    answered = deque(said)
    done: set[int] = set()
    last_words: dict[bytes, list[int]] = {}
    position, now, is_paused = 0, 0.0, False
    while position < len(which):
        now += 10
        while to_take and not is_paused:
            offset, key = to_take.popleft()
            headers: list[Header] = [("ttl", b"no")] if key == "bad" else []
            made.take(Record(PLACE, offset, key.encode() or None, b"x", headers))
            if len(to_take) % 3 == 0:
                break
        turn = made.turn(now)
        done |= {int(record_id.rpartition("/")[2]) for record_id, _ in turn.dropped}
        is_paused = (is_paused or bool(turn.pauses)) and not turn.resumes
        keys_under_way = [entry.line for entry in turn.pushes]
        assert len(set(keys_under_way)) == len(keys_under_way)
        for _, offset in turn.positions:
            assert offset >= position
            position = offset
            assert set(range(position)) <= done
        for entry in turn.writes:
            ok = not answered or answered.popleft() != "bad write"
            done |= {entry.offset} if ok else set()
            made.written(entry, ok, now)
        for entry in turn.pushes:
            answer = answered.popleft() if answered else Outcome.SENT
            line, offset = entry.line, entry.offset
            if isinstance(answer, Outcome):
                made.settle(entry, answer, now)
            else:
                made.refuse(entry, "bad_options", answer, now)
            if answer in (Outcome.UNAVAILABLE, Outcome.UNKNOWN):
                continue
            last_words.setdefault(line, []).append(offset)
            if entry.record is None:
                done.add(offset)
            elif not dead:
                assert isinstance(entry.told, Report)
    assert done == set(range(len(which)))
    assert all(order == sorted(order) for order in last_words.values())
    assert made.is_settled([PLACE])
