"""services/status/diagnoses.py: from what everybody says to what is wrong."""

from copy import deepcopy
from typing import Any

import pytest

from services.status.diagnoses import Evidence, explained, problems

NOW_MS = 1_000_000
CONNECTION = {
    "since": 500_000,
    "binding": 500_000,
    "bound_by": "h/0",
    "moves": 0,
    "silent_s": 1,
    "heartbeat_s": 30,
    "output_bytes": 0,
    "full_s": 0,
    "unacknowledged": 0,
    "unacknowledged_bytes": 0,
    "window": 64,
    "paused": False,
    "stored": None,
}
SAID = {
    "epoch": [7, 1],
    "routers": [0, 1],
    "owner": "h/0",
    "settled": True,
    "awaited": [],
    "moving": False,
    "held": 0,
    "storing": 0,
    "cache": True,
    "claim": None,
    "connection": None,
}
WORKER = {"state": "live", "version": "1", "explains": True}
CLAIM = {"worker": "g/0", "binding": 500_000, "bound_by": "h/0", "moves": 0}


def router(position: int, **changes: Any) -> dict[str, Any]:
    """All is well: owned by h/0, and connected there."""
    workers = {
        "h/0": {**WORKER, "said": {**SAID, "connection": CONNECTION}},
        "g/0": {**WORKER, "said": {**SAID}},
    }
    said = {"router": position, "role": "follows" if position else "decides", "epoch": [7, 1], "settled": True}
    way = {"slot": 9, "owner": "h/0", "claim": None, "parked": False, "waiting": 0, "workers": workers}
    return deepcopy(said | way | changes)


def evidence(*routers: dict[str, Any] | str, **changes: Any) -> Evidence:
    asked = {f"tcp://{place}": said for place, said in enumerate(routers)}
    presence = {"online": True, "worker": "h/0"}
    return Evidence("alice", asked, presence, [], NOW_MS)._replace(**changes)


def moved_to(worker: str, *routers: dict[str, Any]) -> None:
    """The client is with another worker than the owner."""
    for said in routers:
        for name, known in said["workers"].items():
            known["said"]["connection"] = deepcopy(CONNECTION) if name == worker else None


def test_nothing_is_wrong() -> None:
    found = explained(evidence(router(0), router(1)))
    assert found["problems"] == []
    assert (found["online"], found["worker"], found["slot"], found["owner"]) == (True, "h/0", 9, "h/0")
    assert "workers" not in found["routers"][0]


def test_a_router_without_the_claim_is_named() -> None:
    routers = router(0, claim=CLAIM), router(1)
    moved_to("g/0", *routers)
    said = list(problems(evidence(*routers, presence={"online": True, "worker": "g/0"})))
    assert said == ["bound on g/0, but router 1 has no claim and sends to the owner, h/0"]


def test_nobody_is_there_and_nothing_is_wrong() -> None:
    said = router(0)
    moved_to("nobody", said)
    found = explained(evidence(said, presence={"online": False}))
    assert (found["online"], found["connection"], found["problems"]) == (False, None, [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"claim": CLAIM}, "bound on h/0, but router 0 sends to g/0 by its claim"),
        ({"settled": False}, "router 0 has just started and has no ring yet: pushes wait"),
        ({"parked": True}, "router 0 holds pushes of this slot back until it has changed hands"),
    ],
)
def test_what_a_router_has_wrong(changes: dict[str, Any], problem: str) -> None:
    assert list(problems(evidence(router(0, **changes)))) == [problem]


