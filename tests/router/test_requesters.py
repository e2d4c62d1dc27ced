"""What senders may send, and what they are told when they send something else."""

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from shared import __version__
from shared.keys import ADMIN, PUSH
from shared.requests import FAIL1, HELLO1, INFO1, PUSH1, PUSH2, pack_targets
from tests.router.driven_core import DrivenCore, push2

COMMANDS = [PUSH1, PUSH2, HELLO1, b"FIND1", b"KICK1", b"STAT1", b"EXPLAIN1"]
INDEX, DATA = pack_targets([(b"alice", b"hello")])


def test_hello_is_answered_with_version_and_limits() -> None:
    fleet = DrivenCore("h/0", max_frame_bytes=1 << 20, max_targets=500)
    fleet.ask(HELLO1, b"billing", b'{"version":"9"}')
    command, body = fleet.answer()
    assert command == HELLO1
    said = ujson.loads(body)
    assert said["version"] == __version__
    assert said["max_frame_bytes"] == 1 << 20
    assert said["limits"]["max_targets"] == 500


@pytest.mark.parametrize(
    "frames",
    [
        [HELLO1],
        [HELLO1, b"name"],
        [HELLO1, b"", b""],
        [HELLO1, b"x" * 65, b""],
        [HELLO1, b"name", b"[]"],
        [HELLO1, b"name", b"{"],
        [HELLO1, b"name", b"\xff"],
        [HELLO1, b"name", b"", b""],
    ],
)
def test_bad_hello_is_malformed_and_names_no_request(frames: list[bytes]) -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(*frames)
    command, request_id, body = fleet.answer()
    assert (command, request_id, ujson.loads(body)["code"]) == (FAIL1, b"", "malformed")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([PUSH1, b"r1"], "malformed"),
        ([PUSH1, b"r1", b"", b"alice"], "malformed"),
        ([PUSH1, b"r1", b"", b"alice", b"1", b"bob"], "malformed"),
        ([PUSH2, b"r1", b"", INDEX], "malformed"),
        ([PUSH2, b"r1", b"", INDEX, DATA, b""], "malformed"),
        ([PUSH2, b"r1", b"", b"", b""], "malformed"),
        ([PUSH2, b"r1", b"", INDEX[:-1], DATA], "malformed"),
        ([PUSH2, b"r1", b"", INDEX, DATA + b"x"], "malformed"),
        ([PUSH2, b"r1", b"", INDEX, DATA[:-1]], "malformed"),
        ([PUSH2, b"r1", b'{"to":"all"}', INDEX * 2, DATA * 2], "malformed"),
        ([PUSH2, b"r1", b"[]", INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b"{", INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b'{"tll":1}', INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b'{"timeout_ms":0}', INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b'{"to":["all"]}', INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b"[" * 10_000, INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b"", INDEX * 4, DATA * 4], "too_many_targets"),
        ([PUSH1, b"r1", b"", *[b"alice", b"1"] * 4], "too_many_targets"),
        ([b"FIND1", b"r1", *[b"alice"] * 4], "too_many_targets"),
        ([PUSH2, b"r1", b'{"to":"user"}', INDEX * 2, DATA * 2], "malformed"),
        ([PUSH2, b"r1", b'{"to":"group"}', INDEX * 2, DATA * 2], "malformed"),
        ([PUSH2, b"r1", b'{"collapse":"k"}', INDEX, DATA], "bad_options"),
        ([PUSH2, b"r1", b'{"id":"1"}', INDEX, DATA], "hello_needed"),
        ([PUSH2, b"r1", b"", INDEX, b"alice" + bytes(70_000)], "malformed"),
        ([b"FIND1", b"r1"], "malformed"),
        ([b"KICK1", b"r1"], "malformed"),
        ([b"STAT1", b"r1", b""], "malformed"),
        ([b"PUSH9", b"r1"], "unknown_command"),
        ([b"", b"r1"], "unknown_command"),
        ([b"push2", b"r1", b"", INDEX, DATA], "unknown_command"),
    ],
)
def test_faults_are_named_and_answered_to_the_request(frames: list[bytes], code: str) -> None:
    fleet = DrivenCore("h/0", max_targets=3)
    fleet.ask(*frames)
    command, request_id, body = fleet.answer()
    assert (command, request_id, ujson.loads(body)["code"]) == (FAIL1, b"r1", code)
    assert ujson.loads(body)["message"]
    assert fleet.core.counters[f"fail_{code}"] == 1
    assert fleet.sent() == []
    assert fleet.core.unanswered == 0


def test_an_option_without_meaning_is_named() -> None:
    fleet = DrivenCore("h/0")
    fleet.push(b"r1", b"a", collapse="news")
    assert "collapse" in ujson.loads(fleet.answer()[2])["message"]


@pytest.mark.parametrize(
    "frames", [[], [b""], [PUSH2], [PUSH2, b""], [PUSH2, b"x" * 65, b"", INDEX, DATA], [b"a" * 900]]
)
def test_without_a_request_id_the_answer_names_none(frames: list[bytes]) -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(*frames)
    command, request_id, body = fleet.answer()
    assert (command, request_id) == (FAIL1, b"")
    assert ujson.loads(body)["code"] in ("malformed", "unknown_command")


def test_a_bad_sender_costs_one_line() -> None:
    fleet = DrivenCore("h/0")
    for _ in range(100):
        fleet.ask(b"nonsense")
    assert len([notice for notice in fleet.notices if "bad request" in notice]) == 1
    assert fleet.core.counters["fail_unknown_command"] == 100


