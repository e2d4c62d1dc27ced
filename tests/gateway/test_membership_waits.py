"""Clients that are told that they are bound when routers know of them; what becomes of messages that are lost."""

import json
import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import membership_waits
from gateway.actions import Bind
from gateway.connections import Connection, Protocol, State
from gateway.groups import Groups
from gateway.membership_asks import PATIENCE_TICKS
from gateway.membership_waits import MembershipWaits
from gateway.memberships import Memberships
from gateway.ownership import Ownership
from router.members import Worker
from router.membership import Membership
from router.memberships import Memberships as RouterMemberships
from router.outbox import Outbox
from shared import bus, bus_members, bus_rings
from shared.bus import Target
from shared.outcomes import Outcome
from shared.reasons import CloseReason
from shared.rings import Epoch
from shared.settings import Settings
from shared.signals import Signal
from tests.gateway.parts import turns, until
from tests.gateway.test_deliveries import read
from tests.gateway.test_memberships import Service, members, push, regroup


def make_noting(parts, *routers):
    """These routers note what they are told."""
    for router in routers:
        parts.abilities[router] = {"members": True, "notes": True}
    parts.alive(*routers)
    for router in routers:
        note(parts, router)


def news_of(parts, router=0):
    """Every MEMBERS1 that a router was told."""
    turns()
    return [bus_members.decode_members(frames) for frames in parts.told[router] if frames[0] == bus.MEMBERS1]


def note(parts, router=0, again=False):
    """A router says that it has noted the last message, or that it misses something before."""
    number = news_of(parts, router)[-1].number
    parts.hear(bus.encode_numbered(bus.NOTED1, number, {"again": True} if again else {}), router)
    turns()


def subscribe(parts, token, uid=None):
    end, connection = parts.connect()
    end.say(Signal.SUB, {"token": token, **({"uid": uid} if uid else {})})
    until(lambda: connection.state == State.BOUND)
    return end, connection


def status(end):
    return json.loads(end.packet().body)["status"]


@pytest.fixture
def one(worker):
    """A worker without a group service: its clients may be in any group, as routers know."""
    parts = worker(routers=2)
    parts.alive(1)
    parts.ring(1, [parts])
    make_noting(parts, 0, 1)
    parts.advance(PATIENCE_TICKS)
    note(parts, 0)
    note(parts, 1)
    return parts


def test_who_is_new_to_routers_is_answered_when_all_of_them_know(one):
    end, _ = subscribe(one, "a", "alice")
    assert end.quiet()
    assert [list(news_of(one, router)[-1].uids) for router in (0, 1)] == [["alice"]] * 2
    note(one, 1)
    assert end.quiet()
    note(one, 0)
    assert status(end) == 200


def test_who_is_known_already_is_answered_at_once(one):
    first, _ = subscribe(one, "a", "alice")
    note(one, 0)
    note(one, 1)
    assert status(first) == 200
    before = len(news_of(one))
    assert status(subscribe(one, "b", "alice")[0]) == 200
    assert status(subscribe(one, "c")[0]) == 200
    assert len(news_of(one)) == before


def test_all_that_come_in_one_turn_share_one_message(one):
    before = len(news_of(one))
    ends = []
    for number in range(10):
        end, connection = one.connect()
        ends.append(end)
        connection.uid, connection.protocol = f"u{number}", Protocol.V2
        one.landing.bind(connection, Bind(b"t%d" % number, 0, False))
    assert len(news_of(one)) == before + 1
    note(one, 0)
    note(one, 1)
    assert [end.quiet() for end in ends] == [False] * 10


def test_that_its_groups_are_not_known_is_noted_first(one):
    service = Service(one)
    service.serve()
    service.answer()
    one.advance()
    note(one, 0)
    note(one, 1)
    assert news_of(one)[-1].unknown is False
    end, _ = subscribe(one, "a")
    assert news_of(one)[-1].unknown is True
    assert end.quiet()
    service.groups = {"a": ["team"]}
    service.answer()
    assert (list(news_of(one)[-1].groups), news_of(one)[-1].unknown) == (["team"], False)
    note(one, 0)
    note(one, 1)
    assert status(end) == 200


