"""The comparison of what senders were told with what clients got: it finds what is broken."""

import pytest

from chaos.accounts import Receipt, Told, account
from shared.outcomes import Outcome


def told(*outcomes: int, client: int = 1, ttl: int = 60) -> list[Told]:
    return [Told(client, ttl, False, outcome) for outcome in outcomes]


def got(*numbers: int, client: int = 1, acknowledged: bool = True) -> list[Receipt]:
    return [Receipt(client, number, f"id-{number}", acknowledged) for number in numbers]


def test_all_is_kept() -> None:
    pushes = told(Outcome.ACKED, Outcome.STORED, Outcome.SENT) + told(Outcome.OFFLINE, ttl=0)
    found = account(pushes, got(0, 1, 2))
    assert not found.broken()
    assert found.outcomes == {"ACKED": 1, "STORED": 1, "SENT": 1, "OFFLINE": 1}
    assert found.received == 3


def test_a_copy_with_the_same_id_is_counted() -> None:
    found = account(told(Outcome.STORED, Outcome.STORED), [*got(0, acknowledged=False), *got(0, 1, 1)])
    assert not found.broken()
    assert (found.twice, found.again) == (2, 1)


def test_nothing_is_promised_of_what_is_unknown() -> None:
    found = account(told(Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.STORED), got(2, 1))
    assert not found.broken()
    assert found.doubtful == 2


@pytest.mark.parametrize(
    ("pushes", "receipts", "fault"),
    [
        (told(-1), [], "silent"),
        (told(Outcome.ACKED), [], "missing_acknowledged"),
        (told(Outcome.ACKED), got(0, acknowledged=False), "missing_acknowledged"),
        (told(Outcome.STORED), [], "missing_stored"),
        (told(Outcome.SENT), [], "missing_stored"),
        (told(Outcome.UNAVAILABLE), got(0), "untrue"),
        (told(Outcome.OFFLINE, ttl=0), got(0), "untrue"),
        (told(Outcome.OFFLINE, ttl=0), got(7), "foreign"),
        (told(Outcome.OFFLINE, ttl=0), got(0, client=2), "foreign"),
        (told(Outcome.STORED), [*got(0), Receipt(1, 0, "another", True)], "other_ids"),
        (told(Outcome.STORED, Outcome.STORED), got(1, 0), "out_of_order"),
    ],
)
def test_what_is_broken_is_found(pushes: list[Told], receipts: list[Receipt], fault: str) -> None:
    found = account(pushes, receipts)
    assert found.broken() == {fault: 1}
    assert len(found.examples) == 1


def test_between_kept_and_plain_ones_there_is_no_order() -> None:
    pushes = told(Outcome.STORED) + told(Outcome.SENT, ttl=0)
    assert not account(pushes, got(1, 0)).broken()
