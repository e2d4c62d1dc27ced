"""The topic of the presence service, on every storage."""

import time
from typing import Any

import msgpack
import pytest

from services.library import ClientCall, Refusal
from services.presence import presences as module
from services.presence.presences import PresenceTopic, passes
from services.presence.requests import TOKENS_MAX
from services.presence.streams import event_of
from services.storage.interfaces import Storage
from services.storage.presences import Ended, Presence, Transition
from shared.errors import StorageUnavailable
from tests.fleet.processes import wait_until

NOW = 1_795_000_000_000
LEASE_MS = 3000


class Asked:
    """A topic, its clock, and what it has published."""

    def __init__(self, storage: Storage) -> None:
        self.now = NOW
        self.storage = storage
        self.events: list[tuple[str, str | None]] = []
        self.others: list[Any] = []
        self.topic = PresenceTopic(storage, self._publish, lambda: self.now, self.others.extend)
        self.numbers: dict[str, int] = {}

    def _publish(self, transitions: Any) -> None:
        self.events += [(one.presence.token, one.reason) for one in transitions]

    def ask(self, **fields: Any) -> Any:
        """The map that answers, or the status that refuses."""
        try:
            return msgpack.unpackb(self.topic.answer(ClientCall({"signal": 0, "sub_signal": 8}, msgpack.packb(fields))))
        except Refusal as refused:
            return msgpack.unpackb(refused.body)["status"]

    def report(self, worker: str, *changes: list[Any], term: str = "x.1", **more: Any) -> Any:
        number = self.numbers[worker + term] = self.numbers.get(worker + term, 0) + 1
        fields = {"begin": number == 1, "end": number == 1, "lease_ms": LEASE_MS, "number": number, **more}
        return self.ask(op="report", worker=worker, term=term, changes=list(changes), **fields)

    def online(self, *tokens: str) -> list[bool]:
        return [one["online"] for one in self.ask(op="find", tokens=tokens)["found"]]


@pytest.fixture
def asked(storage: Storage) -> Asked:
    return Asked(storage)


def come(token: str, binding: int = NOW, uid: str | None = "u", moves: int = 0) -> list[Any]:
    return [False, token, uid, "v2", "127.0.0.1:9", binding, "here/0", moves]


def gone(token: str, binding: int = NOW, reason: str = "peer_closed") -> list[Any]:
    return [True, token, "u", "v2", "127.0.0.1:9", binding, "here/0", 0, reason]


def test_what_is_told_of_who_is_connected(asked: Asked) -> None:
    assert asked.report("here/0", come("a")) == {}
    here = {"worker": "here/0", "protocol": "v2", "address": "127.0.0.1:9", "since": NOW, "uid": "u"}
    found = [{"token": "a", "online": True, **here}, {"token": "b", "online": False}]
    assert asked.ask(op="find", tokens=["a", "b"]) == {"found": found, "next": None}
    assert asked.ask(op="list") == {"found": found[:1], "next": ["here/0", "a"]}
    assert asked.ask(op="list", after=["here/0", "a"]) == {"found": [], "next": None}


def test_a_client_that_comes_goes_and_comes_within_one_report(asked: Asked) -> None:
    asked.report("here/0", come("a", 1), gone("a", 1), come("b"), come("a", 2), gone("a", 2, "kicked"), come("a", 3))
    assert [reason for token, reason in asked.events if token == "a"] == [None, "peer_closed", None, "kicked", None]
    assert asked.online("a", "b") == [True, True]


def test_a_report_that_is_not_the_next_wants_the_whole(asked: Asked) -> None:
    assert asked.report("here/0", come("a"), begin=False) == 409
    asked.numbers.clear()
    assert asked.report("here/0", come("a")) == {}
    assert asked.report("here/0", gone("a"), number=3) == 409
    assert asked.report("here/0", gone("a"), number=2) == {}
    assert asked.report("here/0", gone("a"), number=2) == {}  # a repeat
    assert asked.events == [("a", None), ("a", "peer_closed")]


