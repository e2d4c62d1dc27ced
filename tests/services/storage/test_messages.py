"""The same for every engine."""

from collections.abc import Iterator

import pytest

from services.storage.messages import IDLE_MS, OVERHEAD_BYTES, RECENT_MS, Bounds, Totals, number_at
from shared.cached_messages import (
    Clear,
    Cleared,
    Copy,
    Count,
    Counted,
    Drop,
    Dropped,
    Full,
    Message,
    Messages,
    Read,
    Store,
    Stored,
)
from tests.services.storage.message_stores import ENGINES, Stores, stores_of

NOW = 1_700_000_000_000
LATER = NOW + 60_000


@pytest.fixture(scope="module", params=ENGINES)
def stores(request, tmp_path_factory) -> Iterator[Stores]:
    with stores_of(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


def key(number):
    return b"key of a message " + bytes([number])


def store(number, token=b"alice", expires=LATER, collapse=None, sender="billing", payload=b"hi"):
    return Store(token, key(number), 3, number, expires, collapse, sender, payload)


def at(place):
    """The number of the so manieth message of a token, all of them stored in the same ms."""
    return number_at(NOW) + place - 1


def message(seq, number, expires=LATER, payload=b"hi"):
    return Message(at(seq), key(number), 3, number, expires, payload)


def read(token=b"alice", after=0, most=100, most_bytes=1 << 20):
    return Read(token, after, most, most_bytes)


def seqs(cache, now=NOW, token=b"alice"):
    (result,) = cache.apply([read(token)], now)
    return [each.seq - at(0) for each in result.messages]


def test_messages_come_back_in_order_with_all_that_was_said(stores):
    cache = stores.new(Bounds())
    texts = ["", "a", "\x00\xff", "x" * 10_000]
    stored = [store(i, payload=text.encode("latin-1"), sender=text[:3]) for i, text in enumerate(texts)]
    assert cache.apply(stored, NOW) == [Stored(at(seq), 0) for seq in (1, 2, 3, 4)]
    expected = [message(i + 1, i, payload=each.payload) for i, each in enumerate(stored)]
    assert cache.apply([read()], NOW) == [Messages(expected, at(4), False)]


def test_numbers_are_each_tokens_own(stores):
    cache = stores.new(Bounds())
    said = cache.apply([store(1), store(1, token=b"bob"), store(2), store(3, token="böb\N{SNOWMAN}".encode())], NOW)
    assert said == [Stored(at(1), 0), Stored(at(1), 0), Stored(at(2), 0), Stored(at(1), 0)]


def test_numbers_grow_after_all_were_dropped_and_after_a_restart(stores):
    cache = stores.new(Bounds())
    cache.apply([store(1), store(2)], NOW)
    assert cache.apply([Drop(b"alice", [at(1), at(2), at(2), at(99)])], NOW) == [Dropped(2)]
    assert cache.apply([store(3)], NOW) == [Stored(at(3), 0)]
    assert cache.apply([Clear(b"alice"), Clear(b"nobody")], NOW) == [Cleared(1), Cleared(0)]
    if stores.engine != "memory":
        cache.close()
        cache = stores.reopened(Bounds())
    assert cache.apply([store(4), read()], NOW - 1_000_000) == [
        Stored(at(4), 0),
        Messages([message(4, 4)], at(4), False),
    ]


def test_numbers_grow_after_a_token_was_forgotten(stores):
    cache = stores.new(Bounds())
    cache.apply([store(i) for i in range(5)], NOW)
    cache.apply([Clear(b"alice")], NOW)
    cache.sweep(NOW + IDLE_MS - 1, 1000)
    cache.sweep(NOW + IDLE_MS + 1, 1000)
    assert cache.apply([read()], NOW) == [Messages([], 0, False)]
    assert cache.apply([store(1, expires=NOW + 2 * IDLE_MS)], NOW) == [Stored(at(6), 0)]


def test_numbers_follow_the_clock_and_go_on_when_it_is_set_back(stores):
    cache = stores.new(Bounds())
    said = [cache.apply([store(i), store(10 + i)], now) for i, now in enumerate([NOW, NOW + 1, NOW - 10**9, NOW + 1])]
    numbers = [each.seq for pair in said for each in pair]
    later = number_at(NOW + 1)
    assert numbers == [at(1), at(2), *range(later, later + 6)]
    assert at(1000) < later < 1 << 53


def test_a_store_that_comes_back_empty_gives_no_number_again(stores):
    before = stores.new(Bounds())
    before.apply([store(i) for i in range(3)], NOW)
    acknowledged = Drop(b"alice", [at(1), at(2), at(3)])
    emptied, now = stores.new(Bounds()), NOW + 1
    assert emptied.apply([read(after=at(3))], now) == [Messages([], 0, False)]
    (kept,) = emptied.apply([store(7)], now)
    assert kept == Stored(number_at(now), 0)
    assert emptied.apply([acknowledged], now) == [Dropped(0)]
    (result,) = emptied.apply([read(after=at(3))], now)
    assert [each.seq for each in result.messages] == [kept.seq]


def test_a_key_that_is_stored_is_known(stores):
    cache = stores.new(Bounds())
    said = cache.apply([store(1), store(1, payload=b"other"), store(2)], NOW)
    assert said == [Stored(at(1), 0), Copy(at(1)), Stored(at(2), 0)]
    assert cache.apply([store(1), read()], LATER - 1)[0] == Copy(at(1))
    assert seqs(cache) == [1, 2]


@pytest.mark.parametrize("goes", [Drop(b"alice", [at(1)]), Clear(b"alice"), "sweep", store(2, collapse="c")])
def test_a_key_is_known_for_a_while_after_its_message_went(stores, goes):
    cache = stores.new(Bounds())
    cache.apply([store(1, collapse="c")], NOW)
    if goes == "sweep":
        assert cache.sweep(LATER, 1000).expired == 1
    else:
        cache.apply([goes], LATER)
    assert cache.apply([store(1)], LATER + RECENT_MS - 1) == [Copy(at(1))]
    again = store(1, expires=LATER + 2 * RECENT_MS)
    cache.sweep(LATER + RECENT_MS, 1000)
    (said,) = cache.apply([again], LATER + RECENT_MS)
    assert isinstance(said, Stored)
    assert cache.apply([again], LATER + RECENT_MS) == [Copy(said.seq)]


def test_the_newer_of_a_collapse_key_replaces_the_older(stores):
    cache = stores.new(Bounds())
    said = cache.apply([store(1, collapse="score"), store(2), store(3, collapse=""), store(4, collapse="score")], NOW)
    assert said == [Stored(at(1), 0), Stored(at(2), 0), Stored(at(3), 0), Stored(at(4), 0, 1)]
    assert seqs(cache) == [2, 3, 4]
    assert cache.apply([store(5, token=b"bob", collapse="score"), store(6, collapse="")], NOW)[1] == Stored(at(5), 0, 1)
    assert seqs(cache) == [2, 4, 5]


def test_over_the_bound_the_oldest_goes_and_the_sender_is_told(stores):
    cache = stores.new(Bounds(messages=3))
    said = cache.apply([store(i) for i in range(5)], NOW)
    assert said == [Stored(at(1), 0), Stored(at(2), 0), Stored(at(3), 0), Stored(at(4), 1), Stored(at(5), 1)]
    assert seqs(cache) == [3, 4, 5]


def test_over_the_bound_in_bytes_several_may_go(stores):
    cache = stores.new(Bounds(bytes=3 * (OVERHEAD_BYTES + 10)))
    cache.apply([store(i, payload=bytes(10)) for i in range(3)], NOW)
    assert cache.apply([store(4, payload=bytes(OVERHEAD_BYTES + 20))], NOW) == [Stored(at(4), 2)]
    assert cache.apply([store(5, payload=bytes(3 * OVERHEAD_BYTES))], NOW) == [Full()]
    assert cache.apply([Count(b"alice")], NOW) == [Counted(2, 3 * OVERHEAD_BYTES + 30)]


def test_a_noisy_sender_pushes_out_its_own_only(stores):
    cache = stores.new(Bounds(messages=10))
    cache.apply([store(i, sender="quiet") for i in range(3)], NOW)
    cache.apply([store(10 + i, sender="noisy") for i in range(50)], NOW)
    assert seqs(cache) == [1, 2, 3, *range(47, 54)]
    assert cache.apply([store(100, sender="new")], NOW) == [Stored(at(54), 1)]
    assert seqs(cache) == [1, 2, 3, *range(48, 55)]


def test_by_bytes_whoever_has_the_most_bytes_goes(stores):
    cache = stores.new(Bounds(bytes=10 * OVERHEAD_BYTES))
    cache.apply([store(i, sender="small", payload=b"") for i in range(4)], NOW)
    cache.apply([store(10, sender="large", payload=bytes(5 * OVERHEAD_BYTES))], NOW)
    assert cache.apply([store(11, sender="small", payload=b"")], NOW) == [Stored(at(6), 1)]
    assert seqs(cache) == [1, 2, 3, 4, 6]


def test_the_newest_is_refused_where_that_is_the_policy(stores):
    cache = stores.new(Bounds(messages=2, drops_oldest=False))
    said = cache.apply([store(1), store(2, collapse="c"), store(3), store(4, collapse="c")], NOW)
    assert said == [Stored(at(1), 0), Stored(at(2), 0), Full(), Stored(at(3), 0, 1)]
    assert cache.apply([Drop(b"alice", [at(1)]), store(5)], NOW) == [Dropped(1), Stored(at(4), 0)]


def test_expired_ones_go_before_any_other(stores):
    for drops_oldest in (True, False):
        cache = stores.new(Bounds(messages=2, drops_oldest=drops_oldest))
        cache.apply([store(1), store(2, expires=NOW + 10)], NOW)
        assert cache.apply([store(3)], NOW + 10) == [Stored(number_at(NOW + 10), 0)]
        assert cache.apply([Count(b"alice")], NOW) == [Counted(2, 2 * OVERHEAD_BYTES + 4)]
        assert seqs(cache)[0] == 1


def test_over_the_bound_of_all_it_is_refused(stores):
    cache = stores.new(Bounds(total_bytes=3 * OVERHEAD_BYTES))
    kept = [store(i, token=b"t%d" % i, payload=b"", collapse="c") for i in range(3)]
    assert cache.apply(kept, NOW) == [Stored(at(1), 0)] * 3
    assert cache.totals() == Totals(3, 3 * OVERHEAD_BYTES)
    assert cache.apply([store(9, payload=b"")], NOW) == [Full()]
    assert cache.apply([store(9, token=b"t1", payload=b"", collapse="c")], NOW) == [Stored(at(2), 0, 1)]
    assert cache.apply([Clear(b"t2")], NOW) == [Cleared(1)]
    assert cache.apply([store(9, payload=b"")], NOW) == [Stored(at(1), 0)]


def test_expired_ones_are_not_read_and_are_swept(stores):
    cache = stores.new(Bounds())
    cache.apply([store(i, token=b"t%d" % (i % 5), expires=NOW + i) for i in range(100)], NOW)
    assert seqs(cache, NOW + 95, b"t4") == [20]
    assert cache.totals().messages == 100
    swept = 0
    for _ in range(500):
        step = cache.sweep(NOW + 95, 64)
        swept += step.expired
        assert step.expired <= 64
        if not step.more:
            break
    assert swept == 96
    assert cache.totals().messages == 4
    assert cache.sweep(NOW + 1000, 1000).expired == 4
    assert cache.totals() == Totals(0, 0)


def test_reading_is_bounded_by_messages_and_bytes(stores):
    cache = stores.new(Bounds())
    cache.apply([store(i, payload=bytes(100), expires=LATER if i % 3 else NOW) for i in range(70)], NOW)
    kept = [at(i + 1) for i in range(70) if i % 3]

    def got(*bounds):
        (result,) = cache.apply([Read(b"alice", *bounds)], NOW)
        assert result.newest == at(70)
        return [each.seq for each in result.messages], result.more

    assert got(0, 1000, 1 << 20) == (kept, False)
    assert got(0, 3, 1 << 20) == (kept[:3], True)
    assert got(kept[2], 3, 1 << 20) == (kept[3:6], True)
    assert got(0, 1000, 250) == (kept[:2], True)
    assert got(0, 1000, 0) == (kept[:1], True)
    assert got(0, 0, 1000) == ([], True)
    assert got(kept[-3], 2, 1000) == (kept[-2:], False)
    assert got(kept[-1], 10, 1000) == ([], False)
    assert got(at(1000), 10, 1000) == ([], False)


def test_a_token_of_which_nothing_is_known(stores):
    cache = stores.new(Bounds())
    said = cache.apply([read(), Drop(b"alice", [at(1)]), Clear(b"alice"), Count(b"alice")], NOW)
    assert said == [Messages([], 0, False), Dropped(0), Cleared(0), Counted(0, 0)]


def test_a_clock_that_is_set_back_makes_no_number_twice(stores):
    cache = stores.new(Bounds())
    cache.apply([store(1), store(2, expires=NOW + 5)], NOW)
    assert cache.apply([store(3)], NOW - 10**9) == [Stored(at(3), 0)]
    assert seqs(cache, NOW - 10**9) == [1, 2, 3]


def test_request_ids_stay_with_their_messages(stores):
    cache = stores.new(Bounds())
    said = {1: "order-7", 2: "", 3: "TOPIC/0/99", 4: "x" * 64, 5: "kept"}
    made = [store(n, expires=NOW + 10 * n, collapse="c" if n == 3 else None) for n in said]
    cache.apply([one._replace(request_id=said[n]) for n, one in zip(said, made, strict=True)], NOW)
    if stores.engine != "memory":
        cache.close()
        cache = stores.reopened(Bounds())
    (result,) = cache.apply([read()], NOW)
    assert [each.request_id for each in result.messages] == list(said.values())
    cache.apply([store(6, collapse="c"), Drop(b"alice", [result.messages[3].seq])], NOW)
    assert cache.expiring(NOW + 20, 500) == [(b"alice", key(1), "order-7"), (b"alice", key(2), "")]
    assert cache.sweep(NOW + 20, 500).expired == 2
    (result,) = cache.apply([read()], NOW)
    assert [(each.key, each.request_id) for each in result.messages] == [(key(5), "kept"), (key(6), "")]


def test_what_expires_can_be_seen_before_it_goes(stores):
    cache = stores.new(Bounds())
    tokens = [b"t%d" % number for number in range(5)]
    cache.apply([store(n, token, NOW + 10 + n) for token in tokens for n in range(3)], NOW)
    assert cache.expiring(NOW + 9, 500) == []
    seen = cache.expiring(NOW + 11, 500)
    assert sorted(seen) == sorted((token, key(n), "") for token in tokens for n in range(2))
    assert cache.sweep(NOW + 11, 500).expired == 10
    assert cache.expiring(NOW + 11, 500) == []
    steps = 0
    while some := cache.expiring(NOW + 99, 2):  # as many as a sweep takes
        assert cache.sweep(NOW + 99, 2).expired == len(some)
        steps += 1
    assert steps >= 1
    assert cache.totals().messages == 0
