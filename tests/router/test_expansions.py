"""Pushes to a user or a group: asked for, pushed, added up."""

from typing import Any

import msgpack
import pytest
import ujson

from router.expansions import PAGE
from shared.bus import HELD, KEPT
from shared.calls import LEAVE1, RETURN1, Internal, Topic, encode_answer, internal
from shared.outcomes import Outcome
from shared.requests import DONE1
from tests.router.driven_core import Sent, push2
from tests.router.driven_services import DrivenServices

USERS, GROUPS = Topic(*internal(Internal.MEMBERS)), Topic(*internal(Internal.GROUP_MEMBERS))
SERVICE = b"members"


@pytest.fixture
def fleet() -> DrivenServices:
    served = DrivenServices("h/0")
    served.serve(SERVICE, USERS, GROUPS, idempotent=True)
    return served


def asked(fleet: DrivenServices) -> tuple[int, dict[str, Any]]:
    """Number and map of the one call that the service has got."""
    (call,) = fleet.given(SERVICE)
    return call.number, msgpack.unpackb(call.body)


def tell(fleet: DrivenServices, number: int, tokens: list[str], code: int = 0, **more: object) -> None:
    fleet.tell(SERVICE, *encode_answer(RETURN1, number, code, msgpack.packb({"tokens": tokens, **more})))


def one(fleet: DrivenServices) -> Sent:
    (sent,) = fleet.sent()
    return sent


def done(fleet: DrivenServices) -> tuple[int, dict[str, Any]]:
    """The one outcome and the counts that are not 0."""
    command, _, outcomes, detail = fleet.answer()
    assert (command, len(outcomes)) == (DONE1, 1)
    return outcomes[0], {key: value for key, value in ujson.loads(detail).items() if value or key == "exists"}


@pytest.mark.parametrize(("kind", "field"), [("user", "uid"), ("group", "group")])
def test_every_member_gets_a_push(fleet: DrivenServices, kind: str, field: str) -> None:
    fleet.push(b"r1", b"team", to=kind)
    number, fields = asked(fleet)
    assert fields == {field: "team", "after": "", "most": PAGE}
    tell(fleet, number, ["a", "b", "c"])
    sent = one(fleet)
    assert [token for token, _, _ in sent.pushes] == [b"a", b"b", b"c"]
    assert fleet.answers() == []
    fleet.outcomes(sent, bytes([Outcome.OFFLINE, Outcome.SENT, Outcome.OFFLINE]))
    assert done(fleet) == (Outcome.SENT, {"matched": 3, "sent": 1, "offline": 2})
    assert fleet.core.unanswered == 0


def test_members_in_pages_have_ids_of_their_own(fleet: DrivenServices) -> None:
    fleet.push(b"r1", b"team", to="group")
    number, _ = asked(fleet)
    tell(fleet, number, ["a", "b"], more=True)
    first = one(fleet)
    number, fields = asked(fleet)
    assert fields["after"] == "b"
    fleet.outcomes(first, bytes(2))
    assert fleet.answers() == []  # there are more
    tell(fleet, number, ["c"], more=False)
    second = one(fleet)
    assert first.batch.segments[0].id_prefix != second.batch.segments[0].id_prefix
    fleet.outcomes(second, bytes([Outcome.STORED]))
    assert done(fleet) == (Outcome.SENT, {"matched": 3, "sent": 2, "stored": 1})


