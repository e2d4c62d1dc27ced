"""gateway/doubts.py: who has a client whose GIVE was not confirmed. First by itself, then between workers."""

import array
import os
import socket
from pathlib import Path

import pytest

from gateway.connections import encode_record
from gateway.doubts import Doubts
from gateway.hand_over_messages import Ask, Give, Have, Hello, Taken, decode, encode
from gateway.hand_overs import HandOvers
from gateway.ledgers import new_id
from gateway.peers import PeerListener
from shared.reasons import CloseReason
from tests.gateway.holders import EPOCH, idle
from tests.gateway.parts import descriptors, turns, until

# --- by themselves


class Link:
    def __init__(self):
        self.said = []

    def send(self, message):
        self.said.append(message)


class Doubting:
    """Doubts of a worker whose links a test makes."""

    def __init__(self, made):
        self.clients = made
        self.links, self.given, self.back, self.gone = {}, [], [], set()
        self.doubts = Doubts(made.loop, self.links.get, self.settle)
        self.doubts.is_gone = self.gone.__contains__

    def settle(self, given, back):
        self.given += given
        self.back += back

    def passing(self, count, worker="h/1"):
        """So many clients in doubt."""
        added = [self.clients.connect()[1] for _ in range(count)]
        for connection in added:
            self.clients.loop.ledger.passing(connection.fd, 1, new_id())
        self.doubts.add(worker, added)
        return added

    def id_of(self, connection):
        return self.clients.loop.ledger.passing_id_of(connection.fd)


@pytest.fixture
def doubting(clients):
    made = Doubting(clients())
    yield made
    made.links.clear()
    made.gone |= {"h/1", "h/2"}
    until(lambda: not made.doubts.count)


def test_what_the_peer_has_is_given_and_the_rest_comes_back(doubting):
    link = doubting.links["h/1"] = Link()
    one, two, three = doubting.passing(3)
    until(lambda: link.said)
    (ask,) = link.said
    assert ask == Ask([doubting.id_of(each) for each in (one, two, three)])
    doubting.doubts.answered("h/1", Have(ask.ids, ask.ids[1:2]))
    assert (doubting.given, doubting.back) == ([two], [one, three])
    assert doubting.doubts.count == 0


def test_nothing_in_doubt_asks_nothing(doubting):
    link = doubting.links["h/1"] = Link()
    doubting.doubts.add("h/1", [])
    turns()
    assert link.said == []


def test_more_than_one_message_may_ask_of(doubting):
    link = doubting.links["h/1"] = Link()
    numbers = range(1, 2501)  # the ledger's ids of so many clients
    known = dict.fromkeys(numbers)
    doubting.doubts._by_worker["h/1"] = dict(known)
    doubting.doubts._schedule(0)
    until(lambda: len(link.said) == 3)
    assert [len(ask.ids) for ask in link.said] == [1000, 1000, 500]
    assert [number for ask in link.said for number in ask.ids] == list(numbers)
    for left, ask in zip((1500, 500, 0), link.said, strict=True):
        doubting.doubts.answered("h/1", Have(ask.ids, []))
        assert doubting.doubts.count == left
    assert len(doubting.back) == 2500


def test_nobody_answers_until_the_worker_starts_again(doubting):
    (one,) = doubting.passing(1)
    turns(40)
    assert (doubting.given, doubting.back, doubting.doubts.count) == ([], [], 1)
    link = doubting.links["h/1"] = Link()
    until(lambda: link.said)
    doubting.doubts.answered("h/1", Have(link.said[0].ids, link.said[0].ids))
    assert doubting.given == [one]


def test_a_worker_that_is_gone_for_good_has_nothing(doubting):
    added = doubting.passing(2)
    doubting.gone.add("h/1")
    until(lambda: not doubting.doubts.count)
    assert (doubting.given, doubting.back) == ([], added)


def test_another_link_is_asked_again_and_the_same_one_is_not(doubting):
    first = doubting.links["h/1"] = Link()
    doubting.passing(1)
    until(lambda: first.said)
    turns(40)
    assert len(first.said) == 1
    second = doubting.links["h/1"] = Link()
    until(lambda: second.said)
    assert second.said == first.said


def test_those_that_come_later_are_asked_for_too(doubting):
    link = doubting.links["h/1"] = Link()
    (one,) = doubting.passing(1)
    until(lambda: link.said)
    (two,) = doubting.passing(1)
    until(lambda: len(link.said) == 2)
    assert link.said[1] == Ask([doubting.id_of(one), doubting.id_of(two)])
    doubting.doubts.answered("h/1", Have(link.said[0].ids, []))
    doubting.doubts.answered("h/1", Have(link.said[1].ids, link.said[1].ids))
    assert (doubting.given, doubting.back) == ([two], [one])


