"""What a worker finds out about groups, and what it tells of them; pushes to groups in one worker."""

import msgpack
import pytest
import ujson

from gateway.membership_asks import CARRIED, PACKED, PATIENCE_TICKS, TRUST_TICKS
from gateway.memberships import PIECE
from shared import bus, bus_members
from shared.bus import Segment, Target
from shared.calls import ASK1, REGROUP1, TOLD1, TOPICS1, Internal, decode_call, encode_answer, internal
from shared.outcomes import Outcome
from shared.reasons import CloseReason
from shared.rings import Epoch
from tests.gateway.parts import turns, until
from tests.gateway.test_deliveries import bind, read

TEAM = Target("group", "team")


class Service:
    """The group service of a test: knows groups by token and by uid, and answers when told to."""

    def __init__(self, parts):
        self.parts, self.groups, self.answered = parts, {}, 0

    def serve(self, *topics):
        topics = topics or [[*internal(Internal.GROUPS_OF), True]]
        self.parts.hear([TOPICS1, ujson.dumps({"topics": topics}).encode()])

    def leave(self):
        self.parts.hear([TOPICS1, b'{"topics":[]}'])

    def asked(self):
        """Calls that are not answered yet."""
        turns()
        calls = [decode_call(frames) for frames in self.parts.said if frames[0] == ASK1]
        return calls[self.answered :]

    def answer(self, code=0):
        """Answer everything that is asked; whom it was about."""
        about = []
        while calls := self.asked():
            for call in calls:
                clients = msgpack.unpackb(call.body)["clients"]
                about += clients
                found = [[*self.groups.get(token, ()), *self.groups.get(uid, ())] for token, uid in clients]
                self.answered += 1
                self.parts.hear(encode_answer(TOLD1, call.number, code, msgpack.packb({"groups": found})))
            if code:
                break
        turns()
        return about


@pytest.fixture
def one(worker):
    parts = worker()
    parts.ring(1, [parts])
    return parts


@pytest.fixture
def service(one):
    made = Service(one)
    made.serve()
    return made


def members(parts, router=0):
    """What a router believes after all that it was told."""
    turns()
    names, flags = {"group": set(), "uid": set()}, {"whole": None, "unknown": False, "regrouped": {}}
    for frames in parts.told[router]:
        if frames[0] == bus.READY1:
            names, flags = {"group": set(), "uid": set()}, {"whole": None, "unknown": False, "regrouped": {}}
        elif frames[0] == bus.MEMBERS1:
            news = bus_members.decode_members(frames)
            names["group"] = (names["group"] | set(news.groups)) - set(news.groups_gone)
            names["uid"] = (names["uid"] | set(news.uids)) - set(news.uids_gone)
            flags["whole"] = news.whole or flags["whole"]
            flags["unknown"] = flags["unknown"] if news.unknown is None else news.unknown
            flags["regrouped"] |= news.regrouped
    return names["group"], names["uid"], flags


def know(parts, routers=(0,)):
    for router in routers:
        parts.hear(bus.encode_control(bus.ALIVE1, {"router": router, "members": True}), router)


def push(parts, number, payload=b"x", target=TEAM, **options):
    segment = Segment(1, options.get("flags", 0), options.get("prefix", bytes(16)), 4, 0)
    parts.hear(bus.encode_fan_out(Epoch(1, 1), number, segment, payload, target))


def regroup(parts, joined=True, tokens=(), uids=(), group="team", router=0):
    said = {"group": group, "tokens": list(tokens), "uids": list(uids), "joined": joined}
    parts.hear([REGROUP1, ujson.dumps(said).encode()], router)


def some(counts):
    return {key: value for key, value in counts.items() if value}


# --- telling


def test_users_and_groups_are_told_as_clients_come_and_go(one, service):
    know(one)
    service.groups = {"a": ["team"], "alice": ["team", "other"]}
    _, first = one.bound(b"a", uid="alice")
    assert members(one)[1:] == ({"alice"}, {"whole": Epoch(1, 1), "unknown": True, "regrouped": {}})
    assert service.answer() == [["a", "alice"]]
    assert members(one) == (
        {"team", "other"}, {"alice"}, {"whole": Epoch(1, 1), "unknown": False, "regrouped": {}}
    )  # fmt: skip
    one.loop.destroy(first, CloseReason.KICKED)
    one.advance()
    assert members(one)[:2] == (set(), set())


