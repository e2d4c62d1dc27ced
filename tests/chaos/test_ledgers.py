"""Each way in which a push can go wrong is found, and only that."""

from dataclasses import fields
from typing import Any

from chaos.ledgers import Comparison, Entry, Excuse, Finding, Pushed, What, entries, nothing_excused
from chaos.roles import Role, has_ids, role_of
from shared.outcomes import Outcome

S = 1_000_000_000
IDLE, SLOW, BUSY, WITH_IDS = 2, 1, 5, 12


def pushed(client: int, *, at: int = 0, outcome: int = Outcome.SENT, sender: int = 0) -> Pushed:
    return Pushed(sender, client, at * S, at * S + 1, outcome)


def got(client: int, number: int, *, at: int = 0, push_id: int = 0) -> Entry:
    return Entry(at * S, client, number, push_id, What.PUSHED)


def lost(client: int, at: int, *, reason: int = 0, mark: int = 0) -> Entry:
    return Entry(at * S, client, reason, mark, What.LOST)


def bound(client: int, at: int) -> Entry:
    return Entry(at * S, client, 0, 0, What.BOUND)


def found(pushes: list[Pushed], seen: list[Entry], excused: Excuse = nothing_excused) -> dict[str, Any]:
    """What is not zero, besides counts and times."""
    total = Finding()
    clients = {push.client for push in pushes} | {entry.client for entry in seen}
    for finding in Comparison(pushes, excused).by_role(seen, clients).values():
        total.add(finding)
    plain = {"clients", "pushes", "received", "outcomes", "examples", "slowest_ticket_ms", "slowest_receipt_ms"}
    values = {field.name: getattr(total, field.name) for field in fields(Finding) if field.name not in plain}
    return {name: value for name, value in values.items() if value}


def test_all_is_well() -> None:
    assert found([pushed(IDLE), pushed(IDLE)], [got(IDLE, 0), got(IDLE, 1)]) == {}


def test_lost() -> None:
    assert found([pushed(IDLE)], []) == {"lost": 1}


def test_lost_with_its_connection() -> None:
    assert found([pushed(IDLE, at=5)], [lost(IDLE, 6, mark=1), bound(IDLE, 7)]) == {
        "disconnects": 1,
        "disconnected_by": {"nothing said": 1},
    }


def test_lost_long_before_the_connection() -> None:
    assert found([pushed(IDLE, at=5)], [lost(IDLE, 60, mark=1)])["lost"] == 1


def test_lost_in_what_a_slow_client_had_not_read() -> None:
    assert "lost" not in found([pushed(SLOW, at=5)], [lost(SLOW, 60)])


def test_duplicated() -> None:
    assert found([pushed(IDLE)], [got(IDLE, 0), got(IDLE, 0)]) == {"duplicated": 1}


def test_copies_to_a_client_with_ids() -> None:
    assert has_ids(WITH_IDS)
    same = [got(WITH_IDS, 0, push_id=7), got(WITH_IDS, 0, push_id=7)]
    assert found([pushed(WITH_IDS)], same) == {"copies_dropped": 1}
    other = [got(WITH_IDS, 0, push_id=7), got(WITH_IDS, 0, push_id=8)]
    assert found([pushed(WITH_IDS)], other) == {"duplicated": 1, "copies_left": 1}


def test_out_of_order() -> None:
    assert found([pushed(IDLE), pushed(IDLE)], [got(IDLE, 1), got(IDLE, 0)]) == {"out_of_order": 1}


def test_no_order_between_senders() -> None:
    assert found([pushed(IDLE), pushed(IDLE, sender=1)], [got(IDLE, 1), got(IDLE, 0)]) == {}


def test_untrue() -> None:
    outcome = found([pushed(IDLE, outcome=Outcome.OFFLINE)], [got(IDLE, 0)])
    assert outcome == {"untrue": 1, "failures": 1, "failed_by": {"OFFLINE": 1}}


def test_of_another_client() -> None:
    assert found([pushed(IDLE)], [got(IDLE, 0), got(BUSY, 0), got(BUSY, 99)]) == {"untrue": 2}


def test_unknown_may_have_come_or_not() -> None:
    pushes = [pushed(IDLE, outcome=Outcome.UNKNOWN), pushed(IDLE, outcome=Outcome.UNKNOWN)]
    assert found(pushes, [got(IDLE, 0)]) == {"failures": 2, "failed_by": {"UNKNOWN": 2}}
    assert found(pushes, [got(IDLE, 0)], lambda push: push.outcome == Outcome.UNKNOWN) == {}


def test_offline_while_away() -> None:
    seen = [lost(IDLE, 10, mark=1), bound(IDLE, 12)]
    assert "failures" not in found([pushed(IDLE, at=11, outcome=Outcome.OFFLINE)], seen)
    assert found([pushed(IDLE, at=20, outcome=Outcome.OFFLINE)], seen)["failures"] == 1


def test_without_outcome() -> None:
    assert found([pushed(IDLE, outcome=-1)], []) == {"unanswered": 1}


def test_disconnects() -> None:
    seen = [lost(BUSY, 1, reason=3, mark=1), lost(IDLE, 1), lost(SLOW, 1)]
    assert found([], seen) == {
        "disconnects": 3,
        "unmarked": 1,
        "disconnected_by": {"worker_lost": 1, "nothing said": 2},
    }


def test_times_count_from_the_start_of_the_load() -> None:
    pushes = [Pushed(0, IDLE, 0, 9 * S, Outcome.SENT), Pushed(0, IDLE, 10 * S, 11 * S, Outcome.SENT)]
    seen = [got(IDLE, 0, at=8), got(IDLE, 1, at=12)]
    finding = Comparison(pushes, timed_from_ns=S).by_role(seen, [IDLE])[Role.IDLE]
    assert (finding.slowest_ticket_ms, finding.slowest_receipt_ms) == (1000, 2000)


def test_half_an_entry_is_not_read() -> None:
    assert list(entries(bytes(24 + 11))) == [Entry(0, 0, 0, 0, 0)]


def test_a_fifth_is_busy_and_a_fifth_slow() -> None:
    roles = [role_of(client) for client in range(1000)]
    assert (roles.count(Role.BUSY), roles.count(Role.SLOW)) == (200, 200)
