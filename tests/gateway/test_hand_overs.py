import array
import contextlib
import itertools
import os
import resource
import socket

import msgpack
import pytest

from gateway.connections import Protocol, State, encode_record
from gateway.hand_over_messages import Give, Hello, Moved, Taken, decode, encode
from gateway.peers import PeerListener
from shared.outcomes import Outcome
from tests.gateway.holders import EPOCH, idle
from tests.gateway.parts import descriptors, turns, until


def test_clients_change_hands_and_notice_nothing(holders):
    giver, taker = holders
    pairs = [giver.bound(number) for number in range(250)]
    for _, connection in pairs:
        giver.hand_overs.give(connection, "h/1")
    assert (giver.loop.table.count, giver.hand_overs.count, giver.hand_overs.moving) == (0, 250, 250)
    until(lambda: idle(giver))
    assert [connection.token for connection in taker.arrivals] == [b"t%d" % number for number in range(250)]
    assert all(connection.fd == -1 for _, connection in pairs)
    assert (giver.counters["handed_over"], taker.counters["taken_over"]) == (250, 250)
    for number, (end, _) in enumerate(pairs):
        end.say(3, message_id=number)
    for number, (end, _) in enumerate(pairs):
        text = b"%d;" % number
        assert end.take(len(text)) == text


def test_what_one_turn_gives_goes_in_one_message(holders, monkeypatch):
    giver, taker = holders
    messages = []
    receive = taker.hand_overs.receive
    taker.listener._receive = lambda link, message, fds: (messages.append(message), receive(link, message, fds))
    for number in range(150):
        giver.hand_overs.give(giver.bound(number)[1], "h/1")
    until(lambda: idle(giver))
    assert messages.pop(0) == Hello("h/0")
    assert [len(message.records) for message in messages] == [100, 50]
    assert {message.epoch for message in messages} == {EPOCH}


def test_what_has_not_been_written_goes_along(holders):
    """900 KiB: longer than a message, so in a memfd."""
    giver, taker = holders
    end, connection = giver.clients.connect(buffer=1)
    size = sent = 0
    outcome = Outcome.SENT
    while size < 900 << 10:
        outcome = giver.loop.write(connection, bytes([sent % 251]) * 5000)
        size, sent = len(connection.output or b""), sent + 1
    assert outcome == Outcome.BUFFERED
    connection.protocol, connection.state = Protocol.V2, State.BINDING
    before = descriptors()
    giver.hand_overs.give(connection, "h/1")
    until(lambda: taker.arrivals and idle(giver))
    assert end.take(5000 * sent) == b"".join(bytes([number % 251]) * 5000 for number in range(sent))
    until(lambda: taker.arrivals[0].output is None)
    links = 2
    assert len(descriptors()) == len(before) + links


def test_long_and_short_records_in_one_message(holders):
    giver, taker = holders
    for number in range(20):
        _, connection = giver.bound(number)
        if number % 3 == 0:
            connection.input = bytearray(b"%d" % number * 10_000)
        giver.hand_overs.give(connection, "h/1")
    until(lambda: idle(giver))
    for number, connection in enumerate(taker.arrivals):
        assert connection.token == b"t%d" % number
        assert connection.input == (b"%d" % number * 10_000 if number % 3 == 0 else None)


def test_the_refused_come_back(holders):
    giver, taker = holders
    taker.refuses = lambda connection: int(connection.token[1:]) % 2
    pairs = [giver.bound(number) for number in range(10)]
    for _, connection in pairs:
        giver.hand_overs.give(connection, "h/1")
    until(lambda: idle(giver))
    assert giver.returned == [connection for _, connection in pairs[1::2]]
    assert (giver.counters["handed_over"], taker.counters["taken_over"]) == (5, 5)
    assert giver.loop.table.count == taker.loop.table.count == 5
    for number, (end, _) in enumerate(pairs):
        end.say(3, message_id=number)
        assert end.take(2) == b"%d;" % number