def test_routers_are_told_before_a_client_is_told_that_it_is_bound(one, service):
    know(one)
    turns()
    before = len(one.said)
    _, connection = one.connect()
    connection.uid = "u"
    one.loop.table.bind(connection, b"a")  # and no turn of the hub
    (news,) = [bus_members.decode_members(frames) for frames in one.said[before:] if frames[0] == bus.MEMBERS1]
    assert (list(news.uids), news.unknown) == (["u"], True)


def test_an_older_router_is_told_nothing(one, service):
    one.bound(b"a", uid="alice")
    service.answer()
    one.advance(3)
    assert not one.heard(bus.MEMBERS1)


def test_a_router_that_asks_is_told_everything_in_pieces(one, service):
    know(one)
    for number in range(5):
        service.groups[f"t{number}"] = [f"g{at}" for at in range(1000 * number, 1000 * (number + 1))]
        bind(one, b"t%d" % number)
    service.answer()
    one.hear(bus.encode_control(bus.WHO1, {}))
    one.said[:] = [frames for frames in one.said if frames[0] != bus.MEMBERS1]
    until(lambda: members(one)[2]["whole"])
    assert members(one)[0] == {f"g{number}" for number in range(5000)}
    told = one.heard(bus.MEMBERS1)
    assert [len(body.get("groups", {}).get("add", ())) for body in told] == [PIECE, PIECE, 1000]
    assert ["whole" in body for body in told] == [False, False, True]


def test_groups_are_known_only_when_the_last_piece_is_told(one, service):
    know(one)
    for number in range(5):
        service.groups[f"t{number}"] = [f"g{at}" for at in range(1000 * number, 1000 * (number + 1))]
        bind(one, b"t%d" % number)
    turns()
    one.said[:] = [frames for frames in one.said if frames[0] != bus.MEMBERS1]
    service.answer()
    until(lambda: members(one)[0] >= {"g0", "g4999"})
    assert [body.get("unknown") for body in one.heard(bus.MEMBERS1)] == [None, None, False]


def test_a_router_that_was_away_may_have_told_something_meanwhile(one, service):
    """REGROUP1 that it could not send."""
    know(one)
    bind(one, b"a")
    service.answer()
    service.groups["a"] = ["team"]
    one.hear(bus.encode_control(bus.WHO1, {"known": True}))
    assert members(one)[2]["unknown"]
    assert service.answer() == [["a", None]]
    assert members(one)[0] == {"team"}
    assert not members(one)[2]["unknown"]


def test_nothing_is_said_to_be_gone_while_a_client_may_come_back(one, service):
    know(one)
    service.groups = {"a": ["team"]}
    _, first = bind(one, b"a")
    service.answer()
    one.landing.hand_overs.away[b"b"] = first
    one.loop.table.release(first)
    assert members(one)[0] == {"team"}
    one.landing.hand_overs.away.clear()
    one.advance()
    assert members(one)[0] == set()


def test_what_could_not_be_sent_is_told_anew(one, service, monkeypatch):
    know(one)
    turns()
    monkeypatch.setattr(one.routers, "send", lambda router, frames: False)
    bind(one, b"a")
    turns()
    monkeypatch.undo()
    service.groups = {"a": ["team"]}
    one.advance(2)
    service.answer()
    one.advance()
    assert members(one)[0] == {"team"}
    assert members(one)[2]["unknown"] is False


# --- asking


def test_many_are_asked_for_at_once_the_newest_first(one, service):
    for number in range(1200):
        bind(one, b"t%d" % number)
    (first,) = service.asked()
    assert len(msgpack.unpackb(first.body)["clients"]) == 500
    assert msgpack.unpackb(first.body)["clients"][0] == ["t1199", None]
    assert len(service.answer()) == 1200
    assert not one.fan_outs.groups.unknown
    assert one.counters["group_asks"] == 3


