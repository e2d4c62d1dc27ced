import msgpack
import pytest
import ujson

from gateway import presences as module
from gateway.presences import Presences
from shared.calls import ASK1, TOLD1, TOPICS1, Internal, decode_call, encode_answer, internal
from shared.signals import PublishError
from tests.gateway.parts import until

TOPIC = internal(Internal.PRESENCE)
LEASE_MS = 3000


class Telling:
    """A worker's parts that tell who is bound; the presence service is the test's."""

    def __init__(self, parts):
        self.parts = parts
        self.presences = Presences(
            parts.loop,
            parts.calls,
            parts.landing.hand_overs.away,
            worker=parts.name,
            incarnation="x",
            lease_ms=LEASE_MS,
        )
        parts.loop.table.bound = self.presences.bound
        parts.conversations.closed_for = self.presences.ended
        parts.landing.unbound, parts.landing.given = self.presences.unbound, self.presences.given
        parts.ring(1, [parts])
        self.answered = 0

    def serve(self, is_there=True):
        """The service comes, or goes."""
        topics = [[*TOPIC, True]] if is_there else []
        self.parts.hear([TOPICS1, ujson.dumps({"topics": topics}).encode()])

    def reports(self):
        """All that have been told."""
        return [decode_call(frames) for frames in self.parts.said if frames[0] == ASK1]

    def report(self, code=0):
        """The next one, once it is told; it is answered."""
        until(lambda: len(self.reports()) > self.answered)
        call = self.reports()[self.answered]
        self.answered += 1
        self.parts.hear(encode_answer(TOLD1, call.number, code))
        return msgpack.unpackb(call.body)

    def come(self, token, **options):
        return self.parts.bound(token, **options)

    def go(self, end, connection):
        end.close()
        until(lambda: connection.fd < 0)


@pytest.fixture
def one(worker):
    return Telling(worker())


def tokens(report):
    """(token, reason) of its changes; None: it has come."""
    return [(token, rest[-1] if is_end else None) for is_end, token, *rest in report["changes"]]


def test_the_whole_first_and_then_what_changes(one):
    _, first = one.come(b"first", uid="u")
    one.serve()
    one.parts.advance()
    whole = one.report()
    assert (whole["op"], whole["worker"], whole["term"], whole["number"]) == ("report", "h/0", "x.1", 1)
    assert (whole["begin"], whole["end"], whole["lease_ms"]) == (True, True, LEASE_MS)
    told = [False, "first", "u", "v2", "test", first.binding, "h/0", 0]
    assert whole["changes"] == [told]
    end, second = one.come(b"second")
    assert tokens(one.report()) == [("second", None)]
    one.go(end, second)
    ended = one.report()
    assert ended["changes"] == [[True, "second", None, "v2", "test", second.binding, "h/0", 0, "peer_closed"]]
    assert (ended["term"], ended["number"], "begin" in ended) == ("x.1", 3, False)


def test_changes_while_a_report_is_under_way_come_together_behind_it(one):
    one.serve()
    one.parts.advance()
    end, there = one.come(b"a")
    one.come(b"b")
    one.go(end, there)
    assert len(one.reports()) == 1
    assert tokens(one.report()) == []
    assert tokens(one.report()) == [("a", None), ("b", None), ("a", "peer_closed")]


def test_who_went_before_a_service_was_there_is_told_before_the_whole(one):
    """Another worker's predecessor may have told of it; and it may have come back since."""
    end, gone = one.come(b"gone")
    one.come(b"stays")
    one.go(end, gone)
    one.come(b"gone")
    one.serve()
    one.parts.advance()
    first, *rest = tokens(one.report())
    assert first == ("gone", "peer_closed")
    assert sorted(rest) == [("gone", None), ("stays", None)]


def test_who_went_before_the_whole_comes_in_parts_too(one, monkeypatch):
    monkeypatch.setattr(module, "REPORT_MAX", 2)
    for number in range(3):
        one.go(*one.come(b"gone-%d" % number))
    one.come(b"a")
    one.come(b"b")
    one.serve()
    one.parts.advance()
    parts = [one.report()]
    one.go(*one.come(b"late"))
    parts += [one.report(), one.report()]
    assert [(part["begin"], part["end"]) for part in parts] == [(True, False), (False, False), (False, True)]
    told = [change for part in parts for change in tokens(part)]
    assert told[:3] == [(f"gone-{number}", "peer_closed") for number in range(3)]
    assert sorted(told[3:]) == [("a", None), ("b", None)]
    assert tokens(one.report()) == [("late", None), ("late", "peer_closed")]


def test_a_report_before_the_whole_that_fails_is_told_again_in_order(one, monkeypatch):
    monkeypatch.setattr(module, "REPORT_MAX", 2)
    for number in range(3):
        one.go(*one.come(b"gone-%d" % number))
    one.serve()
    one.parts.advance()
    one.report(1)
    one.go(*one.come(b"gone-3"))
    one.parts.advance()
    told = [change for part in (one.report(), one.report()) for change in tokens(part)]
    assert told == [(f"gone-{number}", "peer_closed") for number in range(4)]


