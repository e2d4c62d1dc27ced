"""Which workers have members of a user or a group, and pushes that go to them only."""

from collections.abc import Sequence

import msgpack
import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from router.members import Worker
from router.membership import Membership
from router.memberships import Memberships
from router.outbox import Outbox
from shared import bus, bus_members
from shared.bus import Target
from shared.bus_members import MembersNews
from shared.calls import REGROUP1, Internal, Topic, internal
from shared.errors import BusError
from shared.outcomes import Outcome
from shared.rings import Epoch
from shared.settings import Settings
from tests.router.driven_core import DrivenCore, push2
from tests.router.driven_services import DrivenServices

NAMES = ("h/0", "h/1", "h/2")


class Fleet(DrivenServices):
    """Workers that know targets."""

    def __init__(self, *workers: str, **settings: object) -> None:
        super().__init__(*(workers or NAMES), **settings)

    def join(self, name: str, incarnation: str = "a", **more: object) -> None:
        super().join(name, incarnation, **{"targets": True, **more})

    def told(self, worker: str, whole: bool = True, **names: Sequence[str]) -> None:  # type: ignore[override]
        epoch = self.rings(worker)[-1].epoch if whole else None
        self.say(worker, bus_members.encode_members(MembersNews(**names, whole=epoch)))

    def all_told(self, **groups: Sequence[str]) -> None:
        for name in NAMES:
            self.told(name, groups=groups.get(name.replace("/", ""), ()))

    def reached(self, target: str = "team", to: str = "group", **options: object) -> set[str]:
        """The workers to which a push goes."""
        before = len(self.to_workers)
        self.ask(*push2(b"r1", [(target.encode(), b"news")], to=to, **options))
        return {name for name, frames in self.to_workers[before:] if frames[0] == bus.ALL1}

    def outcome(self) -> tuple[Outcome, dict[str, int]]:
        command, _, outcomes, detail = self.answer()
        assert command == b"DONE1"
        return Outcome(*outcomes), {key: value for key, value in ujson.loads(detail).items() if value}

    def counts(self, worker: str, **body: int) -> None:
        frames = self.messages(bus.ALL1, worker)[-1]
        self.say(worker, bus.encode_numbered(bus.COUNTS1, bus.number_of(frames), body))


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_push_to_a_group_goes_to_the_workers_with_members(fleet: Fleet) -> None:
    fleet.all_told(h0=["team", "other"], h1=["other"], h2=["team"])
    assert fleet.reached() == {"h/0", "h/2"}
    fan_out = bus.decode_fan_out(fleet.messages(bus.ALL1, "h/2")[0])
    assert (fan_out.target, fan_out.payload) == (Target("group", "team"), b"news")
    fleet.counts("h/0", matched=3, sent=2, offline=1)
    assert fleet.answers() == []
    fleet.counts("h/2", matched=1, buffered=1)
    assert fleet.outcome() == (
        Outcome.SENT, {"workers": 2, "matched": 4, "sent": 2, "buffered": 1, "offline": 1}
    )  # fmt: skip


def test_users_and_groups_have_names_of_their_own(fleet: Fleet) -> None:
    for name in NAMES:
        fleet.told(name)
    fleet.told("h/1", uids=["team"])
    assert fleet.reached(to="user") == {"h/1"}
    assert bus.decode_fan_out(fleet.messages(bus.ALL1, "h/1")[0]).target == Target("uid", "team")
    assert fleet.reached(to="group") == set()


def test_nobody_is_a_member(fleet: Fleet) -> None:
    fleet.all_told()
    assert fleet.reached() == set()
    assert fleet.outcome() == (Outcome.OFFLINE, {})


def test_no_worker_at_all() -> None:
    fleet = Fleet("h/0")
    fleet.say("h/0", bus.encode_control(bus.BYE1, {"gone": True}))
    assert fleet.reached() == set()
    assert fleet.outcome() == (Outcome.UNAVAILABLE, {})