@pytest.fixture
def bounded() -> DrivenServices:
    """A worker at which 7,500 pushes may wait for the message cache: three pages."""
    served = DrivenServices(held_pushes_max=5 * PAGE // 4 * 3)
    served.join("h/0", stores=True)
    served.serve(SERVICE, USERS, GROUPS, idempotent=True)
    return served


def page(fleet: DrivenServices, name: str, count: int = PAGE, more: bool = True) -> Sent:
    """The service answers with a page; its members are pushed to."""
    tell(fleet, asked(fleet)[0], [f"{name}-{member}" for member in range(count)], more=more)
    return one(fleet)


def test_no_more_members_are_under_way_than_a_worker_can_store(bounded: DrivenServices) -> None:
    bounded.push(b"r1", b"team", to="group", ttl=60)
    sent = [page(bounded, str(number)) for number in range(3)]
    for request in (b"r2", b"r3"):
        bounded.push(request, request, to="group", ttl=60)
    assert bounded.given(SERVICE) == []  # they wait in turn, too
    for request, stored in zip((b"team", b"r2", b"r3"), sent, strict=True):
        bounded.outcomes(stored, bytes([Outcome.STORED]) * PAGE)
        (call,) = bounded.given(SERVICE)
        assert msgpack.unpackb(call.body)["group"].encode() == request
    assert bounded.answers() == []


def test_who_waits_for_room_in_vain_is_incomplete(bounded: DrivenServices) -> None:
    bounded.push(b"r1", b"team", to="group", ttl=60, timeout_ms=60_000)
    sent = [page(bounded, str(number)) for number in range(3)]
    bounded.push(b"r2", b"other", to="group", ttl=60, timeout_ms=1000)
    bounded.advance(1.1)
    assert done(bounded) == (Outcome.UNAVAILABLE, {"incomplete": True})
    bounded.outcomes(sent[0], bytes(PAGE))
    assert asked(bounded)[1]["group"] == "team"


def test_members_that_have_only_to_acknowledge_hold_nobody_up(bounded: DrivenServices) -> None:
    bounded.push(b"r1", b"team", to="group", ttl=60, wait="acked")
    sent = [page(bounded, str(number)) for number in range(3)]
    assert bounded.given(SERVICE) == []
    bounded.outcomes(sent[0], bytes([KEPT]) + bytes([HELD]) * (PAGE - 1))
    assert bounded.given(SERVICE) == []
    bounded.late(sent[0], *[(index, KEPT) for index in range(1, PAGE)])
    page(bounded, "3", count=1, more=False)
    bounded.push(b"r2", b"team", to="group", wait="acked")  # these are not stored
    assert asked(bounded)[1]["group"] == "team"


def test_a_service_that_goes_wakes_all_who_wait(bounded: DrivenServices) -> None:
    bounded.push(b"r0", b"team", to="group", ttl=60)
    sent = [page(bounded, str(number)) for number in range(3)]
    for number in range(1, 1500):  # more than calls may be nested
        bounded.push(b"%d" % number, b"team", to="group", ttl=60)
    bounded.tell(SERVICE, LEAVE1)
    bounded.outcomes(sent[0], bytes(PAGE))
    assert [outcomes[0] for _, _, outcomes, _ in bounded.answers()] == [Outcome.UNAVAILABLE] * 1499


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ([Outcome.SENT, Outcome.ACKED], Outcome.ACKED),
        ([Outcome.STORED, Outcome.SENT], Outcome.SENT),
        ([Outcome.OFFLINE, Outcome.STORED], Outcome.STORED),
        ([Outcome.OVERLOADED, Outcome.BUFFERED], Outcome.BUFFERED),
        ([Outcome.REFUSED, Outcome.UNKNOWN], Outcome.UNKNOWN),
        ([Outcome.TOO_LARGE, Outcome.OFFLINE], Outcome.TOO_LARGE),
        ([Outcome.OFFLINE, Outcome.TOO_LARGE], Outcome.OFFLINE),
    ],
)
def test_the_one_outcome(fleet: DrivenServices, outcomes: list[Outcome], best: Outcome) -> None:
    fleet.push(b"r1", b"team", to="group")
    tell(fleet, asked(fleet)[0], ["a", "b"])
    fleet.outcomes(one(fleet), bytes(outcomes))
    assert done(fleet)[0] == best