def test_workers_are_asked_apart(doubting):
    links = {name: Link() for name in ("h/1", "h/2")}
    doubting.links |= links
    (one,), (two,) = doubting.passing(1), doubting.passing(1, "h/2")
    until(lambda: all(link.said for link in links.values()))
    assert [link.said for link in links.values()] == [[Ask([doubting.id_of(one)])], [Ask([doubting.id_of(two)])]]
    doubting.doubts.answered("h/2", Have(links["h/1"].said[0].ids, []))  # not that one's to tell
    assert doubting.doubts.count == 2


def test_an_answer_to_nothing(doubting):
    doubting.doubts.answered("h/1", Have([5], [5]))
    doubting.passing(1)
    doubting.doubts.answered("h/1", Have([5], [5]))
    assert (doubting.given, doubting.back, doubting.doubts.count) == ([], [], 1)


# --- between workers


def give_again(holder, path):
    """A new hand-over socket in the place of one that has ended."""
    return PeerListener(Path(path), holder.hand_overs.receive, holder.hand_overs.lost)


def test_a_peer_that_dies_before_it_has_read(holders):
    """Its successor denies: the client is served here again."""
    giver, taker = holders
    giver.gone = False
    taker.listener.close()
    end, connection = giver.bound(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(taker.path)
        listener.listen()
        giver.hand_overs.give(connection, "h/1")
        turns()
    until(lambda: giver.links_lost)
    turns(40)
    assert giver.hand_overs.doubts.count == 1
    assert giver.hand_overs.away == {b"t1": connection}
    assert giver.returned == []
    os.unlink(taker.path)
    taker.listener = give_again(taker, taker.path)
    until(lambda: giver.returned)
    assert idle(giver)
    end.say(3, message_id=5)
    assert end.take(2) == b"5;"
    assert taker.arrivals == []


def dies_before_it_confirms(taker, monkeypatch):
    """The worker's link ends when it has taken what comes, before it has said so."""

    def take(giver, message, fds):
        HandOvers._take(taker.hand_overs, giver, message, fds)
        monkeypatch.undo()
        for link in list(taker.listener.links):
            link._fail(None)
        raise ConnectionError

    monkeypatch.setattr(taker.hand_overs, "_take", take)


def test_a_peer_that_has_taken_and_not_confirmed(holders, monkeypatch):
    giver, taker = holders
    giver.gone = False
    pairs = [giver.bound(number) for number in range(3)]
    dies_before_it_confirms(taker, monkeypatch)
    for _, connection in pairs:
        giver.hand_overs.give(connection, "h/1")
    until(lambda: giver.links_lost and idle(giver))
    assert giver.returned == []
    assert len(taker.arrivals) == 3
    assert giver.counters["handed_over"] == 3
    for number, (end, connection) in enumerate(pairs):
        assert connection.fd == -1
        end.say(3, message_id=number)
        assert end.take(2) == b"%d;" % number


@pytest.mark.parametrize("still", [True, False], ids=["served", "ended"])
def test_its_successor_knows_by_the_ledger(holders, monkeypatch, still):
    """Also of a client that has ended meanwhile: the giver must not serve it once more."""
    giver, taker = holders
    giver.gone = False
    end, connection = giver.bound(1)
    dies_before_it_confirms(taker, monkeypatch)
    giver.hand_overs.give(connection, "h/1")
    until(lambda: taker.arrivals)
    if not still:
        taker.loop.destroy(taker.arrivals[0], CloseReason.KICKED)
    taker.hand_overs._accepted.clear()  # the successor has it from the ledger alone
    taker.hand_overs.known = taker.loop.ledger.ended()
    until(lambda: idle(giver))
    assert giver.returned == []
    assert connection.fd == -1
    if still:
        end.say(3, message_id=5)
        assert end.take(2) == b"5;"
    else:
        assert end.rest() == b""


def test_a_client_that_was_there_before_is_not_taken_for_one_that_is_there_now(holders, monkeypatch):
    """Given, given back, given again: the last GIVE is lost with the link, and the first one says nothing about it."""
    one, other = holders
    one.gone = other.gone = False
    end, connection = one.bound(1)
    one.hand_overs.give(connection, "h/1")
    until(lambda: other.arrivals and idle(one))
    other.hand_overs.give(other.arrivals[0], "h/0")
    until(lambda: one.arrivals and idle(other))
    other.hand_overs.known = other.loop.ledger.ids() | other.loop.ledger.ended()
    (link,) = other.listener.links
    link._reader.stop()
    one.hand_overs.give(one.arrivals[0], "h/1")
    turns()
    link._fail(None)
    until(lambda: one.returned and idle(one))
    assert len(other.arrivals) == 1
    end.say(3, message_id=5)
    assert end.take(2) == b"5;"


def joined(path):
    """A link as h/1 makes it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    sock.send(encode(Hello("h/1")))
    sock.setblocking(False)
    return sock


def heard(sock):
    """The next message on a link, or None."""
    try:
        return decode(sock.recv(1 << 16))
    except BlockingIOError:
        return None


def test_who_asks_is_answered_when_its_broken_link_has_been_read(holders):
    """What was given over the broken link may still wait there to be read."""
    worker, other = holders
    first = joined(worker.path)
    until(lambda: worker.listener.links and worker.listener.links[0].worker)
    broken = worker.listener.links[0]
    broken._reader.stop()  # this worker is busy
    _, connection = other.bound(1)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fd]))]
    first.sendmsg([encode(Give(7, EPOCH, [encode_record(connection, 0)], [1234]))], rights)
    first.close()
    second = joined(worker.path)
    second.send(encode(Ask([1234, 99])))
    until(lambda: len(worker.listener.links) == 2)
    turns(40)
    assert heard(second) is None
    broken._reader.start(broken._readable)
    assert until(lambda: heard(second)) == Have([1234, 99], [1234])
    assert [arrival.token for arrival in worker.arrivals] == [b"t1"]
    second.close()


def test_one_that_asked_and_has_gone_is_forgotten(holders):
    worker, _ = holders
    first = joined(worker.path)
    until(lambda: worker.listener.links and worker.listener.links[0].worker)
    second = joined(worker.path)
    second.send(encode(Ask([5])))
    until(lambda: worker.hand_overs._asked)
    second.close()
    until(lambda: len(worker.listener.links) == 1)
    assert worker.hand_overs._asked == []
    first.send(encode(Ask([6])))
    assert until(lambda: heard(first)) == Have([6], [])
    first.close()


def test_a_confirmation_that_was_sent_before_the_end_counts(holders, mute):
    """It waits in the socket; what was not confirmed is in doubt."""
    giver = holders[0]
    giver.gone = False
    pairs = [giver.bound(number) for number in range(150)]
    for _, connection in pairs:
        giver.hand_overs.give(connection, "h/1")
    until(lambda: len(mute.received) == 2)
    mute.links[0].send(Taken(mute.received[0].number, []))
    mute.listener.links[0].close()
    until(lambda: giver.links_lost)
    assert giver.counters["handed_over"] == 100
    assert giver.hand_overs.doubts.count == 50
    until(lambda: len(mute.received) == 3)
    ids = [giver.loop.ledger.passing_id_of(connection.fd) for _, connection in pairs[100:]]
    assert mute.received[2] == Ask(ids)
    mute.links[-1].send(Have(ids, ids[:49]))
    until(lambda: idle(giver))
    assert giver.returned == [pairs[149][1]]
    assert giver.counters["handed_over"] == 149


def test_nothing_stays_open_behind_doubts(holders, mute):
    giver = holders[0]
    before = len(descriptors())
    giver.hand_overs.give(giver.bound(1)[1], "h/1")
    until(lambda: mute.received)
    mute.close()
    until(lambda: idle(giver))
    giver.loop.destroy(giver.returned[0], CloseReason.KICKED)
    assert len(descriptors()) <= before


def test_a_successor_remembers_by_which_hand_overs_its_clients_came(holders, monkeypatch):
    """Though it has given one on since, under another id: whoever asks late must not serve that client once more."""
    giver, taker = holders
    giver.gone = False
    _, connection = giver.bound(1)
    dies_before_it_confirms(taker, monkeypatch)
    giver.hand_overs.give(connection, "h/1")
    until(lambda: taker.arrivals)
    taker.hand_overs._accepted.clear()
    taker.hand_overs.known = taker.loop.ledger.ids()
    taken = taker.arrivals[0]
    taker.loop.ledger.passing(taken.fd, 2, new_id())
    taker.loop.destroy(taken, CloseReason.KICKED)
    taker.clients.connect()  # its descriptor, and so its slot, is another's now
    until(lambda: idle(giver))
    assert giver.returned == []
    assert connection.fd == -1
