"""The proof that events are complete and true: a small run of it, and that it would notice."""

from typing import Any

import pytest

from chaos.event_accounts import BOTH_AWAY, Account, Breaks, account
from chaos.events import run
from chaos.guests import Visit

VISITS = [
    Visit("a", "x:1", 10.0, 11.0),
    Visit("a", "x:2", 12.0, 13.0),
    Visit("b", "x:3", 10.0),
    Visit("c", "x:4", None, 9),
]


def event(number: int, token: str, address: str, kind: str, sequence: int) -> dict[str, Any]:
    fields = {"id": f"{token}/{sequence}", "number": number, "token": token, "address": address}
    return {**fields, "kind": kind, "token_sequence": sequence}


EVENTS = [
    event(1, "a", "x:1", "connected", 50),
    event(2, "b", "x:3", "connected", 50),
    event(3, "a", "x:1", "disconnected", 51),
    event(4, "a", "x:2", "connected", 52),
    event(5, "a", "x:2", "disconnected", 53),
]


def faults(found: Account) -> list[str]:
    names = ("missing", "doubled", "false", "gaps", "disordered")
    return [name for name in names if getattr(found, name)]


def test_a_small_run() -> None:
    result = run(100)
    assert not result.broken(), [(figure.name, figure.measured) for figure in result.figures]


def test_what_is_right_is_found_right() -> None:
    found = account(VISITS, [*EVENTS, EVENTS[2]], Breaks())
    assert faults(found) == []
    assert (found.repeats, found.untold.total(), found.unknown_told) == (1, 0, 0)
    unknown = [event(6, "c", "x:4", "connected", 7), event(7, "c", "x:4", "disconnected", 8)]
    found = account(VISITS, EVENTS + unknown, Breaks())
    assert (faults(found), found.unknown_told) == ([], 1)


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        (EVENTS[:4], ["missing"]),
        ([*EVENTS, event(6, "b", "x:3", "disconnected", 51)], ["doubled"]),
        ([*EVENTS, event(6, "a", "x:2", "connected", 54)], ["doubled"]),
        ([*EVENTS, event(6, "d", "x:9", "connected", 54)], ["false"]),
        ([*EVENTS[:4], event(5, "a", "x:2", "disconnected", 54)], ["gaps"]),
        ([*EVENTS[:4], event(6, "a", "x:2", "disconnected", 53)], ["gaps"]),
        ([EVENTS[1], EVENTS[0], *EVENTS[2:]], ["gaps", "disordered"]),
    ],
)
def test_what_is_wrong_is_found(events: list[dict[str, Any]], fault: list[str]) -> None:
    assert faults(account(VISITS, events, Breaks())) == fault


def test_only_what_could_not_be_told_is_excused() -> None:
    events = [event(1, "b", "x:3", "connected", 50), event(2, "a", "x:2", "connected", 50)]
    events.append(event(3, "a", "x:2", "disconnected", 51))
    assert faults(account(VISITS, events, Breaks(outages=[(9.9, 12.5)]))) == ["missing"]  # its worker knows it yet
    lost = [Visit("a", "x:1", 10.0, 10.2, by_gateway=True), *VISITS[1:]]
    assert faults(account(lost, events, Breaks(kills=[10.1]))) == []
    assert faults(account(lost, events, Breaks(kills=[10.5]))) == ["missing"]
    assert account(lost, events, Breaks([10.5], [(9.9, 10.6)])).untold == {BOTH_AWAY: 1}
    assert faults(account(lost, events, Breaks([10.7], [(9.9, 10.6)]))) == ["missing"]
    half = [*events[:1], event(2, "a", "x:1", "connected", 49), event(3, "a", "x:2", "connected", 50)]
    half.append(event(4, "a", "x:2", "disconnected", 51))
    assert "missing" in faults(account(lost, half, Breaks([10.5], [(9.9, 10.6)])))