@given(st.lists(st.binary(max_size=80), max_size=30).filter(lambda frames: not {*frames[:1]} & {*COMMANDS}))
def test_noise_is_answered_and_harms_nobody(frames: list[bytes]) -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(*frames, sender=b"noisy")
    assert [answer[0] for answer in fleet.answers(b"noisy")] == [FAIL1]
    fleet.push(b"r1", b"alice")
    fleet.outcomes(fleet.sent()[0])
    assert fleet.answer()[1] == b"r1"


@given(st.sampled_from(COMMANDS), st.lists(st.binary(max_size=80), max_size=9))
def test_known_commands_with_noise_are_answered_or_taken_in(command: bytes, frames: list[bytes]) -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(command, *frames)
    fleet.advance(11)
    assert len(fleet.answers()) == 1
    assert fleet.core.unanswered == fleet.core.parts.admission.requests == fleet.core.parts.admission.bytes == 0


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (frozenset({PUSH}), {b"HELLO1", b"PUSH1", b"PUSH2", b"FIND1", b"STAT1", b"EXPLAIN1"}),
        (frozenset({ADMIN}), {b"HELLO1", b"FIND1", b"STAT1", b"KICK1", b"EXPLAIN1"}),
        (frozenset({PUSH, ADMIN}), {*COMMANDS}),
        (frozenset(), set()),
    ],
)
def test_scopes(scopes: frozenset[str], allowed: set[bytes]) -> None:
    messages = {
        b"HELLO1": [HELLO1, b"name", b""],
        b"PUSH1": [PUSH1, b"r", b"", b"a", b"p"],
        b"PUSH2": push2(b"r", [(b"a", b"p")]),
        b"FIND1": [b"FIND1", b"r", b""],
        b"STAT1": [b"STAT1", b"r"],
        b"KICK1": [b"KICK1", b"r", b""],
        b"EXPLAIN1": [b"EXPLAIN1", b"r", b'{"token": "a"}'],
    }
    refused = set()
    for command, frames in messages.items():
        fleet = DrivenCore()
        fleet.join("h/0")
        fleet.ask(*frames, scopes=scopes)
        for sent in fleet.sent():
            fleet.outcomes(sent)
        answer = fleet.answer()
        if answer[0] == FAIL1:
            assert ujson.loads(answer[2])["code"] == "not_allowed"
            refused.add(command)
    assert messages.keys() - refused == allowed


def test_stat() -> None:
    fleet = DrivenCore("h/0", "h/1")
    fleet.say("h/0", [b"BEAT1", b'{"connections":{"v0":2,"v1":"x"},"counters":{"pushes":7},"epoch":[0,0]}'])
    fleet.say("h/1", [b"BEAT1", b'{"connections":{"v0":3},"counters":{"pushes":1,"closed":2}}'])
    fleet.advance(0.25)
    fleet.push(b"r1", b"alice")
    fleet.answers()
    fleet.ask(b"STAT1", b"r2")
    command, request_id, body = fleet.answer()
    assert (command, request_id) == (INFO1, b"r2")
    figures = ujson.loads(body)
    assert figures["router"]["live"] == 2
    assert figures["router"]["unanswered_requests"] == 1
    assert figures["router"]["counters"]["pushes"] == 1
    assert figures["router"]["counters"]["fail_overloaded"] == 0
    assert figures["workers"]["h/0"]["connections"] == {"v0": 2}
    assert figures["workers"]["h/0"]["heartbeat_age_s"] == 0.25
    assert figures["workers"]["h/0"]["slots"] + figures["workers"]["h/1"]["slots"] == 4096
    assert sum(worker["batches_in_flight"] for worker in figures["workers"].values()) == 1
    assert figures["totals"]["connections"] == {"v0": 5, "all": 5}
    assert figures["totals"]["counters"] == {"pushes": 8, "closed": 2}


def test_stat_tells_how_long_pushes_took() -> None:
    fleet = DrivenCore("h/0")
    times = b'{"counts":[0,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"total_s":0.002}'
    said = b'{"delivery_times":%s,"acknowledgement_times":%s,"queues":{"held":4,"cache":"x"}}' % (times, times)
    fleet.say("h/0", [b"BEAT1", said])
    fleet.push(b"r1", b"alice", b"bob")
    (batch,) = fleet.sent()
    fleet.advance(0.3)
    fleet.outcomes(batch)
    fleet.answers()
    fleet.ask(b"STAT1", b"r2")
    figures = ujson.loads(fleet.answer()[2])
    bounds = figures["totals"]["duration_bounds_s"]
    assert figures["router"]["durations"]["queue"] == {"counts": [2, *[0] * 15], "total_s": 0.0}
    for name in ("worker_answer", "outcome"):
        durations = figures["router"]["durations"][name]
        assert durations["counts"][bounds.index(0.5)] == sum(durations["counts"]) == 2
        assert durations["total_s"] == pytest.approx(0.6)
    told = {"counts": [0, 3, *[0] * 14], "total_s": 0.002}
    assert figures["workers"]["h/0"]["durations"] == {"delivery": told, "acknowledgement": told}
    assert figures["workers"]["h/0"]["queues"] == {"held": 4}


def test_a_bug_of_ours_is_answered_once() -> None:
    fleet = DrivenCore("h/0")
    frames = push2(b"r1", [(b"alice", b"p")])
    fleet.core.fault(b"s1", frames)
    fleet.turn()
    assert fleet.fault() == "internal_error"
    fleet.ask(*frames)
    fleet.core.fault(b"s1", frames)
    fleet.turn()
    assert fleet.answers() == []