def test_one_line_tells_that_a_worker_cannot_be_called(holders, caplog):
    """Its clients are tried again many times a second."""
    giver, taker = holders
    path = taker.listener._path
    taker.listener.close()
    with caplog.at_level("INFO"):
        for number in range(5):
            giver.hand_overs.give(giver.bound(number)[1], "h/1")
            until(lambda number=number: len(giver.returned) == number + 1)
        assert len(caplog.records) == 1
        taker.listener = PeerListener(path, taker.hand_overs.receive, taker.hand_overs.lost)
        giver.hand_overs.give(giver.returned[0], "h/1")
        until(lambda: taker.arrivals and idle(giver))
        taker.listener.close()
        until(lambda: giver.links_lost)
        giver.hand_overs.give(giver.returned[1], "h/1")
        until(lambda: len(giver.returned) == 6)
    assert [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()] == [
        "worker h/1 does not take clients: No such file or directory"
    ] * 2


def test_nobody_listens_there(holders):
    giver, taker = holders
    taker.listener.close()
    _, connection = giver.bound(1)
    giver.hand_overs.give(connection, "h/1")
    until(lambda: giver.returned)
    assert idle(giver)
    giver.hand_overs.give(giver.bound(2)[1], "unheard of")
    until(lambda: len(giver.returned) == 2)


def test_one_that_cannot_come_back_does_not_keep_the_others(holders):
    giver, taker = holders
    giver.clients.expect_internal_errors = True
    taker.listener.close()
    giver.breaks = lambda connection: connection.token == b"t0"
    _, broken = giver.bound(0)
    for connection in (broken, *[giver.bound(number)[1] for number in (1, 2)]):
        giver.hand_overs.give(connection, "h/1")
    until(lambda: len(giver.returned) == 2)
    assert idle(giver)
    os.close(broken.fd)


def test_not_more_messages_are_under_way_than_the_window_lets(holders, mute):
    giver = holders[0]
    for number in range(450):
        giver.hand_overs.give(giver.bound(number)[1], "h/1")
    until(lambda: len(mute.received) == 4)
    turns()
    giver.hand_overs.give(giver.bound(450)[1], "h/1")
    turns()
    assert [len(message.records) for message in mute.received] == [100] * 4
    assert giver.hand_overs.count == 451
    mute.links[0].send(Taken(mute.received[0].number, []))
    until(lambda: len(mute.received) == 5)
    assert len(mute.received[4].records) == 51
    for message in mute.received[1:]:
        mute.links[0].send(Taken(message.number, []))
    until(lambda: idle(giver))
    assert giver.counters["handed_over"] == 451


def test_what_was_not_confirmed_comes_back_when_the_peer_is_gone_for_good(holders, mute):
    giver = holders[0]
    pairs = [giver.bound(number) for number in range(450)]
    for _, connection in pairs:
        giver.hand_overs.give(connection, "h/1")
    until(lambda: len(mute.received) == 4)
    mute.links[0].send(Taken(mute.received[1].number, [3]))
    until(lambda: len(mute.received) == 5)
    mute.close()
    until(lambda: idle(giver))
    assert giver.hand_overs.doubts.count == 0
    confirmed = [connection for _, connection in pairs[100:200]]
    del confirmed[3]
    assert {connection.fd for connection in confirmed} == {-1}
    assert set(giver.returned) == {connection for _, connection in pairs} - set(confirmed)
    assert len(giver.returned) == 351
    assert giver.links_lost == ["h/1"]


def test_after_a_lost_link_the_next_hand_over_calls_again(holders):
    giver, taker = holders
    giver.hand_overs.give(giver.bound(1)[1], "h/1")
    until(lambda: idle(giver))
    taker.listener.links[0].close()
    until(lambda: giver.links_lost)
    giver.hand_overs.give(giver.bound(2)[1], "h/1")
    until(lambda: len(taker.arrivals) == 2 and idle(giver))


def test_a_peer_that_ends_while_it_is_called(holders):
    """Let in by the kernel, accepted by nobody: the clients come back, and the next ones are not lost either."""
    giver, taker = holders
    taker.listener.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(taker.path)
        listener.listen()
        giver.hand_overs.give(giver.bound(1)[1], "h/1")
        turns()
    until(lambda: giver.returned)
    giver.hand_overs.give(giver.bound(2)[1], "h/1")
    until(lambda: len(giver.returned) == 2)
    os.unlink(taker.path)


def test_a_link_that_fails_with_its_first_message(holders):
    """A name that no message can carry: the kernel refuses it, and the clients come back."""
    giver, _ = holders
    giver.ownership.name = "x" * (4 << 20)
    giver.hand_overs.give(giver.bound(1)[1], "h/1")
    until(lambda: giver.returned)
    assert idle(giver)
    giver.ownership.name = "h/0"
    giver.hand_overs.give(giver.returned[0], "h/1")
    until(lambda: idle(giver))
    assert giver.counters["handed_over"] == 1


