from gateway.acknowledged_ids import AcknowledgedIds
from shared.outcomes import Outcome

ACKED, SENT = Outcome.ACKED, Outcome.SENT


def test_only_what_was_acknowledged_is_known_to_the_next_connection():
    ids = AcknowledgedIds(30)
    ids.keep(b"a", {b"1": (ACKED, 5), b"2": (SENT, 5)})
    assert ids.take(b"a", 6) == {b"1": (ACKED, 5)}
    assert ids.take(b"a", 6) is None


def test_old_ones_are_forgotten():
    ids = AcknowledgedIds(30)
    ids.keep(b"a", {b"1": (ACKED, 5)})
    ids.keep(b"b", {b"1": (ACKED, 5), b"2": (ACKED, 9)})
    ids.forget(34)
    assert ids.take(b"b", 36) == {b"2": (ACKED, 9)}
    assert ids.take(b"a", 34) == {b"1": (ACKED, 5)}
    ids.keep(b"a", {b"1": (ACKED, 5)})
    ids.forget(35)
    assert ids.take(b"a", 5) is None


def test_so_many_tokens_and_no_more(monkeypatch):
    monkeypatch.setattr("gateway.acknowledged_ids._TOKENS_MAX", 2)
    ids = AcknowledgedIds(30)
    for token in (b"a", b"b", b"a", b"c"):
        ids.keep(token, {b"1": (ACKED, 5)})
    assert [ids.take(token, 5) is None for token in (b"a", b"b", b"c")] == [False, True, False]