@pytest.mark.parametrize("code", [1, 3])
def test_an_answer_that_is_none_is_asked_for_again(one, service, code):
    service.groups = {"a": ["team"]}
    _, connection = bind(one, b"a")
    service.answer(code)
    assert one.counters["group_ask_failures"] == 1
    assert connection in one.fan_outs.groups.unknown
    one.advance()
    assert service.answer() == [["a", None]]
    assert one.fan_outs.groups.groups_of(connection) == ("team",)


@pytest.mark.parametrize("body", [b"", b"\xc1", msgpack.packb({"groups": []}), msgpack.packb({"groups": [[1]]})])
def test_an_answer_that_makes_no_sense(one, service, body):
    bind(one, b"a")
    (call,) = service.asked()
    one.hear(encode_answer(TOLD1, call.number, 0, body))
    assert one.counters["group_ask_failures"] == 1


def test_who_has_another_token_meanwhile_is_asked_for_again(one, service):
    service.groups = {"a": ["team"], "b": ["other"]}
    _, connection = bind(one, b"a")
    (call,) = service.asked()
    assert msgpack.unpackb(call.body) == {"clients": [["a", None]]}
    one.loop.table.release(connection)
    connection.binding += 1
    one.loop.table.bind(connection, b"b")
    assert service.answer() == [["a", None], ["b", None]]
    assert one.fan_outs.groups.groups_of(connection) == ("other",)


def test_a_service_that_comes_back_is_asked_for_everybody(one, service):
    bind(one, b"a")
    bind(one, b"b")
    service.answer()
    service.leave()
    service.groups = {"a": ["team"]}
    service.serve()
    assert {token for token, _ in service.answer()} == {"a", "b"}
    assert one.fan_outs.groups.has(TEAM)


def test_without_a_service_nothing_is_kept(one):
    know(one)
    for number in range(10):
        bind(one, b"t%d" % number)
    one.advance(PATIENCE_TICKS)
    groups = one.fan_outs.groups
    assert groups.blind
    assert not groups.unknown
    assert members(one)[2]["unknown"] is True
    bind(one, b"later")
    assert not groups.unknown
    push(one, 1)
    assert some(one.counted(1)) == {"blind": 1}
    service = Service(one)
    service.serve()
    assert len(service.answer()) == 11
    assert members(one)[2]["unknown"] is False


# --- REGROUP1


def test_members_join_and_leave(one, service):
    know(one)
    ends = [one.bound(token, uid=uid) for token, uid in ((b"a", "alice"), (b"b", None))]
    service.answer()
    regroup(one, tokens=["b", "nobody"], uids=["alice", "none"])
    assert members(one)[0] == {"team"}
    assert members(one)[2]["regrouped"] == {"team": 1}
    assert set(one.fan_outs.groups.clients_of(TEAM)) == {connection for _, connection in ends}
    regroup(one, joined=False, tokens=["b"])
    assert set(one.fan_outs.groups.clients_of(TEAM)) == {ends[0][1]}
    regroup(one, joined=False, uids=["alice"])
    service.answer()
    one.advance()
    assert members(one)[0] == set()


def test_an_answer_may_be_older_than_what_was_told_meanwhile(one, service):
    service.groups = {"b": ["team"]}
    _, joining = bind(one, b"a")
    _, leaving = bind(one, b"b")
    assert len(service.asked()) == 1
    regroup(one, tokens=["a"])
    regroup(one, joined=False, tokens=["b"])
    (call,) = service.asked()
    one.hear(encode_answer(TOLD1, call.number, 0, msgpack.packb({"groups": [["team"], []]})))
    service.answered += 1
    assert one.fan_outs.groups.clients_of(TEAM) == (joining,)
    service.groups = {}
    assert service.answer() == [["b", None]]  # it may have been in the group by its uid, too
    assert leaving not in one.fan_outs.groups.unknown


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"group":1,"joined":true}',
        b'{"group":"g"}',
        b'{"group":"g","joined":true,"tokens":1}',
        b'{"group":"g","joined":true,"uids":[1]}',
    ],
)
def test_what_is_malformed_is_counted(one, service, body):
    one.hear([REGROUP1, body])
    assert one.counters["bus_errors"] == 1


