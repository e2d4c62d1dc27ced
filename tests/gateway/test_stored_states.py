from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stored_states import (
    MAYBE_STORED,
    NOT_STORED,
    UNKNOWN_SEQ,
    StoredState,
    Written,
    expires_unix_ms,
    state_from_fields,
    state_to_fields,
)
from shared.bus import Terms
from shared.errors import BusError


def test_what_the_cache_has_survives():
    state = StoredState(live=False)
    state.after, state.newest = 7, 9
    for message_id, seq in enumerate((6, UNKNOWN_SEQ, MAYBE_STORED, NOT_STORED, 7), 1):
        state.window[message_id] = Written(b"k" * 18, message_id, seq, 5)
    state.flight = [Written(b"k" * 18, 0, 3, 50)]
    again = state_from_fields(state_to_fields(state))
    assert (again.live, again.after, again.newest) == (False, 7, 9)
    assert {message_id: written.seq for message_id, written in again.window.items()} == {1: 6, 5: 7}
    assert [(written.seq, written.size) for written in again.flight] == [(3, 50)]
    assert state_from_fields([*state_to_fields(state), "of a newer version"]).after == 7


@given(st.recursive(st.none() | st.integers() | st.floats() | st.binary() | st.text(), st.lists, max_leaves=8))
def test_noise_raises_nothing_but_bus_errors(fields):
    with suppress(BusError):
        state_from_fields(fields)


def test_live_and_nothing_owed_is_idle():
    state = StoredState(live=True)
    assert state.idle
    state.unanswered = 1
    assert not state.idle
    assert not StoredState(live=False).idle


@pytest.mark.parametrize(("age_ms", "expires"), [(0, 61_000), (500, 60_500)])
def test_ttl_counts_from_when_the_router_took_it_in(age_ms, expires):
    assert expires_unix_ms(Terms(60, False, None, 5000, "", age_ms), 1_000) == expires
