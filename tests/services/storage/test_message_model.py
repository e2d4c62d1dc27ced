"""Random operations on every engine and on the plain model give the same results."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.storage.messages import RECENT_MS, Bounds, Totals, number_at
from shared.cached_messages import Clear, Count, Drop, Read, Store
from tests.services.storage.message_model import Model
from tests.services.storage.message_stores import ENGINES, Stores, stores_of

NOW = 1_700_000_000_000

tokens = st.sampled_from([b"alice", "b\N{SNOWMAN}b".encode(), b"c:l:alice"])
seqs = st.integers(0, 24).map(lambda place: number_at(NOW) + place)
stores = st.builds(
    Store,
    tokens,
    st.integers(0, 30).map(lambda number: b"key of a message " + bytes([number])),
    st.just(3),
    st.integers(0, 127),
    st.integers(NOW, NOW + 10_000),
    st.sampled_from([None, None, None, "", "score", "weather"]),
    st.sampled_from(["", "billing", "news"]),
    st.sampled_from([b"", b"hi", bytes(100), bytes(400)]),
    st.just(False),
    st.sampled_from(["", "", "order-7", "topic/1/2"]),
)
operations = st.one_of(
    stores,
    stores,
    stores,
    st.builds(Drop, tokens, st.lists(seqs, max_size=5)),
    st.builds(Read, tokens, st.just(0) | seqs, st.integers(0, 10), st.integers(0, 600)),
    st.builds(Clear, tokens),
    st.builds(Count, tokens),
)


def turns_of(steps):
    """How far the clock goes; the batch; whether a step of the sweep comes before it."""
    return st.lists(st.tuples(st.sampled_from(steps), st.lists(operations, max_size=12), st.booleans()), max_size=25)


#: When a key is forgotten is not said for a clock that goes on by so much and back again.
turns = turns_of([0, 1, 1000, 5000, RECENT_MS]) | turns_of([0, 1, 5000, -3000])
bounds = st.builds(Bounds, st.integers(1, 6), st.sampled_from([400, 1000, 1 << 20]), st.just(1 << 30), st.booleans())


@pytest.mark.parametrize("engine", ENGINES)
def test_as_the_model(engine, tmp_path):
    with stores_of(engine, tmp_path) as made:
        compare_with_model(made)


def compare_with_model(made: Stores):
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(bounds, turns)
    def compare(bounds, turns):
        store, model, now = made.new(bounds), Model(bounds), NOW
        try:
            for step, batch, sweeps in turns:
                now += step
                if sweeps:
                    while store.sweep(now, 1000).more:
                        pass
                    model.sweep(now)
                said, expected = store.apply(batch, now), model.apply(batch, now)
                assert list(map(type, said)) == list(map(type, expected))
                assert said == expected
            assert store.totals() == Totals(*model.totals())
        finally:
            store.close()

    compare()