# --- pushes


def test_a_push_to_a_group_comes_to_its_members(one, service):
    service.groups = {"a": ["team"], "c": ["team"]}
    ends = {name: bind(one, name.encode())[0] for name in "abc"}
    service.answer()
    push(one, 1, b"news")
    assert some(one.counted(1)) == {"matched": 2, "sent": 2}
    assert read(ends["a"], 2) == read(ends["c"], 2) == b"news"
    assert ends["b"].quiet()
    one.fan_out(2, b"all")
    assert one.counted(2)["sent"] == 3
    assert [read(end, 2) for end in ends.values()] == [b"all"] * 3


def test_a_push_to_a_user_comes_to_all_its_clients(one):
    ends = [one.bound(token, uid=uid)[0] for token, uid in ((b"a", "u"), (b"b", "u"), (b"c", "v"))]
    push(one, 1, b"news", Target("uid", "u"))
    assert some(one.counted(1)) == {"matched": 2, "sent": 2}
    assert [end.packet().body for end in ends[:2]] == [b"news"] * 2
    assert ends[2].quiet()


def test_whose_groups_are_not_known_gets_it_when_they_are(one, service):
    service.groups = {"a": ["team"]}
    (end, _), (other, _) = bind(one, b"a"), bind(one, b"b")
    push(one, 1, b"first")
    one.fan_out(2, b"to all")
    push(one, 3, b"second")
    turns()
    assert one.counts(1) is None
    assert one.counted(2)["sent"] == 2
    service.answer()
    assert some(one.counted(1)) == some(one.counted(3)) == {"matched": 1, "sent": 1}
    assert [read(end, 2) for _ in range(3)] == [b"to all", b"first", b"second"]
    assert read(other, 2) == b"to all"
    assert end.quiet()
    assert other.quiet()


def test_counts_do_not_wait_for_ever(one, service):
    service.groups = {"a": ["team"]}
    end, _ = bind(one, b"a")
    bind(one, b"b")
    push(one, 1, b"x", flags=bus.REPEATABLE, prefix=b"p" * 16)
    turns()
    one.advance(2)
    assert some(one.counts(1)) == {"unknown": 2}
    service.answer()
    assert read(end, 2) == b"x"
    push(one, 2, b"x", flags=bus.REPEATABLE, prefix=b"p" * 16)
    assert some(one.counts(2)) == {"matched": 1, "sent": 1}
    assert end.quiet()


def test_who_is_closed_before_that_is_known_is_no_longer_waited_for(one, service):
    _, connection = bind(one, b"a")
    push(one, 1)
    turns()
    one.loop.destroy(connection, CloseReason.KICKED)
    assert some(one.counted(1)) == {}


def test_who_comes_while_it_runs_does_not_get_it(one, service):
    service.groups = {"a": ["team"], "late": ["team"]}
    push(one, 1, b"before")
    end, _ = one.bound(b"late")
    service.answer()
    assert some(one.counted(1)) == {}
    assert end.quiet()


def test_members_that_go_during_a_large_one(one, service):
    ends = {}
    for number in range(1100):
        service.groups[f"t{number}"] = ["team"]
        ends[number] = bind(one, b"t%d" % number)
    service.answer()
    push(one, 1)
    gone = list(one.fan_outs.groups.clients_of(TEAM))[600:]
    for connection in gone:
        one.loop.destroy(connection, CloseReason.KICKED)
    counts = one.counted(1)
    assert counts["sent"] == counts["matched"] == 600


def test_what_is_begun_is_answered_before_a_worker_goes(one, service):
    for number in range(1100):
        bind(one, b"t%d" % number)
    push(one, 1)
    one.fan_out(2, b"x")
    one.handlers.say_gone()
    assert (some(one.counts(1)), one.counts(2)["sent"]) == ({"unknown": 1100}, 1100)
    assert [frames[0] for frames in one.said][-1] == bus.BYE1
    turns()


# --- moving