@contextlib.contextmanager
def only(free):
    """No more than so many descriptors are free."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    numbers = itertools.filterfalse(set(descriptors()).__contains__, itertools.count())
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(numbers, free, None)), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_no_descriptor_is_left_for_a_long_record(holders):
    giver, taker = holders
    giver.hand_overs.give(giver.bound(0)[1], "h/1")
    until(lambda: idle(giver))
    long = [giver.bound(number, input=bytearray(50_000))[1] for number in (1, 2)]
    short = [giver.bound(number)[1] for number in (3, 4)]
    with only(0):
        for connection in (short[0], *long, short[1]):
            giver.hand_overs.give(connection, "h/1")
        until(lambda: idle(giver))
    assert set(giver.returned) >= set(long)
    assert giver.counters["internal_errors"] == 0
    for connection in list(giver.returned):
        giver.hand_overs.give(connection, "h/1")
    until(lambda: idle(giver))
    assert {connection.token for connection in taker.arrivals} == {b"t%d" % number for number in range(5)}


def test_more_arrive_than_descriptors_are_free(holders, caplog):
    """The kernel cuts off those it has no number for (MSG_CTRUNC): all of the message come back."""
    giver, taker = holders
    giver.hand_overs.give(giver.bound(0)[1], "h/1")
    until(lambda: idle(giver))
    pairs = [giver.bound(number) for number in range(1, 20)]
    with only(10):
        for _, connection in pairs:
            giver.hand_overs.give(connection, "h/1")
        until(lambda: idle(giver))
    assert giver.returned == [connection for _, connection in pairs]
    assert "hand-over of 19 clients came with 0 descriptors" in caplog.text
    assert giver.counters["internal_errors"] == taker.counters["internal_errors"] == 0
    for connection in list(giver.returned):
        giver.hand_overs.give(connection, "h/1")
    until(lambda: idle(giver))
    assert len(taker.arrivals) == 20
    for number, (end, _) in enumerate(pairs):
        end.say(3, message_id=number)
        text = b"%d;" % number
        assert end.take(len(text)) == text


def test_no_descriptor_is_left_for_a_link(holders):
    giver, taker = holders
    _, connection = giver.bound(0)
    with only(0):
        giver.hand_overs.give(connection, "h/1")
        until(lambda: giver.returned)
    assert idle(giver)
    giver.hand_overs.give(connection, "h/1")
    until(lambda: taker.arrivals and idle(giver))


@pytest.fixture
def caller(holders):
    """A peer that says what a test wants; joined to the first worker."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(holders[0].path)
    sock.send(encode(Hello("h/1")))
    sock.setblocking(False)
    until(lambda: holders[0].listener.links and holders[0].listener.links[0].worker)
    yield sock
    sock.close()


def give(sock, records, fds):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([encode(Give(7, EPOCH, records))], rights)


def taken(sock):
    def received():
        try:
            return sock.recv(1 << 16)
        except BlockingIOError:
            return None

    return decode(until(received))


def record(holder, number):
    _, connection = holder.bound(number)
    data = encode_record(connection, 0)
    return data, connection.fd


@pytest.mark.parametrize(("records", "fds"), [(2, 1), (1, 2), (1, 0), (3, 2)])
def test_a_count_that_does_not_fit_is_refused_and_nothing_leaks(holders, caller, records, fds):
    there, here = holders
    pairs = [record(here, number) for number in range(3)]
    before = descriptors()
    give(caller, [data for data, _ in pairs[:records]], [fd for _, fd in pairs[:fds]])
    assert taken(caller) == Taken(7, list(range(records)))
    assert (there.arrivals, there.loop.table.count) == ([], 0)
    assert descriptors().keys() == before.keys()


def test_a_record_that_cannot_be_read_is_refused_alone(holders, caller):
    there, here = holders
    pairs = [record(here, number) for number in range(4)]
    pairs[1] = (b"\xc1", pairs[1][1])
    pairs[2] = (msgpack.packb({"protocol": 99, "remaining": 1}), pairs[2][1])
    before = descriptors()
    give(caller, [data for data, _ in pairs], [fd for _, fd in pairs])
    assert taken(caller) == Taken(7, [1, 2])
    assert [connection.token for connection in there.arrivals] == [b"t0", b"t3"]
    assert len(descriptors()) == len(before) + 2


