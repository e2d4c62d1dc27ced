import os
import socket
import struct

import gevent
import pytest

from gateway.client_loop import READ_BYTES, Hold
from gateway.connections import Connection, State
from shared.errors import BodyError, ProtocolError
from shared.outcomes import Outcome
from shared.packets import Packet, encode_packet
from shared.reasons import CloseReason
from tests.chunks import bytewise
from tests.gateway.parts import AHEAD, End, turns, until

PING = encode_packet(2, Packet(3))
BIG = bytes(range(256)) * 4096


def packet(number, body=b""):
    return encode_packet(2, Packet(9, 0, number, body))


class Recorder:
    """An application that notes what happens, and does what a test says."""

    def __init__(self, loop):
        self.loop = loop
        self.events, self.faults, self.expiries, self.ends = [], [], [], []
        self.act = lambda connection, event: None

    def handle(self, connection, event):
        self.events.append(event)
        self.act(connection, event)

    def fault(self, connection, error):
        self.faults.append((type(error), bytes(connection.input or b"")))
        self.loop.close(connection, error.reason, b"fault")

    def expired(self, connection):
        self.expiries.append(connection)
        self.loop.close(connection, CloseReason.HEARTBEAT_TIMEOUT)

    def closed(self, connection, reason):
        self.ends.append((connection, reason))

    def deadline(self, connection):
        return 30

    @property
    def numbers(self):
        return [event.message_id for event in self.events]


@pytest.fixture
def served(clients):
    """(Clients, Recorder) with the settings named, running."""

    def make(**changes):
        one = clients(**changes)
        recorder = Recorder(one.loop)
        one.loop.start(recorder)
        return one, recorder

    return make


