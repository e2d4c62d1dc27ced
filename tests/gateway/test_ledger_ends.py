"""What a ledger says of connections that are no more: whoever asks for one must not be told a lie."""

import pytest

from gateway.connections import Connection
from gateway.ledgers import Ledger, for_one_process


def test_a_connection_that_has_left_was_here():
    ledger = for_one_process(slots=64)
    ledger.enter(Connection(7, "test"), 77)
    assert (ledger.ids(), ledger.ended()) == ({77}, set())
    ledger.leave(7)
    assert (ledger.ids(), ledger.ended()) == (set(), {77})


def test_one_that_a_dying_worker_had_not_quite_entered_was_never_here(monkeypatch):
    def die(self, connection):
        raise KeyboardInterrupt

    ledger = for_one_process(slots=64)
    monkeypatch.setattr(Ledger, "note", die)
    with pytest.raises(KeyboardInterrupt):
        ledger.enter(Connection(7, "test"), 77)
    assert (ledger.ids(), ledger.ended()) == (set(), set())


def test_a_descriptor_that_is_used_again_is_another_connection():
    ledger = for_one_process(slots=64)
    ledger.enter(Connection(7, "test"), 77)
    ledger.leave(7)
    ledger.enter(Connection(7, "test"), 78)
    assert (ledger.ids(), ledger.ended()) == ({78}, set())