def test_what_is_pushed_meanwhile_goes_behind_the_answer(one):
    end, connection = subscribe(one, "a", "alice")
    assert one.push((b"a", b"first")) == [Outcome.BUFFERED]
    push(one, 1, b"second", Target("uid", "alice"))
    assert one.counted(1)["buffered"] == 1
    end.say(Signal.PING)
    assert end.quiet()
    note(one, 0)
    note(one, 1)
    assert status(end) == 200
    assert [read(end, 2) for _ in range(2)] == [b"first", b"second"]
    assert end.packet().signal == Signal.PING
    assert connection.output is None
    assert one.push((b"a", b"third")) == [Outcome.SENT]


def test_another_uid_of_one_that_is_bound(one):
    end, connection = subscribe(one, "a", "alice")
    note(one, 0)
    note(one, 1)
    assert status(end) == 200
    connection.uid = "bob"
    one.landing.bind(connection, Bind(b"a", 0, False))
    assert end.quiet()
    note(one, 0)
    note(one, 1)
    assert status(end) == 200


def test_routers_that_are_not_heard_are_not_waited_for(one):
    one.advance(3, silent=[1])
    note(one, 0)
    end, _ = subscribe(one, "a", "alice")
    note(one, 0)
    assert status(end) == 200
    one.advance(3, silent=[0])
    assert status(subscribe(one, "b", "bob")[0]) == 200


def test_routers_of_an_older_version_are_not_waited_for(one):
    one.abilities = {0: {"members": True}, 1: {"members": True}}
    one.alive(0, 1)
    before = len(one.told[0])
    end, connection = one.connect()
    connection.uid, connection.protocol = "alice", Protocol.V2
    one.landing.bind(connection, Bind(b"a", 0, False))  # and no turn of the hub
    assert [frames[0] for frames in one.told[0][before:]] == [bus.MEMBERS1]
    assert status(end) == 200


def test_a_router_that_does_not_note_it_is_not_waited_for_for_ever(one, monkeypatch):
    monkeypatch.setattr(membership_waits, "_WAIT_S", 0.01)
    end, _ = subscribe(one, "a", "alice")
    note(one, 0)
    assert status(end) == 200
    assert one.counters["members_unnoted"] == 1
    note(one, 1)
    assert end.quiet()


def test_what_does_not_fit_meanwhile_is_no_reason_to_close_it(one):
    end, connection = subscribe(one, "a", "alice")
    size = one.settings.out_buffer_bytes // 2 + 1
    assert one.push((b"a", b"x" * size), (b"a", b"y" * size)) == [Outcome.BUFFERED, Outcome.OVERLOADED]
    one.advance(one.settings.slow_consumer_s - 1)
    note(one, 0)
    note(one, 1)
    assert status(end) == 200
    assert read(end, 2) == b"x" * size
    one.advance(2)
    assert connection.fd >= 0


def test_one_that_is_closed_meanwhile_is_answered_first(one):
    end, connection = subscribe(one, "a", "alice")
    one.loop.close(connection, CloseReason.KICKED, b"last words")
    assert status(end) == 200
    assert end.rest() == b"last words"
    other, gone = subscribe(one, "b", "bob")
    one.loop.destroy(gone, CloseReason.KICKED)
    note(one, 0)
    note(one, 1)
    assert other.rest() == b""


def test_one_that_is_read_no_more_still_waits(one):
    end, connection = subscribe(one, "a", "alice")
    one.loop.pause(connection)
    one.loop.resume(connection)
    assert end.quiet()
    one.loop.let_go(connection)  # and comes back: then nothing holds it up any longer
    one.loop.adopt_again(connection, 600)
    assert status(end) == 200


# --- what is lost


def test_a_router_that_misses_something_is_told_everything_anew(one):
    subscribe(one, "a", "alice")
    note(one, 0)
    end, _ = subscribe(one, "b", "bob")
    note(one, 1)
    note(one, again=True)
    assert status(end) == 200  # it reckons with anybody now
    news = news_of(one)[-1]
    assert (news.anew, set(news.uids), news.whole) == (True, {"alice", "bob"}, Epoch(1, 1))
    assert one.counters["members_told_again"] == 1
    before = len(news_of(one))
    one.hear(bus.encode_numbered(bus.NOTED1, news.number - 1, {"again": True}))
    assert len(news_of(one)) == before  # it said so before it heard