def test_a_lease_lapses(asked: Asked) -> None:
    """By the clock of whoever keeps it."""
    asked.now = time.time_ns() // 1_000_000
    asked.report("here/0", come("a"), come("b"), come("moved"), lease_ms=50)
    asked.report("here/1", come("c"), come("moved", moves=1), lease_ms=60_000)

    def is_swept() -> bool:
        asked.now = time.time_ns() // 1_000_000
        asked.topic.sweep(0)
        return len(asked.events) > 4

    wait_until(is_swept, "the worker's clients are ended")
    asked.topic.sweep(0)
    assert sorted(asked.events[4:]) == [("a", "worker_lost"), ("b", "worker_lost")]
    assert asked.online("a", "b", "c", "moved") == [False, False, True, True]
    assert asked.storage.presences.ending(asked.now, 0) == []
    assert asked.report("here/0", come("a"), lease_ms=50) == 409  # the next report, but nobody knows of any before
    assert asked.report("here/0", come("a"), term="x.2") == {}
    assert asked.events[6:] == [("a", None)]  # it was there all the time


def test_what_the_whole_does_not_tell_ends_when_others_have_had_time(asked: Asked) -> None:
    asked.report("here/0", come("a"), come("b"))
    asked.report("here/0", come("a"), term="x.2")
    asked.topic.sweep(1000)
    assert asked.online("a", "b") == [True, True]
    asked.now += 1000
    asked.topic.sweep(1000)
    asked.topic.sweep(1000)
    assert asked.online("a", "b") == [True, False]
    assert asked.events == [("a", None), ("b", None), ("b", "worker_lost")]


def test_a_user_without_the_subscribe_service(asked: Asked) -> None:
    asked.report("here/0", come("a"), come("b"), come("other", uid="v"), come("nobody's", uid=None))
    asked.storage.devices.add("u", "away", "v2", 1.0)
    told = asked.ask(op="find", uid="u")["found"]
    assert [(one["token"], one["online"]) for one in told] == [("a", True), ("away", False), ("b", True)]
    asked.report("here/0", gone("a"))
    told = asked.ask(op="find", uid="u")["found"]
    assert [one["token"] for one in told] == ["away", "b"]