def test_routers_that_disagree() -> None:
    said = list(problems(evidence(router(0), router(1, epoch=[7, 2], role="decides"), "unreachable")))
    assert said[0] == "the router at tcp://2 does not answer: unreachable"
    assert said[1] == "the routers follow different rings: router 0 7.1, router 1 7.2"
    assert said[2] == "routers 0 and 1 both decide on the ring"
    assert "h/0 follows ring 7.1, router 1 7.2" in said


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"silent_s": 29}, "the client has been silent for 29 s; at 30 s h/0 closes it"),
        ({"silent_s": None}, None),
        ({"output_bytes": 7, "full_s": 2}, "the client's socket is full: 7 bytes wait in h/0, for 2 s over the bound"),
        ({"output_bytes": 7}, "the client's socket is full: 7 bytes wait in h/0"),
        (
            {"unacknowledged_bytes": 99_999},
            "the client's machine has not acknowledged 99999 bytes that its socket holds",
        ),
        ({"unacknowledged_bytes": None}, None),
        ({"unacknowledged": 64}, "the client acknowledges nothing: 64 of 64 pushes are unacknowledged"),
        ({"paused": True}, "h/0 does not read from the client: it sends too much"),
        (
            {"stored": {"live": False, "sent_up_to": 3, "newest": 9}},
            "the client is still being sent what was stored (3 of 9)",
        ),
    ],
)
def test_what_is_wrong_with_a_connection(changes: dict[str, Any], problem: str | None) -> None:
    said = router(0)
    said["workers"]["h/0"]["said"]["connection"].update(changes)
    assert list(problems(evidence(said))) == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("worker", "said", "expected"),
    [
        ({"state": "restarting"}, None, ["h/0, the owner, is restarting"]),
        ({}, None, ["h/0, the owner, does not answer"]),
        ({"explains": False}, None, ["h/0 is of version 1 and cannot tell what it knows"]),
        ({}, {"routers": [1]}, ["h/0 does not hear router 0"]),
        ({}, {"settled": False, "awaited": ["h/1"]}, ["h/0 waits for clients that move: h/1 may have this one"]),
        ({}, {"moving": True, "held": 3}, ["h/0 is handing the client over", "3 pushes wait in h/0"]),
        ({}, {"storing": 2, "cache": False}, ["2 pushes wait in h/0 for the message cache, which is away"]),
        ({}, {"storing": 2}, []),
        (
            {},
            {"claim": {"confirmed": False, "lost": True}},
            [
                "h/0 has claimed the token, but not all routers have confirmed it",
                "h/0 has claimed the token, but another worker has a newer client for it",
                "h/0 claims the token and has no client for it",
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_worker(worker: dict[str, Any], said: dict[str, Any] | None, expected: list[str]) -> None:
    asked = router(0)
    asked["workers"]["h/0"].update(worker)
    asked["workers"]["h/0"]["said"] = None if said is None else {**SAID, **said}
    assert list(problems(evidence(asked, presence={"online": False}))) == expected


def test_two_holders() -> None:
    said = router(0)
    said["workers"]["g/0"]["said"]["connection"] = {**CONNECTION, "binding": 500_001}
    found = explained(evidence(said, presence={"online": True, "worker": "g/0"}))
    assert found["worker"] == "g/0"
    assert found["problems"][0].startswith("bound on g/0, h/0: the first has the newest binding")


def test_what_one_router_could_not_ask_another_one_could() -> None:
    first, second = router(0), router(1)
    first["workers"]["h/0"]["said"] = None
    assert explained(evidence(first, second))["problems"] == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"presence": {"online": False}}, ["bound on h/0, but the presence service does not know it"]),
        (
            {"presence": {"online": True, "worker": "g/0"}},
            ["bound on h/0, but the presence service has it on g/0"],
        ),
        ({"presence": "no presence service runs", "cached": "no message cache runs"}, []),
        ({"cached": [{"id": "x"}]}, ["1 stored messages are not acknowledged, though the client is connected"]),
        ({"presence": {"online": False}, "cached": [{"id": "x"}], "now_ms": 500_100}, []),
    ],
)
def test_what_the_services_say(changes: dict[str, Any], expected: list[str]) -> None:
    assert list(problems(evidence(router(0), **changes))) == expected


def test_presence_without_a_holder() -> None:
    said = router(0)
    moved_to("nobody", said)
    assert list(problems(evidence(said))) == ["the presence service has it on h/0, but no worker has it"]