def test_what_is_not_noted_is_followed_by_another_message(one):
    subscribe(one, "a", "alice")
    note(one, 1)
    before = news_of(one)[-1].number
    one.advance(2)
    last = news_of(one)[-1]
    assert (last.number, last.uids) == (before + 1, [])
    note(one, 0)
    one.advance(3)
    assert news_of(one)[-1].number == last.number


def test_what_could_not_be_sent_goes_as_soon_as_the_link_takes_messages(one, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(one.told[0], "send", lambda frames: False)
        end, _ = subscribe(one, "a", "alice")
        turns()
    note(one, 1)
    one.alive(1)
    assert members(one)[1] == set()
    one.memberships.freed(0)
    assert members(one)[1] == {"alice"}
    note(one, 0)
    assert status(end) == 200


def test_a_regroup_is_told_to_have_been_seen_to_when_that_can_be_sent(one, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(one.told[0], "send", lambda frames: False)
        regroup(one)
        turns()
    assert members(one)[2]["regrouped"] == {}
    one.advance()
    assert members(one)[2]["regrouped"] == {"team": 1}


def test_a_client_that_is_back_before_the_next_tick_is_no_news(one):
    _, connection = subscribe(one, "a", "alice")
    note(one, 0)
    note(one, 1)
    before = len(news_of(one))
    one.loop.destroy(connection, CloseReason.PEER_CLOSED)
    assert status(subscribe(one, "a", "alice")[0]) == 200
    one.advance()
    assert len(news_of(one)) == before


@pytest.mark.parametrize("body", [b"", b"[]"])
def test_a_note_that_is_none(one, body):
    one.hear([bus.NOTED1, bytes(8), body])
    assert one.counters["bus_errors"] == 1


# --- any loss


class Loop:
    """A client loop whose turns end when the test says so."""

    def __init__(self):
        self.due, self.ticks, self.counters = [], [], {"members_told_again": 0, "members_unnoted": 0}

    def soon(self, callback):
        self.due.append(callback)

    def later(self, seconds, callback):
        if not seconds:
            self.due.append(callback)

    def each_tick(self, callback):
        self.ticks.append(callback)

    def turn(self):
        for _ in range(5):
            due, self.due = self.due, []
            for callback in due:
                callback()


class Lossy:
    """A worker's memberships and a router's, and a link between them that loses what the test says."""

    heard = (0,)

    def __init__(self):
        self.loop, self.groups, self.outbox = Loop(), Groups(), Outbox()
        ownership = Ownership("h/0")
        ownership.follow(bus_rings.RingNews(Epoch(1, 1), {"h/0": ""}, {}))
        self.there = Memberships(self.loop, ownership, self, self.groups, (), first=7)
        MembershipWaits(self.loop, self.there, lambda connection: None)
        membership = Membership(Settings(), 1, 0, 0.0, self.outbox)
        self.router, self.worker = RouterMemberships(membership, self.outbox), Worker(b"h/0", 0.0)
        self.under_way, self.back, self.takes = [], [], True
        self.here = {}
        self.router.begin(b"h/0")
        self.there.ready(0)
        self.there.notes(0, True)
        self.flow()

    def send(self, router, frames):
        if self.takes:
            self.under_way.append(frames)
        return self.takes

    def arrive(self):
        if self.under_way:
            self.router.tell(self.worker, self.under_way.pop(0), 0.0)
        self.back += [frames for _, frames in self.outbox.to_workers]
        self.outbox.to_workers.clear()

    def hear(self):
        if self.back:
            number, body = bus.decode_numbered(self.back.pop(0))
            self.there.noted(0, number, bool(body.get("again")))

    def flow(self):
        """Nothing is lost for a while."""
        self.loop.turn()
        while self.under_way or self.back:
            self.arrive()
            self.hear()
            self.loop.turn()

    def lose(self, waiting):
        with suppress(IndexError):
            waiting.pop(0)

    def bind(self, name):
        if name not in self.here:
            connection = self.here[name] = Connection(len(self.here), "test")
            connection.uid = name
            self.groups.bound(connection)
            self.groups.unknown.add(connection)
            self.there.tell()

    def go(self, name):
        connection = self.here.pop(name, None)
        if connection:
            self.groups.released(connection)
            self.there.changed()

    def learn(self, name):
        if name in self.here:
            self.groups.unknown.discard(self.here[name])
            self.there.changed()

    def tick(self):
        for callback in self.loop.ticks:
            callback(0)

    def may_have(self, kind, name):
        return self.router.may_have(self.worker, Target(kind, name))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["bind", "bind", "go", "learn"]), st.sampled_from("abc")),
        st.tuples(
            st.sampled_from(["turn", "arrive", "hear", "flow", "flow", "tick", "lose", "lose note", "full", "free"])
        ),
    ),
    min_size=5,
    max_size=50,
)