def tcp_pair(one):
    """(client's end, record) over TCP, where resets exist."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    connection = Connection(ours.detach(), "tcp")
    connection.proxied = 1
    one.loop.adopt(connection, 600)
    one.ends.append(End(theirs))
    return one.ends[-1], connection


def gone(one, connection):
    return connection.fd == -1 and connection not in one.loop.table.by_fd


# --- reading


def test_each_packet_is_one_event(served):
    one, recorder = served()
    end, connection = one.connect()
    end.send(b"".join(packet(number, b"x" * number) for number in range(100)))
    until(lambda: len(recorder.events) == 100)
    assert recorder.events == [Packet(9, 0, number, b"x" * number) for number in range(100)]
    assert connection.input is None


def test_bytes_one_at_a_time(served):
    one, recorder = served()
    end, connection = one.connect()
    for byte in bytewise(packet(1, b"abc") + packet(2)):
        end.send(byte)
        turns(2)
    until(lambda: recorder.numbers == [1, 2])
    assert connection.input is None


def test_a_packet_longer_than_one_read(served):
    one, recorder = served()
    end, _ = one.connect()
    end.send(packet(1, BIG) + packet(2))
    until(lambda: recorder.numbers == [1, 2])
    assert recorder.events[0].body == BIG


def test_what_is_not_complete_is_kept(served):
    one, recorder = served()
    end, connection = one.connect()
    end.send(packet(1) + packet(2)[:-1])
    until(lambda: recorder.numbers == [1])
    assert connection.input == packet(2)[:-1]
    end.send(packet(2)[-1:])
    until(lambda: recorder.numbers == [1, 2])


def test_the_peers_end(served):
    one, recorder = served()
    end, connection = one.connect()
    end.close()
    until(lambda: gone(one, connection))
    assert recorder.ends == [(connection, CloseReason.PEER_CLOSED)]
    assert one.counters["close_peer_closed"] == 1


def test_a_reset(served):
    one, recorder = served()
    end, connection = tcp_pair(one)
    end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
    until(lambda: gone(one, connection))
    assert recorder.ends == [(connection, CloseReason.IO_ERROR)]


def test_a_paused_connection_that_is_reset_ends_too(served):
    one, recorder = served()
    end, connection = tcp_pair(one)
    one.loop.pause(connection)
    end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
    until(lambda: gone(one, connection))
    assert recorder.ends == [(connection, CloseReason.IO_ERROR)]


# --- faults


def test_a_fault_of_the_peer_is_the_applications_business(served):
    one, recorder = served()
    end, connection = one.connect()
    end.send(packet(1) + b"GET wrong")
    until(lambda: recorder.faults)
    assert recorder.numbers == [1]
    assert recorder.ends == [(connection, CloseReason.BAD_PROTOCOL)]
    assert end.rest() == b"fault"


def test_a_fault_shows_what_it_was_about(served):
    one, recorder = served()
    first, _ = one.connect()
    first.send(b"GET / wrong\r\n\r\n")
    until(lambda: recorder.faults)
    second, _ = one.connect()
    for byte in bytewise(b"GET / wrong\r\n\r\n"):
        second.send(byte)
        turns(2)
    until(lambda: len(recorder.faults) == 2)
    assert recorder.faults == [(ProtocolError, b"GET / wrong\r\n\r\n")] * 2


def test_a_fault_that_the_application_finds(served):
    one, recorder = served()
    end, _ = one.connect()

    def refuse(connection, event):
        raise BodyError("no")

    recorder.act = refuse
    end.send(packet(1) + packet(2))
    until(lambda: recorder.faults)
    assert recorder.numbers == [1]
    assert one.counters["close_bad_body"] == 1


def test_a_bug_of_ours_costs_one_connection(served, caplog):
    one, recorder = served()
    one.expect_internal_errors = True
    first, broken = one.connect()
    second, _ = one.connect()

    def fail(connection, event):
        if event.message_id == 1:
            raise RuntimeError("bug")

    recorder.act = fail
    first.send(packet(1) + packet(2))
    second.send(packet(3))
    until(lambda: gone(one, broken) and 3 in recorder.numbers)
    assert one.counters["internal_errors"] == 1
    assert recorder.ends == [(broken, CloseReason.INTERNAL_ERROR)]
    assert "RuntimeError: bug" in caplog.text


def test_a_bug_behind_a_hand_over_does_not_touch_what_was_given_away(served):
    one, recorder = served()
    one.expect_internal_errors = True
    end, connection = one.connect()

    def give_and_fail(connection, event):
        connection.state = State.BINDING
        one.loop.let_go(connection)
        raise RuntimeError("bug")

    recorder.act = give_and_fail
    end.send(packet(1))
    until(lambda: one.counters["internal_errors"])
    turns()
    assert (one.counters["internal_errors"], connection.state, recorder.ends) == (1, State.BINDING, [])
    os.close(connection.fd)


# --- what a handler may do to connections


def test_nothing_is_handled_behind_a_close(served):
    one, recorder = served()
    end, connection = one.connect()
    recorder.act = lambda connection, event: one.loop.close(connection, CloseReason.CLIENT_DISCONNECT, b"bye")
    end.send(packet(1) + packet(2))
    assert end.rest() == b"bye"
    assert recorder.numbers == [1]
    assert connection.input is None


def test_a_handler_may_destroy_its_own_connection(served):
    one, recorder = served()
    end, connection = one.connect()
    recorder.act = lambda connection, event: one.loop.destroy(connection, CloseReason.KICKED)
    end.send(packet(1) + packet(2))
    assert end.rest() == b""
    assert (recorder.numbers, gone(one, connection)) == ([1], True)


def test_a_handler_may_destroy_another_that_is_ready_too(served):
    one, recorder = served()
    pairs = [one.connect() for _ in range(5)]

    def destroy_others(connection, event):
        for _, other in pairs:
            if other is not connection:
                one.loop.destroy(other, CloseReason.KICKED)

    recorder.act = destroy_others
    for number, (end, _) in enumerate(pairs):
        end.send(packet(number))
    until(lambda: recorder.events)
    turns()
    assert len(recorder.events) == 1
    assert one.loop.table.count == 1


def test_one_given_away_by_a_handler_keeps_its_unread_input(served):
    one, recorder = served()
    end, connection = one.connect()

    def give(connection, event):
        connection.state = State.BINDING
        one.loop.let_go(connection)

    recorder.act = give
    end.send(packet(1) + packet(2) + packet(3)[:5])
    until(lambda: recorder.events)
    turns()
    assert recorder.numbers == [1]
    assert connection.input == packet(2) + packet(3)[:5]
    assert one.loop.table.count == 0
    os.close(connection.fd)


def test_one_given_away_by_a_handler_with_more_input_than_a_second_may_bring(served):
    """It is the new holder that slows it down; nothing here may touch a descriptor that is not in the epoll set."""
    one, recorder = served(client_bytes_per_s=1024)
    end, connection = one.connect()

    def give(connection, event):
        connection.state = State.BINDING
        one.loop.let_go(connection)

    recorder.act = give
    end.send(packet(1) + packet(2, b"x" * 2000))
    until(lambda: recorder.events)
    turns()
    one.advance(3)
    assert recorder.ends == []
    assert (connection.state, connection.input) == (State.BINDING, packet(2, b"x" * 2000))
    os.close(connection.fd)


def test_input_waits_while_a_binding_is_under_way(served):
    one, recorder = served()
    end, connection = one.connect()

    def bind(connection, event):
        if event.message_id == 1:
            connection.state = State.BINDING

    recorder.act = bind
    end.send(packet(1) + packet(2))
    until(lambda: recorder.events)
    gevent.spawn(end.send, packet(3) + packet(4, BIG))
    until(lambda: connection.paused)
    turns()
    assert recorder.numbers == [1]
    assert len(connection.input) <= 2 * READ_BYTES
    connection.state = State.BOUND
    one.loop.resume(connection)
    until(lambda: recorder.numbers == [1, 2, 3, 4])


def test_pause_and_resume(served):
    one, recorder = served()
    end, connection = one.connect()
    one.loop.pause(connection)
    one.loop.pause(connection)
    end.send(packet(1))
    turns()
    assert recorder.events == []
    one.loop.resume(connection)
    one.loop.resume(connection)
    until(lambda: recorder.numbers == [1])


# --- rates


def test_packets_beyond_the_rate_wait_for_the_next_second(served):
    one, recorder = served(client_packets_per_s=10)
    end, connection = one.connect()
    end.send(b"".join(map(packet, range(25))))
    until(lambda: connection.paused)
    turns()
    assert recorder.numbers == list(range(10))
    one.advance()
    assert recorder.numbers == list(range(20))
    one.advance()
    assert recorder.numbers == list(range(25))
    assert not connection.paused
    assert one.counters["throttled"] == 2


def test_bytes_beyond_the_rate_are_paid_for_by_waiting(served):
    one, recorder = served(client_bytes_per_s=1024)
    end, connection = one.connect()
    end.send(packet(1, b"x" * 3500))
    until(lambda: recorder.numbers == [1])
    end.send(packet(2))
    for _ in range(2):
        one.advance()
        turns()
        assert connection.paused
        assert recorder.numbers == [1]
    one.advance()
    until(lambda: recorder.numbers == [1, 2])


def test_what_an_event_adds_to_the_bytes_counts_too(served):
    """As what it was inflated to does."""
    one, recorder = served(client_bytes_per_s=1 << 20)

    def inflate(connection, event):
        connection.rate_bytes += 1 << 20

    recorder.act = inflate
    end, connection = one.connect()
    end.send(b"".join(map(packet, range(10))))
    until(lambda: connection.paused)
    assert recorder.numbers == [0, 1]
    one.advance(4)
    assert recorder.numbers == [0, 1, 2, 3, 4, 5]


def test_a_connection_is_held_until_nothing_holds_it(served):
    one, application = served()
    end, connection = one.connect()
    application.act = lambda held, event: one.loop.hold(held, Hold.CALLS) if event.message_id == 2 else None
    end.send(packet(1) + packet(2) + packet(3))
    until(lambda: application.numbers == [1, 2])
    end.send(packet(4))
    one.loop.hold(connection, Hold.MOVE)
    one.loop.release(connection, Hold.CALLS)
    one.loop.resume(connection)  # as one that was throttled, too
    turns()
    assert application.numbers == [1, 2]
    one.loop.release(connection, Hold.MOVE)
    until(lambda: application.numbers == [1, 2, 3, 4])
    one.loop.release(connection, Hold.MOVE)
    assert one.loop._held == {}


def test_a_held_connection_does_not_miss_its_deadline_and_may_end(served):
    one, application = served()
    end, connection = one.connect(seconds=3)
    one.loop.hold(connection, Hold.ANSWER)
    one.advance(5)
    assert application.expiries == []
    one.loop.close(connection, CloseReason.KICKED, b"bye")
    one.loop.release(connection, Hold.ANSWER)
    assert end.rest() == b"bye"
    end.close()
    until(lambda: connection.fd < 0)
    assert one.loop._held == {}


def test_others_are_served_while_one_is_throttled(served):
    one, recorder = served(client_packets_per_s=5)
    greedy, _ = one.connect()
    modest, _ = one.connect()
    greedy.send(b"".join(map(packet, range(50))))
    modest.send(packet(1000))
    until(lambda: 1000 in recorder.numbers)


def test_a_throttled_connection_that_has_ended_is_forgotten(served):
    one, _ = served(client_packets_per_s=1)
    end, connection = one.connect()
    end.send(packet(1) + packet(2))
    until(lambda: connection.paused)
    fd = connection.fd
    one.loop.destroy(connection, CloseReason.KICKED)
    other_end, other = one.connect()
    assert other.fd == fd  # the kernel gives the lowest number out again
    one.loop.pause(other)
    one.advance()
    assert other.paused
    assert other_end.quiet()


def test_a_throttled_connection_that_was_given_away_is_forgotten(served):
    one, recorder = served(client_packets_per_s=1)
    end, connection = one.connect()
    end.send(packet(1) + packet(2))
    until(lambda: connection.paused)
    one.loop.let_go(connection)
    one.advance(2)
    assert recorder.numbers == [1]
    os.close(connection.fd)


def test_a_throttled_connection_does_not_miss_its_deadline(served):
    """Its packets lie unparsed: that is no silence."""
    one, recorder = served(client_packets_per_s=1)
    end, connection = one.connect(seconds=2)
    end.send(b"".join(map(packet, range(100))))
    until(lambda: connection.paused)
    one.advance(40)
    assert recorder.expiries == []
    assert len(recorder.events) == 41


# --- writing


def full(one, connection):
    """Write until the kernel takes no more; how much it took."""
    size = 0
    while one.loop.write(connection, b"x" * 1000) == Outcome.SENT:
        size += 1000
    return size + 1000


def test_a_write_goes_out_at_once(served):
    one, _ = served()
    end, connection = one.connect()
    assert one.loop.write(connection, b"hello") == Outcome.SENT
    assert end.socket.recv(10) == b"hello"
    assert connection.output is None


def test_what_the_kernel_does_not_take_goes_later_in_order(served):
    one, _ = served()
    end, connection = one.connect(buffer=1)
    outcomes = [one.loop.write(connection, bytes([number]) * 5000) for number in range(20)]
    assert outcomes[0] in (Outcome.SENT, Outcome.BUFFERED)
    assert outcomes[-1] == Outcome.BUFFERED
    assert outcomes == sorted(outcomes)
    assert end.take(100_000) == b"".join(bytes([number]) * 5000 for number in range(20))
    until(lambda: connection.output is None)
    assert one.loop.write(connection, b"again") == Outcome.SENT
    assert end.take(5) == b"again"


def test_reading_goes_on_while_output_waits(served):
    one, recorder = served()
    end, connection = one.connect(buffer=1)
    full(one, connection)
    end.send(packet(1))
    until(lambda: recorder.numbers == [1])


def test_over_the_out_buffer_a_push_is_not_taken(served):
    one, _ = served(out_buffer_bytes=4096)
    end, connection = one.connect(buffer=1)
    size = full(one, connection)
    while one.loop.write(connection, b"y" * 100) == Outcome.BUFFERED:
        size += 100
    waiting = bytes(connection.output)
    assert len(waiting) <= 4096
    assert one.loop.write(connection, b"z" * 100) == Outcome.OVERLOADED
    assert connection.output == waiting
    data = end.take(size)
    assert data == b"x" * data.count(b"x") + b"y" * data.count(b"y")
    assert end.quiet()


def overload(one):
    end, connection = one.connect(buffer=1)
    while one.loop.write(connection, b"x" * 1000) != Outcome.OVERLOADED:
        pass
    return end, connection


def test_one_that_never_reads_is_closed_as_a_slow_consumer(served):
    one, recorder = served(out_buffer_bytes=4096, slow_consumer_s=3)
    _, slow = overload(one)
    other_end, other = one.connect()
    for _ in range(2):
        one.advance()
        assert one.loop.write(slow, b"x" * 4096) == Outcome.OVERLOADED
    assert recorder.ends == []
    one.advance()
    assert recorder.ends == [(slow, CloseReason.SLOW_CONSUMER)]
    assert gone(one, slow)
    assert one.loop.write(slow, b"x") == Outcome.OFFLINE
    assert one.loop.write(other, b"x") == Outcome.SENT
    assert other_end.take(1) == b"x"


def test_one_that_reads_again_in_time_stays(served):
    one, recorder = served(out_buffer_bytes=4096, slow_consumer_s=3)
    end, slow = overload(one)
    one.advance(2)
    until(lambda: end.pull() and slow.output is None)
    one.advance(10)
    assert recorder.ends == []
    assert one.loop.write(slow, b"x") == Outcome.SENT


def test_a_slow_one_that_was_away_is_still_found_slow(served):
    """Given away and come back: nothing is remembered of how long it had been full."""
    one, recorder = served(out_buffer_bytes=4096, slow_consumer_s=3)
    _, slow = overload(one)
    one.loop.let_go(slow)
    one.advance(5)
    assert recorder.ends == []
    one.loop.adopt(slow, 600)
    assert one.loop.write(slow, b"x" * 4096) == Outcome.OVERLOADED
    one.advance(3)
    assert recorder.ends == [(slow, CloseReason.SLOW_CONSUMER)]


def test_who_asks_without_reading_the_answers_is_closed(served):
    one, recorder = served(out_buffer_bytes=4096)
    end, connection = one.connect(buffer=1)
    recorder.act = lambda connection, event: one.loop.answer(connection, b"x" * 1000)
    end.send(PING * 500)
    until(lambda: gone(one, connection))
    assert recorder.ends == [(connection, CloseReason.SLOW_CONSUMER)]


def test_a_write_to_a_peer_that_is_gone(served):
    one, recorder = served()
    end, connection = one.connect()
    end.close()
    assert one.loop.write(connection, b"x") == Outcome.OFFLINE
    assert recorder.ends == [(connection, CloseReason.IO_ERROR)]
    assert gone(one, connection)
    turns()


# --- closing


def test_last_bytes_arrive_behind_those_that_wait(served):
    one, recorder = served()
    end, connection = one.connect(buffer=1)
    size = full(one, connection)
    one.loop.close(connection, CloseReason.REPLACED, b"last words")
    assert recorder.ends == [(connection, CloseReason.REPLACED)]
    data = end.rest()
    assert data[-10:] == b"last words"
    assert data[:-10] == b"x" * (len(data) - 10)
    assert len(data) <= size + 10
    end.close()
    until(lambda: gone(one, connection))
    assert len(recorder.ends) == 1


def test_last_bytes_are_not_overtaken_by_a_reset(served):
    """TCP: closing with unread input makes the kernel send a reset, and the peer may lose what it has not read."""
    one, recorder = served()
    end, connection = tcp_pair(one)
    recorder.act = lambda connection, event: one.loop.close(connection, CloseReason.REJECTED, b"last words")
    end.send(packet(1) + packet(2))
    until(lambda: recorder.events)
    end.send(BIG)
    assert end.rest() == b"last words"
    end.close()
    until(lambda: gone(one, connection))
    assert recorder.ends == [(connection, CloseReason.REJECTED)]


def test_one_that_does_not_close_its_side_is_closed_after_a_moment(served):
    one, recorder = served()
    end, connection = one.connect()
    one.loop.close(connection, CloseReason.KICKED, b"bye")
    turns()
    assert connection.fd >= 0
    one.advance(2)
    assert gone(one, connection)
    assert recorder.ends == [(connection, CloseReason.KICKED)]
    assert end.rest() == b"bye"


def test_one_that_does_not_take_its_last_bytes_is_closed_after_a_moment(served):
    one, recorder = served(slow_consumer_s=0)
    _, connection = one.connect(buffer=1)
    full(one, connection)
    one.loop.close(connection, CloseReason.KICKED, b"bye")
    turns()
    assert connection.fd >= 0
    one.advance(2)
    assert gone(one, connection)
    assert len(recorder.ends) == 1


def test_closing_twice_is_closing_once(served):
    one, recorder = served()
    end, connection = one.connect()
    one.loop.close(connection, CloseReason.KICKED, b"bye")
    one.loop.close(connection, CloseReason.SHUTDOWN, b"again")
    one.loop.destroy(connection, CloseReason.IO_ERROR)
    one.loop.destroy(connection, CloseReason.IO_ERROR)
    assert end.rest() == b"bye"
    assert recorder.ends == [(connection, CloseReason.KICKED)]
    assert sum(count for name, count in one.counters.items() if name.startswith("close_")) == 1


def test_a_throttled_connection_can_be_closed(served):
    one, recorder = served(client_packets_per_s=1)
    end, connection = one.connect()
    end.send(packet(1) + packet(2))
    until(lambda: connection.paused)
    one.loop.close(connection, CloseReason.KICKED, b"bye")
    one.advance()
    assert end.rest() == b"bye"
    assert recorder.numbers == [1]


def test_a_closing_connection_is_not_bound_any_more(served):
    one, _ = served()
    _, connection = one.connect()
    one.loop.table.bind(connection, b"alice")
    one.loop.close(connection, CloseReason.KICKED)
    assert one.loop.table.by_token == {}
    assert one.loop.table.figures()["unbound"] == 1


# --- time


def test_a_deadline_that_passes(served):
    one, recorder = served()
    _, connection = one.connect(seconds=3)
    one.advance(2)
    assert recorder.expiries == []
    one.advance()
    assert recorder.expiries == [connection]
    one.advance(2)
    assert gone(one, connection)


def test_what_is_complete_moves_the_deadline_and_what_is_not_does_not(served):
    one, recorder = served()
    end, connection = one.connect(seconds=3)
    for byte in bytewise(PING[:2]):
        end.send(byte)
        turns()
        one.advance()
    assert connection.input == PING[:2]
    end.send(PING[2:-1])
    turns()
    one.advance()
    assert recorder.expiries == [connection]


def test_activity_moves_the_deadline(served):
    one, recorder = served()
    end, _ = one.connect(seconds=3)
    end.send(PING)
    until(lambda: recorder.events)
    one.advance(29)
    assert recorder.expiries == []
    one.advance()
    assert len(recorder.expiries) == 1


def test_a_bug_in_one_callback_does_not_keep_the_clock_from_others(served):
    one, recorder = served()
    one.expect_internal_errors = True
    _, connection = one.connect(seconds=1)
    ticks = []
    one.loop.each_tick(lambda tick: 1 / 0)
    one.loop.each_tick(ticks.append)
    one.advance(2)
    assert len(ticks) == 2
    assert recorder.expiries == [connection]
    assert one.counters["internal_errors"] == 2


def test_the_clock_runs_by_itself(served):
    one, _ = served()
    one.loop.wheel.tick -= AHEAD
    ticks = []
    one.loop.each_tick(ticks.append)
    until(lambda: ticks)
    assert ticks == [one.loop.wheel.tick]


def test_what_was_sent_while_this_process_was_held_up_counts(served):
    """SIGSTOP and SIGCONT, a machine that was suspended: the clients did say something in time."""
    one, recorder = served()
    one.loop.wheel.tick -= AHEAD + 50  # the clock is 50 seconds ahead when it is looked at next
    pairs = [one.connect(seconds=3) for _ in range(300)]
    silent = one.connect(seconds=3)[1]
    for end, _ in pairs:
        end.send(PING)
    one.loop._tick()
    assert recorder.expiries == []
    until(lambda: len(recorder.events) == 300)
    one.advance(3)
    assert recorder.expiries == [silent]


def test_soon_and_later(served):
    one, _ = served()
    one.expect_internal_errors = True
    called = []
    one.loop.soon(called.append, "soon")
    one.loop.later(0, lambda: called.append("at once"))
    one.loop.later(0.001, lambda: called.append("later"))
    one.loop.later(0, lambda: 1 / 0)
    assert called == []
    until(lambda: "later" in called)
    assert called == ["soon", "at once", "later"]
    assert one.counters["internal_errors"] == 1


def test_a_connection_that_comes_with_output_sends_it(served):
    one, _ = served()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    one.ends.append(End(theirs))
    connection = Connection(ours.detach(), "a")
    connection.output = bytearray(b"left over")
    one.loop.adopt(connection, 600)
    assert one.ends[0].take(9) == b"left over"
    assert connection.output is None