def test_a_member_that_moves_takes_its_groups_along(one, service, worker):
    service.groups = {"a": ["team"]}
    _, connection = bind(one, b"a")
    bind(one, b"b")
    service.answer()
    one.landing.pack(connection)
    assert connection.extra.keys() == {CARRIED, PACKED}
    assert connection.extra[CARRIED] == ["team"]
    other = worker("h/1")
    know(other)
    _, arrived = other.connect()
    arrived.extra, arrived.token = {**connection.extra, "newer": 1}, b"a"
    other.loop.table.bind(arrived, b"a")
    assert arrived.extra == {"newer": 1}
    assert members(other)[0] == {"team"}
    assert not other.fan_outs.groups.unknown
    again = Service(other)
    again.serve()
    assert again.answer() == [["a", None]]
    assert not other.fan_outs.groups.has(TEAM)  # it has left meanwhile


def test_what_it_has_missed_on_its_way(one, service):
    push(one, 1, b"to the team")
    push(one, 2, b"to others", Target("group", "others"))
    one.fan_out(3, b"to all")
    end, connection = one.connect()
    connection.protocol, connection.extra = 2, {CARRIED: ["team"]}
    one.loop.table.bind(connection, b"a")
    one.fan_outs.catch_up(connection)
    assert [read(end, 2) for _ in range(2)] == [b"to the team", b"to all"]
    one.fan_outs.catch_up(connection)
    assert end.quiet()
    assert connection.fan_out_seen is one.fan_outs.latest


@pytest.mark.parametrize(("joined", "carried"), [(True, []), (False, ["team"])])
def test_who_joins_or_leaves_on_its_way(one, service, joined, carried):
    """No record is trusted for a while: it may be older than what was told."""
    service.groups = {"a": ["team"] if joined else []}
    regroup(one, joined, tokens=["a"])  # it is not here yet
    push(one, 1)
    end, connection = one.connect()
    connection.protocol, connection.extra = 2, {CARRIED: carried}
    one.loop.table.bind(connection, b"a")
    one.fan_outs.catch_up(connection)
    assert end.quiet()
    assert service.answer() == [["a", None]]
    assert read(end, 2) == b"x" if joined else end.quiet()
    one.advance(TRUST_TICKS)
    _, later = one.connect()
    later.extra = {CARRIED: ["team"]}
    one.loop.table.bind(later, b"b")
    assert one.fan_outs.groups.is_of(later, TEAM)


@pytest.mark.parametrize("meanwhile", [False, True])
def test_who_could_not_be_given_is_known_as_before(one, service, meanwhile):
    """Unless something was told of groups while it was on its way."""
    end, connection = bind(one, b"a")
    service.groups = {"a": ["team"]}
    service.answer()
    regroup(one, tokens=["somebody"])  # no record of others is trusted
    one.landing.pack(connection)
    one.loop.table.release(connection)
    push(one, 1)
    if meanwhile:
        regroup(one, tokens=["another"])
    one.loop.table.bind(connection, b"a")
    assert (connection in one.fan_outs.groups.unknown) is meanwhile
    one.fan_outs.catch_up(connection)
    assert end.quiet() if meanwhile else read(end, 2) == b"x"


def test_who_joins_behind_a_push_does_not_get_it_by_moving(one, service):
    end, connection = bind(one, b"a")
    service.answer()
    push(one, 1)
    assert one.counted(1)["matched"] == 0
    regroup(one, tokens=["a"])
    one.fan_outs.catch_up(connection, leaving=True)
    assert connection.fan_out_seen == (1,)
    assert end.quiet()


def test_one_that_moves_before_its_groups_are_known_may_have_missed_it(one, service):
    _, connection = bind(one, b"a")
    push(one, 1)
    turns()
    one.loop.table.release(connection)
    assert some(one.counted(1)) == {"unknown": 1}


def test_outcomes_that_are_no_sent(one, service):
    end, connection = one.bound(b"a", uid="u")
    service.answer()
    push(one, 1, bytes((1 << 20) + 1), Target("uid", "u"))
    assert some(one.counted(1)) == {"matched": 1, Outcome.TOO_LARGE.name.lower(): 1}
    assert end.quiet()
    assert connection.fan_out_seen == (1,)