@settings(max_examples=300)
@given(STEPS)
def test_no_client_is_answered_of_whom_a_router_might_not_know(steps):
    """Whatever is lost, and whenever the link takes nothing; and in the end the router knows just what is."""
    link = Lossy()
    doing = {
        "turn": link.loop.turn,
        "arrive": link.arrive,
        "hear": link.hear,
        "flow": link.flow,
        "tick": link.tick,
        "lose": lambda: link.lose(link.under_way),
        "lose note": lambda: link.lose(link.back),
        "full": lambda: setattr(link, "takes", False),
        "free": lambda: (setattr(link, "takes", True), link.there.freed(0)),
        "bind": link.bind,
        "go": link.go,
        "learn": link.learn,
    }
    for step, *name in steps:
        doing[step](*name)
        for uid, connection in link.here.items():
            if not link.there.ignorant(connection):
                assert link.may_have("uid", uid)
                assert link.may_have("group", "any") or connection not in link.groups.unknown
    link.takes = True
    for _ in range(6):
        link.tick()
        link.flow()
    assert {uid for uid in "abc" if link.may_have("uid", uid)} == set(link.here)
    assert link.may_have("group", "any") == bool(link.groups.unknown)


def test_nobody_waits_for_a_router_that_has_noted_all(one):
    """Between the notes of two routers a second client of a user comes."""
    first, _ = subscribe(one, "a", "alice")
    assert first.quiet()
    note(one, 0)
    second, _ = subscribe(one, "b", "alice")
    assert second.quiet()
    note(one, 1)
    assert (status(first), status(second)) == (200, 200)
    assert not one.counters["members_unnoted"]


def test_nobody_waits_for_a_note_that_comes_in_the_same_turn(one):
    one.abilities[1] = {"members": True, "notes": False}
    one.alive(1)
    first, _ = subscribe(one, "a", "alice")
    number = news_of(one)[-1].number
    second, connection = one.connect()
    answer = one.landing.answer

    def answer_behind_the_note(*arguments):
        answer(*arguments)
        one.handlers.receive(0, bus.encode_numbered(bus.NOTED1, number, {}))

    one.landing.answer = answer_behind_the_note
    second.say(Signal.SUB, {"token": "b", "uid": "alice"})
    until(lambda: connection.state == State.BOUND)
    turns()
    assert (status(first), status(second)) == (200, 200)
    assert not one.counters["members_unnoted"]


def test_an_answer_waits_behind_an_earlier_one_that_waits(one):
    """Nothing flows before routers know of the second user, too."""
    end, connection = subscribe(one, "a", "alice")
    first = news_of(one)[-1].number
    connection.uid = "bob"
    one.landing.bind(connection, Bind(b"a", 0, False))
    assert news_of(one)[-1].number > first
    for router in (0, 1):
        one.hear(bus.encode_numbered(bus.NOTED1, first, {}), router)
    assert end.quiet()
    note(one, 0)
    note(one, 1)
    assert (status(end), status(end)) == (200, 200)


def test_who_says_nothing_more_gets_its_answer(one):
    """It has ended its own side; the answer goes with the end of ours."""
    end, connection = subscribe(one, "a", "alice")
    end.socket.shutdown(socket.SHUT_WR)
    until(lambda: connection.fd < 0)
    assert status(end) == 200
    assert end.rest() == b""
