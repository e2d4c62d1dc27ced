"""What is kept of a token, whoever tells what first."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.storage.presences import GIVEN, Ended, Entry, Presence, Transition, come, gone, left_behind

NOW = 1_795_000_000_000
RANKS = st.tuples(st.integers(1, 3), st.sampled_from(["here/0", "there/0"]), st.integers(0, 2))
# of one rank all workers tell the same: a worker that has a client is one of its moves
REPORTS = st.lists(st.tuples(st.booleans(), RANKS), min_size=1, max_size=12)


def presence(rank: tuple[int, str, int]) -> Presence:
    binding, bound_by, moves = rank
    return Presence("a", "u", f"here/{moves}", "v2", "127.0.0.1:1", binding, bound_by, moves)


def told(reports: list[tuple[bool, tuple[int, str, int]]]) -> tuple[Entry | None, list[Transition]]:
    """What is kept behind these, and all that has happened."""
    entry: Entry | None = None
    happened: list[Transition] = []
    for number, (is_end, rank) in enumerate(reports):
        if is_end:
            new, transitions = gone(entry, Ended(presence(rank), "peer_closed"), NOW + number)
        else:
            new, transitions = come(entry, presence(rank), "x.1", NOW + number)
        assert new is not None or not transitions
        assert new is None or new.version == (entry.version if entry else 0) + 1
        entry = new or entry
        happened += transitions
    return entry, happened


@given(st.data(), REPORTS)
def test_the_greatest_stays_in_any_order_and_however_often_it_is_told(data, reports):
    order = data.draw(st.permutations(reports + data.draw(st.lists(st.sampled_from(reports), max_size=6))))
    entry, _ = told(order)
    there = max((rank for is_end, rank in reports if not is_end), default=None)
    ended = max((rank for is_end, rank in reports if is_end), default=None)
    assert entry is not None
    is_live = there is not None and (ended is None or there > ended)
    assert (entry.ended is None) == is_live
    if is_live:
        assert there is not None
        assert entry.presence == presence(there)


@given(REPORTS)
def test_whoever_has_come_goes_before_another_comes(reports):
    entry, happened = told(reports)
    assert [one.reason is not None for one in happened] == [bool(number % 2) for number in range(len(happened))]
    assert all(one.sequence < other.sequence for one, other in pairwise(happened))
    for came, went in zip(happened[::2], happened[1::2], strict=False):
        assert came.presence.rank[:2] == went.presence.rank[:2]
    assert entry is not None
    assert (happened[-1].reason is None) == (entry.ended is None)


@given(REPORTS, st.sampled_from(["here/0", "here/1", "here/2"]), st.sampled_from([None, "x.1", "x.2"]))
def test_a_worker_that_is_gone_ends_its_own_alone(reports, worker, but_term):
    entry, _ = told(reports)
    kept, happened = left_behind(entry, worker, but_term, NOW)
    assert entry is not None
    its = entry.ended is None and entry.presence.worker == worker and but_term != "x.1"
    assert [one.reason for one in happened] == (["worker_lost"] if its else [])
    assert (kept is not None) == its
    if kept:
        back, again = come(kept, entry.presence, "x.2", NOW)  # its worker lives after all
        assert back is not None
        assert back.ended is None
        assert [one.reason for one in again] == [None]
        late, _ = gone(kept, Ended(entry.presence, "peer_closed"), NOW)  # or tells late that it went
        assert late is not None
        assert come(late, entry.presence, "x.2", NOW) == (None, [])


@given(REPORTS, RANKS)
def test_who_was_given_away_has_gone_only_if_nobody_else_was_heard_of(reports, rank):
    entry, _ = told(reports)
    assert entry is not None
    kept, happened = gone(entry, Ended(presence(rank), GIVEN), NOW)
    waits = entry.ended is None and entry.presence == presence(rank)
    assert [one.reason for one in happened] == (["worker_lost"] if waits else [])
    assert (kept is not None) == waits
    if kept:  # its new holder, late, has it all the same
        again, back = come(kept, presence((*rank[:2], rank[2] + 1)), "x.1", NOW)
        assert again is not None
        assert [one.reason for one in back] == [None]


def test_nobody_has_come_who_is_only_known_to_be_given_away():
    assert gone(None, Ended(presence((1, "here/0", 0)), GIVEN), NOW) == (None, [])