def test_nothing_is_gathered_where_nobody_can_know(one):
    one.parts.advance(2 * LEASE_MS // 1000 + 1)
    end, gone = one.come(b"gone")
    one.go(end, gone)
    one.serve()
    one.parts.advance()
    assert tokens(one.report()) == []
    one.parts.advance(LEASE_MS // 1000)
    assert tokens(one.report()) == []  # a renewal of the lease
    assert len(one.reports()) == 2


def test_a_lease_is_renewed_in_time(one):
    one.serve()
    one.parts.advance()
    one.report()
    one.parts.advance()
    renewal = one.report()
    assert (renewal["changes"], renewal["number"]) == ([], 2)


@pytest.mark.parametrize("code", [1, PublishError.NOBODY_KNOWS])
def test_a_report_that_fails_is_followed_by_the_whole(one, code):
    one.serve()
    one.parts.advance()
    one.report()
    end, gone = one.come(b"a")
    assert tokens(one.report()) == [("a", None)]
    one.come(b"b")
    assert tokens(one.report()) == [("b", None)]
    one.go(end, gone)
    assert tokens(one.report(code)) == [("a", "peer_closed")]
    one.parts.advance()
    whole = one.report()
    assert (whole["term"], whole["number"], whole["begin"]) == ("x.2", 1, True)
    assert tokens(whole) == [("a", "peer_closed"), ("b", None)]
    assert one.parts.counters["presence_failures"] == 1


def test_the_whole_in_parts(one, monkeypatch):
    monkeypatch.setattr(module, "REPORT_MAX", 2)
    clients = [one.come(b"%d" % number) for number in range(5)]
    one.serve()
    one.parts.advance()
    parts = [one.report()]
    end, gone = clients[4] if ("4", None) not in tokens(parts[0]) else clients[0]
    one.go(end, gone)  # it has not been told of yet
    one.come(b"late")
    parts += [one.report(), one.report()]
    assert [(part["begin"], part["end"]) for part in parts] == [(True, False), (False, False), (False, True)]
    assert {part["term"] for part in parts} == {"x.1"}
    told = [token for part in parts for token, _ in tokens(part)]
    assert sorted(told) == sorted({"0", "1", "2", "3", "4"} - {gone.token.decode()})
    assert tokens(one.report()) == [(gone.token.decode(), "peer_closed"), ("late", None)]


def test_more_than_may_wait_is_told_anew(one, monkeypatch):
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    one.serve()
    one.parts.advance()
    for number in range(5):
        one.come(b"%d" % number)
    assert one.parts.counters["presence_overflows"] == 1
    assert tokens(one.report()) == []
    whole = one.report()
    assert (whole["term"], sorted(tokens(whole))) == ("x.2", [(str(number), None) for number in range(5)])


def test_a_service_that_goes_and_comes_back(one):
    one.serve()
    one.parts.advance()
    one.report()
    one.serve(False)
    end, gone = one.come(b"a")
    one.come(b"b")
    one.go(end, gone)
    one.parts.advance()
    assert len(one.reports()) == 1
    one.serve()
    one.parts.advance()
    assert tokens(one.report()) == [("a", "peer_closed"), ("b", None)]


def test_before_the_end_all_is_told(one):
    one.serve()
    one.parts.advance()
    one.report()
    done = []
    end, gone = one.come(b"a")
    one.go(end, gone)
    one.presences.finish(lambda: done.append(True))
    assert tokens(one.report()) == [("a", None)]
    assert not done
    assert tokens(one.report()) == [("a", "peer_closed")]
    until(lambda: done)


def test_a_worker_does_not_wait_for_ever_to_end(one):
    one.serve()
    one.parts.advance()
    done = []
    one.presences.finish(lambda: done.append(True))
    one.parts.advance(3)
    until(lambda: done)
    assert len(one.reports()) == 1  # unanswered


def test_without_a_service_a_worker_ends_at_once(one):
    end, gone = one.come(b"a")
    one.go(end, gone)
    done = []
    one.presences.finish(lambda: done.append(True))
    assert done


def test_a_client_that_loses_its_token(one):
    one.serve()
    one.parts.advance()
    one.report()
    _, connection = one.come(b"a")
    one.report()
    one.parts.landing._unbind(connection)
    assert tokens(one.report()) == [("a", "rebound")]


def test_who_was_given_away_is_told_a_lease_later(one):
    one.serve()
    one.parts.advance()
    one.report()
    _, connection = one.come(b"a")
    [told] = one.report()["changes"]
    one.presences.given(connection)
    for _ in range(LEASE_MS // 1000):
        one.parts.advance()
        assert one.report()["changes"] == []
    one.parts.advance()
    assert one.report()["changes"] == [[True, *told[1:], "given"]]


def test_who_was_given_away_is_not_said_to_have_gone_while_nobody_could_hear_its_holder(one):
    """Its holder's whole may come behind this one's."""
    one.serve()
    one.parts.advance()
    one.report()
    _, connection = one.come(b"a")
    one.report()
    one.presences.given(connection)
    one.parts.hear([TOPICS1, ujson.dumps({"topics": []}).encode()])
    one.parts.loop.table.release(connection)
    one.parts.advance(LEASE_MS // 1000 + 2)
    one.serve()
    one.parts.advance()
    while one.answered < len(one.reports()):
        assert tokens(one.report()) == []


def test_more_that_were_given_away_than_may_wait_are_told_by_the_whole(one, monkeypatch):
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    one.serve()
    one.parts.advance()
    one.report()
    _, connection = one.come(b"a")
    one.report()
    for _ in range(2):
        one.presences.given(connection)
    one.parts.advance()
    assert one.report()["term"] == "x.2"
    for _ in range(LEASE_MS // 1000 + 2):
        one.parts.advance()
        assert ("a", "given") not in tokens(one.report())
