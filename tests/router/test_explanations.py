"""EXPLAIN1: what a router says of a token, and what it has from the workers."""

from typing import Any

import pytest
import ujson

from shared import bus, bus_claims
from shared.requests import EXPLAIN1, FAIL1, INFO1
from shared.tokens import slot_of
from tests.router.driven_core import DrivenCore, tokens_of

TWO = ("h/0", "h/1")


def fleet_that_explains() -> DrivenCore:
    fleet = DrivenCore(workers=2)
    for name in TWO:
        fleet.join(name, explains=True)
    return fleet


def calls(fleet: DrivenCore) -> dict[str, tuple[int, dict[str, Any]]]:
    """The calls under way, by worker."""
    return {name: bus.decode_numbered(frames) for name, frames in fleet.to_workers if frames[0] == bus.CALL1}


def reply(fleet: DrivenCore, worker: str, answer: object) -> None:
    number, _ = calls(fleet)[worker]
    fleet.say(worker, bus.encode_numbered(bus.REPLY1, number, {"answers": [answer]}))


def answered(fleet: DrivenCore) -> dict[str, Any]:
    command, request_id, body = fleet.answer()
    assert (command, request_id) == (INFO1, b"q")
    said: dict[str, Any] = ujson.loads(body)
    return said


def ask(fleet: DrivenCore, **question: object) -> None:
    fleet.ask(EXPLAIN1, b"q", ujson.dumps(question).encode())


def test_every_worker_is_asked() -> None:
    fleet = fleet_that_explains()
    (token,) = tokens_of("h/1", TWO, 1)
    ask(fleet, token=token.decode())
    assert {name: body["call"] for name, (_, body) in calls(fleet).items()} == {"h/0": "explain", "h/1": "explain"}
    assert calls(fleet)["h/0"][1]["token"] == token.decode()
    reply(fleet, "h/1", {"connection": {"since": 1}})
    assert fleet.answers() == []
    reply(fleet, "h/0", {"connection": None})
    said = answered(fleet)
    assert (said["router"], said["role"], said["slot"], said["owner"]) == (0, "decides", slot_of(token), "h/1")
    assert (said["claim"], said["parked"], said["settled"], said["waiting"]) == (None, False, True, 0)
    assert said["workers"]["h/1"]["said"] == {"connection": {"since": 1}}
    assert said["workers"]["h/0"]["state"] == "live"


def test_a_claim_is_told() -> None:
    fleet = fleet_that_explains()
    (token,) = tokens_of("h/1", TWO, 1)
    fleet.say("h/0", bus_claims.encode_claims(bus.CLAIM1, [bus_claims.Claim(token, 5, "h/0", 2)], 1))
    ask(fleet, token=token.decode())
    for name in TWO:
        reply(fleet, name, {})
    assert answered(fleet)["claim"] == {"worker": "h/0", "binding": 5, "bound_by": "h/0", "moves": 2}


def test_who_cannot_answer_is_null() -> None:
    fleet = DrivenCore("h/0")
    fleet.join("h/1", explains=True)
    fleet.join("h/2", explains=True)
    ask(fleet, token="a")
    assert set(calls(fleet)) == {"h/1", "h/2"}
    reply(fleet, "h/1", "nonsense")
    fleet.advance(2.1)
    said = answered(fleet)
    assert {name: worker["said"] for name, worker in said["workers"].items()} == dict.fromkeys(("h/0", "h/1", "h/2"))
    assert said["workers"]["h/0"]["explains"] is False
    assert fleet.core.unanswered == 0


def test_a_worker_that_is_cut_off_is_null_and_nobody_else_is_asked_instead() -> None:
    fleet = fleet_that_explains()
    fleet.cut.add(b"h/1")
    ask(fleet, token="a")
    reply(fleet, "h/0", {"connection": None})
    fleet.advance(60)
    said = answered(fleet)
    assert said["workers"]["h/1"]["said"] is None
    assert said["workers"]["h/0"]["said"] == {"connection": None}
    assert fleet.core.unanswered == 0


def test_without_workers_it_is_answered_at_once() -> None:
    fleet = DrivenCore()
    ask(fleet, token="a")
    said = answered(fleet)
    assert (said["settled"], said["owner"], said["workers"]) == (False, None, {})


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"[]"],
        [b"{}"],
        [b"{}", b"{}"],
        [b"\xff"],
        [b'{"token":""}'],
        [b'{"token":7}'],
        [b'{"token":"a\\nb"}'],
        [b'{"token":"\\ud800"}'],
        [b'{"message":7}'],
        [b'{"message":"%s"}' % (b"x" * 601)],
    ],
)
def test_what_is_no_question_is_malformed(frames: list[bytes]) -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(EXPLAIN1, b"q", *frames)
    command, _, body = fleet.answer()
    assert (command, ujson.loads(body)["code"]) == (FAIL1, "malformed")