def test_nobody_is_a_member(fleet: DrivenServices) -> None:
    fleet.push(b"r1", b"empty", to="group")
    tell(fleet, asked(fleet)[0], [], exists=True)
    assert done(fleet) == (Outcome.OFFLINE, {})
    fleet.push(b"r1", b"none", to="group")
    tell(fleet, asked(fleet)[0], [], exists=False)
    assert done(fleet) == (Outcome.OFFLINE, {"exists": False})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        *map(msgpack.packb, ([], {}, {"tokens": [1]}, {"tokens": ["t" * 256]}, {"tokens": ["a", "b\n"]})),
    ],
)
def test_an_answer_that_is_none(fleet: DrivenServices, body: bytes) -> None:
    fleet.push(b"r1", b"team", to="group")
    fleet.tell(SERVICE, *encode_answer(RETURN1, asked(fleet)[0], 0, body))
    assert done(fleet) == (Outcome.UNAVAILABLE, {"incomplete": True})


def test_no_service_knows_members() -> None:
    fleet = DrivenServices("h/0")
    fleet.push(b"r1", b"team", to="group")
    assert done(fleet) == (Outcome.UNAVAILABLE, {"incomplete": True})
    fleet.push(b"r1", b"\xff", to="user")
    assert done(fleet)[0] == Outcome.REFUSED


def test_the_time_is_over_while_members_are_asked_for(fleet: DrivenServices) -> None:
    fleet.push(b"r1", b"team", to="group", timeout_ms=1000)
    number, _ = asked(fleet)
    fleet.advance(1.1)
    assert done(fleet) == (Outcome.UNAVAILABLE, {"incomplete": True})
    tell(fleet, number, ["a"])
    assert fleet.sent() == []


def test_the_time_is_over_while_a_worker_is_silent(fleet: DrivenServices) -> None:
    fleet.push(b"r1", b"team", to="group", timeout_ms=1000)
    tell(fleet, asked(fleet)[0], ["a", "b"], more=True)
    fleet.advance(1.1)
    assert done(fleet) == (Outcome.UNKNOWN, {"matched": 2, "unknown": 2, "incomplete": True})
    assert fleet.core.unanswered == 0


def test_the_router_stops(fleet: DrivenServices) -> None:
    fleet.push(b"r1", b"team", to="group")
    tell(fleet, asked(fleet)[0], ["a", "b"])
    fleet.core.stop(fleet.now)
    fleet.core.end(fleet.now)
    fleet.turn()
    assert done(fleet) == (Outcome.UNKNOWN, {"matched": 2, "unknown": 2})
    assert fleet.core.unanswered == 0


def test_a_repeat_has_the_same_ids(fleet: DrivenServices) -> None:
    fleet.hello(b"news")
    prefixes = []
    for outcome in (Outcome.UNAVAILABLE, Outcome.SENT):
        fleet.push(b"r1", b"team", to="group", id="x")
        tell(fleet, asked(fleet)[0], ["a"])
        sent = one(fleet)
        prefixes.append(sent.batch.segments[0].id_prefix)
        fleet.outcomes(sent, bytes([outcome]))
        assert done(fleet)[0] == outcome
    assert prefixes[0] == prefixes[1]
    fleet.push(b"r1", b"team", to="group", id="x")
    assert done(fleet)[0] == Outcome.SENT  # remembered
    assert fleet.given(SERVICE) == []


def push_large(fleet: DrivenServices, payload_bytes: int, **options: object) -> None:
    fleet.ask(*push2(b"r1", [(b"team", bytes(payload_bytes))], to="group", **options))


@pytest.mark.parametrize(("payload_bytes", "most"), [(100, PAGE), (100_000, 10), (900_000, 1), (1 << 20, 1)])
def test_pages_are_small_where_the_payload_is_large(fleet: DrivenServices, payload_bytes: int, most: int) -> None:
    push_large(fleet, payload_bytes)
    assert asked(fleet)[1]["most"] == most


def test_few_bytes_are_under_way_at_once(fleet: DrivenServices) -> None:
    """However many members there are, and however quick the service; and all of them get it in the end."""
    push_large(fleet, 100_000)
    waiting, pages, most = [], 0, 0
    while pages < 40 or waiting:
        calls = fleet.given(SERVICE)
        for call in calls:
            tell(fleet, call.number, [f"{pages:02}-{member}" for member in range(10)], more=pages < 39)
            pages += 1
        waiting += fleet.sent()
        most = max(most, fleet.core.parts.admission.bytes)
        if not calls:  # it waits for outcomes
            sent = waiting.pop(0)
            fleet.outcomes(sent, bytes(len(sent.pushes)))
    assert 4 << 20 < most < 9 << 20
    assert done(fleet) == (Outcome.SENT, {"matched": 400, "sent": 400})
    assert fleet.core.parts.admission.bytes == 0


