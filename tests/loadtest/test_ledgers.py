"""Every push once, in order; anything else is a fault."""

import pytest

from loadtest.ledgers import DeliveryFault, Ledger


class Clock:
    """Seconds, as a test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    ledger = Ledger(clock)
    ledger.open("alice")
    return ledger


def test_time_under_way(ledger: Ledger, clock: Clock) -> None:
    payload = ledger.next_payload("alice")
    assert ledger.outstanding() == 1
    clock.now += 0.25
    assert ledger.take("alice", payload) == pytest.approx(0.25)
    assert ledger.outstanding() == 0


def test_a_copy(ledger: Ledger) -> None:
    payload = ledger.next_payload("alice")
    ledger.take("alice", payload)
    with pytest.raises(DeliveryFault, match="push 1 came where 2 was due"):
        ledger.take("alice", payload)


def test_out_of_order(ledger: Ledger) -> None:
    ledger.next_payload("alice")
    second = ledger.next_payload("alice")
    with pytest.raises(DeliveryFault, match="push 2 came where 1 was due"):
        ledger.take("alice", second)


def test_what_nobody_sent(ledger: Ledger) -> None:
    for token, payload in (("alice", "hello"), ("bob", "load 1 100.0")):
        with pytest.raises(DeliveryFault, match="nobody sent"):
            ledger.take(token, payload)


def test_a_client_that_left_misses_nothing(ledger: Ledger) -> None:
    ledger.next_payload("alice")
    ledger.close("alice")
    assert ledger.outstanding() == 0
    assert ledger.tokens == []