def test_a_long_record_without_its_file(holders, caller):
    """A descriptor that is no memfd, or an empty one, in its place."""
    there, here = holders
    (data, fd), (_, other) = record(here, 0), record(here, 1)
    empty = os.memfd_create("empty")
    before = descriptors()
    give(caller, [None, None, data], [fd, other, fd, empty, fd])
    assert taken(caller) == Taken(7, [0, 1])
    assert [connection.token for connection in there.arrivals] == [b"t0"]
    assert len(descriptors()) == len(before) + 1
    os.close(empty)


def test_an_answer_to_nothing(holders, caller):
    there, here = holders
    caller.send(encode(Taken(99, [])))
    caller.send(encode(Taken(98, [5])))
    data, fd = record(here, 0)
    give(caller, [data], [fd])
    assert taken(caller) == Taken(7, [])
    assert there.hand_overs.count == 0


def test_an_answer_that_names_what_was_not_given(holders, mute):
    giver = holders[0]
    pairs = [giver.bound(number) for number in range(2)]
    for _, connection in pairs:
        giver.hand_overs.give(connection, "h/1")
    until(lambda: mute.received)
    mute.links[0].send(Taken(mute.received[0].number, [1, 2, -1]))
    until(lambda: idle(giver))
    assert giver.returned == [pairs[1][1]]
    assert pairs[0][1].fd == -1


def test_descriptors_with_a_message_that_needs_none_are_closed(holders, caller):
    there, here = holders
    _, fd = record(here, 0)
    before = descriptors()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    caller.sendmsg([encode(Moved("h/1", EPOCH))], rights)
    until(lambda: there.moves)
    assert there.moves == [("h/1", Moved("h/1", EPOCH))]
    assert descriptors().keys() == before.keys()


def test_moved_is_said_to_all_others(holders):
    giver, taker = holders
    giver.hand_overs.say_moved()
    until(lambda: taker.moves)
    assert taker.moves == [("h/0", Moved("h/0", EPOCH))]
    assert giver.moves == []


def test_only_bound_clients_count_as_moving(holders, mute):
    giver = holders[0]
    _, binding = giver.bound(1)
    giver.loop.table.release(binding)
    binding.state = State.BINDING
    giver.hand_overs.give(binding, "h/1")
    giver.hand_overs.give(giver.bound(2)[1], "h/1")
    assert (giver.hand_overs.count, giver.hand_overs.moving) == (2, 1)
    until(lambda: mute.received)
    mute.links[0].send(Taken(mute.received[0].number, [0, 1]))
    until(lambda: len(giver.returned) == 2)
    assert idle(giver)


def test_both_give_at_once(holders):
    one, other = holders
    pairs = [(holder, *holder.bound(number)) for number, holder in enumerate(holders * 120)]
    for holder, _, connection in pairs:
        holder.hand_overs.give(connection, "h/1" if holder is one else "h/0")
    until(lambda: idle(one, other))
    assert (len(one.arrivals), len(other.arrivals)) == (120, 120)
    for number, (_, end, _) in enumerate(pairs):
        end.say(3, message_id=number)
        text = b"%d;" % number
        assert end.take(len(text)) == text


def test_the_time_left_goes_along(holders):
    giver, taker = holders
    taker.loop.wheel.tick += 5000
    _, connection = giver.bound(1)
    giver.loop.wheel.schedule(connection, giver.loop.wheel.tick + 33)
    giver.hand_overs.give(connection, "h/1")
    until(lambda: taker.arrivals and idle(giver))
    assert taker.arrivals[0].deadline - taker.loop.wheel.tick == 33


def test_a_record_of_the_next_version_keeps_its_fields_on_the_way(holders, caller, mute):
    there, here = holders
    data, fd = record(here, 0)
    fields = msgpack.unpackb(data) | {"version": 2, "mood": ["good", 1]}
    give(caller, [msgpack.packb(fields)], [fd])
    until(lambda: there.arrivals)
    there.hand_overs.give(there.arrivals[0], "h/1")
    until(lambda: mute.received)
    assert msgpack.unpackb(mute.received[0].records[0])["mood"] == ["good", 1]
    mute.links[0].send(Taken(mute.received[0].number, []))
    until(lambda: idle(there))