def test_a_router_with_little_room_has_one_page_under_way() -> None:
    fleet = DrivenServices("h/0", pending_bytes_max=1 << 20)
    fleet.serve(SERVICE, USERS, GROUPS, idempotent=True)
    push_large(fleet, 100_000)
    tell(fleet, asked(fleet)[0], [f"1-{member}" for member in range(10)], more=True)
    assert fleet.given(SERVICE) == []
    fleet.outcomes(one(fleet), bytes(10))
    tell(fleet, asked(fleet)[0], ["last"])
    fleet.outcomes(one(fleet), bytes(1))
    assert done(fleet) == (Outcome.SENT, {"matched": 11, "sent": 11})


def test_an_answer_that_is_greater_than_asked_for(fleet: DrivenServices) -> None:
    push_large(fleet, 900_000)
    tell(fleet, asked(fleet)[0], ["a", "b"])
    (sent,) = fleet.sent()
    assert [token for token, _, _ in sent.pushes] == [b"a", b"b"]
    assert [segment[0] for segment in sent.batch.segments] == [1, 1]


def test_a_service_that_does_not_come_on(fleet: DrivenServices) -> None:
    fleet.push(b"r1", b"team", to="group")
    for _ in range(2):
        tell(fleet, asked(fleet)[0], ["a"], more=True)
    fleet.outcomes(one(fleet), bytes(1))
    assert done(fleet) == (Outcome.SENT, {"matched": 1, "sent": 1, "incomplete": True})


def test_what_is_incomplete_is_tried_again_under_the_same_ids(fleet: DrivenServices) -> None:
    fleet.hello(b"news")
    prefixes = []
    for answer in ({"tokens": [1]}, {"tokens": ["b"]}):
        fleet.push(b"r1", b"team", to="group", id="x")
        tell(fleet, asked(fleet)[0], ["a"], more=True)
        sent = one(fleet)
        fleet.outcomes(sent, bytes(1))
        prefixes.append(sent.batch.segments[0].id_prefix)
        fleet.tell(SERVICE, *encode_answer(RETURN1, asked(fleet)[0], 0, msgpack.packb(answer)))
        for last in fleet.sent():
            fleet.outcomes(last, bytes(1))
        complete = answer["tokens"] == ["b"]
        counts = {"matched": 2, "sent": 2} if complete else {"matched": 1, "sent": 1, "incomplete": True}
        assert done(fleet) == (Outcome.SENT, counts)
    assert prefixes[0] == prefixes[1]
    fleet.push(b"r1", b"team", to="group", id="x")
    assert done(fleet)[0] == Outcome.SENT  # remembered
    assert fleet.given(SERVICE) == []


def test_everybody_who_is_known_gets_what_is_kept(fleet: DrivenServices) -> None:
    fleet.join("h/0", "b", stores=True)
    fleet.serve(SERVICE, Topic(*internal(Internal.TOKENS)), idempotent=True)
    fleet.push(b"r1", b"\xff", to="all", ttl=60)  # the target is not looked at
    number, fields = asked(fleet)
    assert fields == {"all": "", "after": "", "most": PAGE}
    tell(fleet, number, ["a", "b"], more=False)
    fleet.outcomes(one(fleet), bytes([Outcome.SENT, Outcome.STORED]))
    assert done(fleet) == (Outcome.SENT, {"matched": 2, "sent": 1, "stored": 1})


@pytest.mark.parametrize("options", [{"ttl": 5}, {"wait": "acked"}])
def test_without_a_service_nobody_knows_who_is_away(options: dict[str, object]) -> None:
    fleet = DrivenServices("h/0")
    fleet.push(b"r1", b"", to="all", **options)
    assert done(fleet) == (Outcome.UNAVAILABLE, {"incomplete": True})
