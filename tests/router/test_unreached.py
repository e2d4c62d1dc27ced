"""Pushes that have reached nobody, told to the events service."""

from typing import Any

import msgpack
import pytest

from router import unreached
from shared import bus
from shared.calls import RETURN1, Call, Internal, encode_answer, internal
from shared.outcomes import Outcome
from shared.signals import PublishError
from tests.router.driven_core import STARTED_MS, Sent, push2
from tests.router.driven_services import DrivenServices

EVENTS = internal(Internal.EVENTS)
ON = {"event_webhook_url": "http://there/", "event_webhook_secret_file": "secret"}


def answer(core: DrivenServices, *outcomes: int) -> Sent:
    [sent] = core.sent()
    core.say(sent.worker, bus.encode_outcomes(sent.batch.number, bytes(outcomes)))
    return sent


def told(call: Call) -> list[Any]:
    return list(msgpack.unpackb(call.body)["events"])


def test_offline_pushes_are_told_with_their_ids() -> None:
    core = DrivenServices(**ON)
    core.serve(b"e", EVENTS, idempotent=True)
    core.ask(*push2(b"r1", [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]))
    sent = answer(core, Outcome.OFFLINE, Outcome.SENT, Outcome.OFFLINE)
    [call] = core.given(b"e")
    prefix = sent.batch.segments[0].id_prefix.hex()
    at = {token: f"{prefix}-{position}" for token, _, position in sent.pushes}
    tokens = [token for token, *_ in sent.pushes]
    assert told(call) == [[one.decode(), at[one], STARTED_MS] for one in (tokens[0], tokens[2])]
    core.ask(*push2(b"r2", [(b"d", b"1")]))
    answer(core, Outcome.OFFLINE)
    assert core.given(b"e") == []  # one call at a time
    core.tell(b"e", *encode_answer(RETURN1, call.number, 0))
    [second] = core.given(b"e")
    assert [one[0] for one in told(second)] == ["d"]
    assert core.core.counters["events_told"] == 2


def test_a_request_id_is_told_where_there_is_one() -> None:
    core = DrivenServices(**ON)
    core.serve(b"e", EVENTS, idempotent=True)
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    core.ask(*push2(b"r1", [(b"a", b"1")], request_id="order-7"))
    core.ask(*push2(b"r2", [(b"b", b"1")]))
    core.ask(*push2(b"r3", [(b"c", b"1")], traceparent=trace))
    core.ask(*push2(b"r4", [(b"d", b"1")], request_id="order-8", traceparent=trace))
    for sent in core.sent():
        core.say(sent.worker, bus.encode_outcomes(sent.batch.number, bytes([Outcome.OFFLINE] * len(sent.pushes))))
    events = []
    while calls := core.given(b"e"):
        for call in calls:
            events += told(call)
            core.give_back(b"e", call)
        core.turn()
    assert {event[0]: event[3:] for event in events} == {"a": ["order-7"], "b": [], "c": [], "d": ["order-8"]}


def test_what_was_held_is_told_too() -> None:
    core = DrivenServices(**ON)
    core.serve(b"e", EVENTS, idempotent=True)
    core.ask(*push2(b"r1", [(b"a", b"1")]))
    sent = answer(core, bus.HELD)
    assert core.given(b"e") == []
    core.say(sent.worker, bus.encode_late(sent.batch.number, [(0, Outcome.OFFLINE)]))
    [call] = core.given(b"e")
    assert [one[0] for one in told(call)] == ["a"]


def test_it_waits_for_the_service_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreached, "WAITING_MAX", 2)
    core = DrivenServices(**ON)
    for number in range(4):
        core.ask(*push2(b"r%d" % number, [(b"t%d" % number, b"1")]))
        answer(core, Outcome.OFFLINE)
    assert core.core.counters["events_dropped"] == 2
    core.serve(b"e", EVENTS, idempotent=True)
    core.now += 1
    core.turn()
    [call] = core.given(b"e")
    assert [one[0] for one in told(call)] == ["t0", "t1"]


def given_after(core: DrivenServices, seconds: float) -> list[list[str]]:
    """Tokens in each call that the service gets when so much more time has gone."""
    core.now += seconds
    core.turn()
    return [[one[0] for one in told(call)] for call in core.given(b"e")]


def offline(core: DrivenServices, *tokens: bytes) -> None:
    core.ask(*push2(b"r-" + tokens[0], [(token, b"1") for token in tokens]))
    answer(core, *[Outcome.OFFLINE] * len(tokens))


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (1, msgpack.packb({"status": 503, "message": "storage"})),
        (PublishError.NOBODY_KNOWS, b""),
        (1, b"\xc1"),
        (1, b"\x01"),
    ],
)
def test_what_fails_is_told_again_after_a_while(code: int, body: bytes) -> None:
    core = DrivenServices(**ON)
    core.serve(b"e", EVENTS, idempotent=True)
    offline(core, b"a")
    [call] = core.given(b"e")
    core.give_back(b"e", call, code, body)
    assert given_after(core, unreached._AGAIN_S - 0.01) == []
    assert given_after(core, 0.02) == [["a"]]
    assert core.count("events_refused") == 0


def test_one_that_is_refused_holds_up_no_other() -> None:
    core = DrivenServices(**ON)
    core.serve(b"e", EVENTS, idempotent=True)
    offline(core, *[b"%d" % number for number in range(9)])
    offline(core, b"late")
    taken: list[str] = []
    for _ in range(40):
        for call in core.given(b"e"):
            tokens = [one[0] for one in told(call)]
            if "5" in tokens:
                core.give_back(b"e", call, 1, msgpack.packb({"status": 400, "message": "malformed"}))
            else:
                taken += tokens
                core.give_back(b"e", call)
        core.turn()
    assert sorted(taken) == ["0", "1", "2", "3", "4", "6", "7", "8", "late"]
    assert (core.count("events_refused"), core.count("events_told")) == (1, 9)


def test_nothing_is_gathered_where_nobody_wants_it() -> None:
    core = DrivenServices()
    core.serve(b"e", EVENTS, idempotent=True)
    core.ask(*push2(b"r1", [(b"a", b"1")]))
    answer(core, Outcome.OFFLINE)
    assert core.given(b"e") == []
    assert core.core.parts.pushes.unreached is None