def test_a_group_of_tokens_and_users_in_pages(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_MAX", 2)
    asked.report("here/0", come("a"), come("b"), come("c"), come("d", uid="v"), come("no member", uid="w"))
    asked.storage.groups.create("g", "u")
    asked.storage.groups.join("g", ["a", "away"], ["u", "v"])
    found, after = [], None
    while True:
        page = asked.ask(op="find", group="g", after=after)
        assert len(page["found"]) <= 2
        found += [(one["token"], one["online"]) for one in page["found"]]
        after = page["next"]
        if after is None:
            break
    assert found == [("a", True), ("away", False), ("b", True), ("c", True), ("d", True)]
    assert asked.ask(op="find", group="other") == 404


def test_pages_of_everybody(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_MAX", 2)
    asked.report("here/0", *[come(f"{number}") for number in range(5)])
    asked.report("here/1", come("x"))
    asked.report("here/0", gone("1"))
    found: list[str] = []
    after = None
    while (page := asked.ask(op="list", after=after))["next"]:
        found += [one["token"] for one in page["found"]]
        after = page["next"]
    assert found == ["0", "2", "3", "4", "x"]


def test_bad_questions(asked: Asked) -> None:
    assert asked.ask(op="nothing") == 400
    assert asked.ask(op="find") == 400
    assert asked.ask(op="find", tokens="a") == 400
    assert asked.ask(op="find", tokens=["a"] * (TOKENS_MAX + 1)) == 400
    assert asked.ask(op="report", worker="here/0") == 400
    assert asked.report("here/0", [False, "a"]) == 400
    assert asked.report("here/0", [*gone("a"), "more"]) == 400


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", 7, None, ["a"], {}, b"a"])
def test_a_question_about_what_is_no_name(asked: Asked, name: Any) -> None:
    assert asked.ask(op="find", uid=name) == 400
    assert asked.ask(op="find", group=name) == 400


@pytest.mark.parametrize("tokens", ["a", [1], ["a", None], [["a"]], {"a": 1}, ["x" * 5000]])
def test_a_question_about_what_are_no_tokens(asked: Asked, tokens: Any) -> None:
    assert asked.ask(op="find", tokens=tokens) == 400


@pytest.mark.parametrize("after", [1, ["a"], [1, "a"], ["a", 1], ["a", "b", "c"], {"a": 1}])
def test_a_page_behind_what_is_none(asked: Asked, after: Any) -> None:
    assert asked.ask(op="list", after=after) == 400
    assert asked.ask(op="find", uid="u", after=after) == 400


@pytest.mark.parametrize(
    "more",
    [
        {"lease_ms": value} for value in (None, "3000", 3000.5, True, -1, 0, 600_001, 1 << 63)
    ] + [{"number": value} for value in (None, "1", 1.5, True, 0, -1, 1 << 63)]
    + [{"term": value} for value in (None, 1, "", "x" * 256, b"x")],
)  # fmt: skip
def test_a_report_that_is_none_changes_nothing(asked: Asked, more: dict[str, Any]) -> None:
    assert asked.ask(op="report", **{"worker": "here/0", "term": "x.1", "number": 1, "lease_ms": LEASE_MS,
                                     "begin": True, "end": True, "changes": [come("a")], **more}) == 400  # fmt: skip
    assert asked.online("a") == [False]
    assert asked.report("here/0", come("a")) == {}


@pytest.mark.parametrize("at", range(8))
def test_a_change_that_is_none_costs_its_report(asked: Asked, at: int) -> None:
    for value in (None, [], {}, 1.5, -1, 1 << 63, "x" * 5000):
        if value is None and at == 2:
            continue  # a client without a user
        bad = come("b")
        bad[at] = value
        assert asked.report("here/0", come("a"), bad, term=f"x.{value!r:.9}") == 400
    assert asked.report("here/0", come("a"), 7, term="y") == 400  # type: ignore[arg-type]
    assert asked.online("a") == [False]
    assert asked.report("here/0", come("a"), come("b", uid=None)) == {}


def test_a_storage_that_is_away(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("gone")

    monkeypatch.setattr(asked.storage.presences, "load", away)
    assert asked.ask(op="find", tokens=["a"]) == 503


def test_a_report_in_parts_of_which_none_has_a_token_twice() -> None:
    parts = passes([come("a", 1), come("b"), gone("a", 1), come("a", 2)], "here/0")
    a, b = (Presence(token, "u", "here/0", "v2", "127.0.0.1:9", NOW, "here/0", 0) for token in ("a", "b"))
    first = a._replace(binding=1)
    assert parts == [
        ([first, b], []),
        ([], [Ended(first, "peer_closed")]),
        ([a._replace(binding=2)], []),
    ]


def test_an_event() -> None:
    presence = Presence("a", "u", "here/0", "v2", "127.0.0.1:9", NOW, "here/0", 0)
    came = event_of(Transition(presence, NOW + 5, 77))
    assert came == {
        "id": "a/77",
        "kind": "connected",
        "token": "a",
        "token_sequence": 77,
        "uid": "u",
        "worker": "here/0",
        "protocol": "v2",
        "address": "127.0.0.1:9",
        "since": NOW,
        "at": NOW + 5,
    }
    went = event_of(Transition(presence, NOW + 9, 78, "kicked"))
    assert went == came | {
        "id": "a/78",
        "kind": "disconnected",
        "token_sequence": 78,
        "at": NOW + 9,
        "reason": "kicked",
        "duration_ms": 9,
    }


def test_events_of_other_services_are_published_as_they_are(asked: Asked) -> None:
    text = '{"kind": "expired", "token": "a", "number": 7}'
    assert asked.ask(op="tell", events=[text]) == {}
    assert asked.others == [{"kind": "expired", "token": "a", "number": 7}]
    for events in ([], ["no JSON"], ["[]"], ['{"kind": "other"}'], 7):
        assert asked.ask(op="tell", events=events) == ({} if events == [] else 400)
    assert len(asked.others) == 1