def test_who_has_not_told_all_may_have_members(fleet: Fleet) -> None:
    fleet.all_told()
    fleet.join("h/1", incarnation="b")
    assert fleet.reached() == {"h/1"}
    fleet.told("h/1", whole=False, groups=["other"])
    assert fleet.reached() == {"h/1"}
    fleet.told("h/1")
    assert fleet.reached() == set()
    assert fleet.reached("other") == {"h/1"}


def test_the_last_one_goes(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"], h1=["team"])
    fleet.say("h/0", bus_members.encode_members(MembersNews(groups_gone=["team"])))
    assert fleet.reached() == {"h/1"}


def test_another_ring_may_bring_members_to_everybody_until_they_say_who_has_come(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"])
    fleet.say("h/0", bus.encode_control(bus.BYE1, {"leaving": True}))
    assert fleet.reached() == set(NAMES)
    fleet.told("h/2")
    assert fleet.reached() == {"h/0", "h/1"}
    fleet.told("h/1", groups=["team"])
    fleet.told("h/0", groups_gone=["team"])
    assert fleet.reached() == {"h/1"}


def test_a_worker_that_restarts_is_waited_for_if_it_has_members(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"])
    fleet.cut.add(b"h/0")
    assert fleet.reached() == set()
    fleet.cut.clear()
    assert fleet.reached("nobody") == set()
    fleet.answers()
    fleet.join("h/0", incarnation="b")
    assert bus.decode_fan_out(fleet.messages(bus.ALL1, "h/0")[0]).target == Target("group", "team")
    fleet.counts("h/0", matched=1, sent=1)
    assert fleet.outcome() == (Outcome.SENT, {"workers": 1, "matched": 1, "sent": 1})


def test_a_restarted_worker_of_an_older_version_would_send_it_to_everybody(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"])
    fleet.cut.add(b"h/0")
    assert fleet.reached() == set()
    fleet.cut.clear()
    fleet.join("h/0", incarnation="b", targets=None)
    assert fleet.messages(bus.ALL1, "h/0") == []
    assert fleet.outcome() == (Outcome.UNAVAILABLE, {})
    assert not fleet.core.parts.fan_outs.takes_targets


def test_whoever_may_be_a_member_makes_the_outcome_unknown(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"])
    fleet.reached()
    fleet.counts("h/0", matched=0, unknown=1)
    assert fleet.outcome() == (Outcome.UNKNOWN, {"workers": 1, "unknown_workers": 1})


def test_all_workers_may_have_who_joins_until_they_say_no(fleet: Fleet) -> None:
    fleet.all_told()
    said = {"group": "team", "tokens": ["t"], "uids": [], "joined": True}
    fleet.tell(b"groups", REGROUP1, ujson.dumps(said).encode())
    assert len(fleet.messages(REGROUP1)) == len(NAMES)
    assert fleet.reached() == set(NAMES)
    for name in NAMES[1:]:
        fleet.say(name, bus_members.encode_members(MembersNews(groups_gone=["team"])))
    assert fleet.reached() == set(NAMES)  # that may have been about what was before
    for name in NAMES[1:]:
        fleet.say(name, bus_members.encode_members(MembersNews(regrouped={"team": 1})))
    assert fleet.reached() == {"h/0"}
    fleet.tell(b"groups", REGROUP1, ujson.dumps({**said, "joined": False}).encode())
    assert fleet.reached() == {"h/0"}


def noted(fleet: Fleet, worker: str) -> list[tuple[int, bool]]:
    answers = [bus.decode_numbered(frames) for frames in fleet.messages(bus.NOTED1, worker)]
    return [(number, "again" in body) for number, body in answers]


def tell(fleet: Fleet, worker: str, number: int, **news: object) -> None:
    fleet.say(worker, bus_members.encode_members(MembersNews(number=number, **news)))  # type: ignore[arg-type]


def test_what_has_a_number_is_noted(fleet: Fleet) -> None:
    fleet.all_told()
    assert noted(fleet, "h/0") == []  # of an older version
    tell(fleet, "h/0", 7, anew=True, groups=["team"], whole=Epoch(1 << 61, 1))
    tell(fleet, "h/0", 8, uids=["u"])
    assert noted(fleet, "h/0") == [(7, False), (8, False)]
    assert fleet.reached() == fleet.reached("u", to="user") == {"h/0"}


def test_a_worker_of_which_a_message_is_missing_may_have_anybody(fleet: Fleet) -> None:
    fleet.all_told()
    whole = Epoch(1 << 61, 1)
    tell(fleet, "h/0", 7, anew=True, groups=["team", "old"], whole=whole)
    assert fleet.reached("other") == set()
    tell(fleet, "h/0", 9, groups_gone=["team"])
    tell(fleet, "h/0", 10, whole=whole)
    assert noted(fleet, "h/0") == [(7, False), (9, True), (10, True)]
    assert fleet.reached("other") == {"h/0"}
    tell(fleet, "h/0", 11, anew=True, groups=["team"])
    assert fleet.reached("other") == {"h/0"}
    tell(fleet, "h/0", 12, whole=whole)
    assert noted(fleet, "h/0")[3:] == [(11, False), (12, False)]
    assert fleet.reached("other") == fleet.reached("old") == set()
    assert fleet.reached() == {"h/0"}


def test_numbers_begin_with_a_message_that_says_so(fleet: Fleet) -> None:
    fleet.all_told()
    tell(fleet, "h/0", 7, anew=True, whole=Epoch(1 << 61, 1))
    fleet.join("h/0", incarnation="b")
    tell(fleet, "h/0", 8, whole=Epoch(1 << 61, 1))
    assert noted(fleet, "h/0") == [(7, False), (8, True)]
    assert fleet.reached() == {"h/0"}


def test_who_is_joining_is_not_forgotten_when_a_message_is_missing(fleet: Fleet) -> None:
    fleet.all_told()
    tell(fleet, "h/0", 7, anew=True, whole=Epoch(1 << 61, 1))
    said = {"group": "team", "tokens": ["t"], "uids": [], "joined": True}
    fleet.tell(b"groups", REGROUP1, ujson.dumps(said).encode())
    tell(fleet, "h/0", 9)
    tell(fleet, "h/0", 10, anew=True, whole=Epoch(1 << 61, 1))
    assert "h/0" in fleet.reached()
    tell(fleet, "h/0", 11, regrouped={"team": 1})
    assert "h/0" not in fleet.reached()


def test_two_join_one_after_the_other(fleet: Fleet) -> None:
    """What a worker says of the first is nothing about the second."""
    fleet.all_told()
    for token in ("t", "u"):
        said = {"group": "team", "tokens": [token], "uids": [], "joined": True}
        fleet.tell(b"groups", REGROUP1, ujson.dumps(said).encode())
    fleet.say("h/0", bus_members.encode_members(MembersNews(regrouped={"team": 1})))
    fleet.say("h/1", bus_members.encode_members(MembersNews(regrouped={"team": 2})))
    fleet.say("h/2", bus_members.encode_members(MembersNews(groups=["team"], regrouped={"team": 2})))
    assert fleet.reached() == {"h/0", "h/2"}
    fleet.join("h/0", incarnation="b")
    fleet.told("h/0")
    fleet.say("h/0", bus_members.encode_members(MembersNews(regrouped={"team": 5})))
    assert fleet.reached() == {"h/2"}


def test_clients_of_whom_nobody_knows_the_groups_may_be_in_any(fleet: Fleet) -> None:
    fleet.all_told()
    fleet.say("h/1", bus_members.encode_members(MembersNews(unknown=True)))
    assert fleet.reached() == {"h/1"}
    assert fleet.reached(to="user") == set()
    fleet.say("h/1", bus_members.encode_members(MembersNews(groups=["other"])))
    assert fleet.reached() == {"h/1"}
    fleet.say("h/1", bus_members.encode_members(MembersNews(unknown=False)))
    assert fleet.reached() == set()


def test_a_worker_that_cannot_ask_leaves_members_out(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"], h1=["team"])
    fleet.reached()
    fleet.counts("h/0", matched=0, unknown=7, blind=1)
    fleet.counts("h/1", matched=0)
    assert fleet.outcome() == (Outcome.UNAVAILABLE, {"workers": 2, "incomplete": True})
    fleet.reached()
    fleet.counts("h/0", matched=0, unknown=7, blind=1)
    fleet.counts("h/1", matched=1, sent=1)
    assert fleet.outcome() == (Outcome.SENT, {"workers": 2, "matched": 1, "sent": 1, "incomplete": True})


def test_whether_there_is_such_a_group_is_asked_where_nobody_got_it(fleet: Fleet) -> None:
    fleet.all_told()
    fleet.serve(b"groups", Topic(*internal(Internal.GROUP_MEMBERS)))
    for answer, said in (({"exists": True}, None), ({"exists": False}, False), ({}, None)):
        fleet.reached()
        assert fleet.answers() == []
        (call,) = fleet.given(b"groups")
        assert msgpack.unpackb(call.body) == {"group": "team", "most": 1}
        fleet.give_back(b"groups", call, 0, msgpack.packb({"tokens": [], **answer}))
        _, _, outcomes, detail = fleet.answer()
        assert (outcomes, ujson.loads(detail).get("exists")) == (bytes([Outcome.OFFLINE]), said)
    for code, body in ((1, b""), (0, b"\xc1")):
        fleet.reached()
        fleet.give_back(b"groups", fleet.given(b"groups")[0], code, body)
        assert fleet.outcome() == (Outcome.OFFLINE, {})
    fleet.reached(timeout_ms=1000)
    fleet.advance(1.5)
    assert fleet.outcome() == (Outcome.OFFLINE, {})


def test_a_repeat_is_answered_from_memory(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"])
    fleet.hello(b"news")
    assert fleet.reached(id="1") == {"h/0"}
    fleet.counts("h/0", matched=1, sent=1)
    first = fleet.outcome()
    assert fleet.reached(id="1") == set()
    assert fleet.outcome() == first


def test_what_is_to_be_stored_is_pushed_to_each_member(fleet: Fleet) -> None:
    fleet.all_told(h0=["team"])
    for options in ({"ttl": 60}, {"wait": "acked"}):
        assert fleet.reached(**options) == set()
        assert fleet.outcome()[0] is Outcome.UNAVAILABLE  # there is no group service here


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (b"", "is empty"),
        (b"t" * 256, "of 256 bytes exceeds the limit of 255"),
        (b"a\n", "contains control characters"),
        ("a\u0085".encode(), "contains control characters"),
        (b"a\xff", "is not UTF-8"),
    ],
)
@pytest.mark.parametrize("to", ["user", "group"])
@pytest.mark.parametrize("options", [{}, {"ttl": 60}, {"wait": "acked"}, {"id": "1"}])
def test_what_is_no_name_is_refused(fleet: Fleet, name: bytes, fault: str, to: str, options: dict[str, object]) -> None:
    fleet.all_told()
    fleet.hello(b"news")
    for _ in range(2):  # with an id the second time from memory
        fleet.ask(*push2(b"r1", [(name, b"x")], to=to, **options))
        _, _, outcomes, detail = fleet.answer()
        told = ujson.loads(detail)
        assert (outcomes, told) == (bytes([Outcome.REFUSED]), {"matched": 0, "reason": f"name of the {to} {fault}"})
    assert fleet.messages(bus.ALL1) == []
    assert fleet.core.unanswered == 0


def test_of_a_push_to_all_no_name_is_looked_at(fleet: Fleet) -> None:
    assert fleet.reached("", to="all") == set(NAMES)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"groups":[]}',
        b'{"groups":{"add":"x"}}',
        b'{"uids":{"remove":[1]}}',
        b'{"whole":true}',
        b'{"whole":[1]}',
        b'{"whole":["1",2]}',
        b'{"regrouped":["team"]}',
        b'{"regrouped":{"team":"x"}}',
        b'{"number":"1"}',
        b'{"number":-1}',
    ],
)
def test_what_is_malformed_is_counted(fleet: Fleet, body: bytes) -> None:
    with pytest.raises(BusError):
        bus_members.decode_members([bus.MEMBERS1, body])
    fleet.say("h/0", [bus.MEMBERS1, body])
    assert fleet.count("bus_errors") == 1


@pytest.mark.parametrize("frame", [b"", b"[]", b"{}", b'{"token":"x"}', b'{"group":1}', b'{"group":"a","uid":"b"}'])
def test_a_target_that_is_none(frame: bytes) -> None:
    frames = bus.encode_fan_out(Epoch(1, 1), 1, bus.Segment(1, 0, bytes(16), 4, 0), b"x")
    with pytest.raises(BusError):
        bus.decode_fan_out([*frames, frame])


NEWS = st.builds(
    MembersNews,
    *[st.lists(st.text(), max_size=3)] * 4,
    whole=st.none() | st.builds(Epoch, st.integers(0, 1 << 62), st.integers(0, 1 << 30)),
    unknown=st.none() | st.booleans(),
    regrouped=st.dictionaries(st.text(), st.integers(1, 9), max_size=2),
    number=st.none() | st.integers(0, (1 << 63) - 1),
)


@given(NEWS)
def test_what_is_told_is_heard(news: MembersNews) -> None:
    assert bus_members.decode_members(bus_members.encode_members(news)) == news


@given(st.sampled_from(["group", "uid"]), st.text())
def test_a_target_is_heard(kind: str, name: str) -> None:
    target = Target(kind, name)
    frames = bus.encode_fan_out(Epoch(1, 1), 7, bus.Segment(1, 0, bytes(16), 4, 0), b"x", target)
    assert bus.decode_fan_out(frames).target == target
    assert bus.is_targeted(frames)


STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove", "begin"]), st.sampled_from("ab"), st.sampled_from("xyz")))


@given(STEPS)
def test_a_worker_with_members_is_never_left_out(steps: list[tuple[str, str, str]]) -> None:
    """Whatever it tells in whatever order."""
    memberships = Memberships(Membership(Settings(), 1, 0, 0.0, Outbox()), Outbox())
    workers = {name: Worker(name.encode(), 0.0) for name in "ab"}
    has: dict[str, set[str]] = {name: set() for name in workers}
    for step, name, group in steps:
        worker = workers[name]
        if step == "begin":
            memberships.begin(worker.identity)
            memberships.tell(worker, bus_members.encode_members(MembersNews(groups=sorted(has[name]))), 0.0)
        elif step == "add":
            has[name].add(group)
            memberships.tell(worker, bus_members.encode_members(MembersNews(groups=[group])), 0.0)
        else:
            has[name].discard(group)
            memberships.tell(worker, bus_members.encode_members(MembersNews(groups_gone=[group])), 0.0)
    for name, worker in workers.items():
        for group in has[name]:
            assert memberships.may_have(worker, Target("group", group))
        memberships.tell(worker, bus_members.encode_members(MembersNews(whole=Epoch(9, 9))), 0.0)
    assert {
        (name, group)
        for name in workers
        for group in "xyz"
        if memberships.may_have(workers[name], Target("group", group))
    } == {(name, group) for name in workers for group in has[name]}


def test_workers_of_older_versions_get_none() -> None:
    fleet = DrivenCore("h/0")
    fleet.ask(*push2(b"r1", [(b"team", b"x")], to="group"))
    assert fleet.messages(bus.ALL1) == []
