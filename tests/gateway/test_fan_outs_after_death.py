"""A worker that dies at every point of a fan-out, and its successor: whoever stays connected gets each push once.

The one that dies is a process of its own (fork), with the same sockets and ledger.
"""

import gc
import os

import pytest

from gateway import sends
from gateway.connections import Granted, Protocol
from gateway.ledgers import create, open_ledger
from gateway.take_overs import take_over
from tests.gateway.parts import Parts, ring, turns
from tests.gateway.test_deliveries import bind, read

#: Of each kind one: bytes shared with others, or an own copy.
KINDS = [
    (Protocol.V2, 0),
    (Protocol.V2, Granted.IDS),
    (Protocol.V1, 0),
    (Protocol.WS_TEXT, 0),
    (Protocol.V2, Granted.ACK | Granted.IDS),
    (Protocol.V2, 0),
]
DIED = 42


class Lives:
    """Incarnations of one worker, one behind the other, on one ledger."""

    def __init__(self, kinds=KINDS):
        self.memory = create(1000)
        self.all = [Parts(ledger=open_ledger(self.memory), routers=2)]
        self.here.ring(1, [self.here])
        self.back = []  # that were on their way to another worker
        self.ends = [
            (bind(self.here, b"t%d" % number, protocol, granted)[0], protocol, granted)
            for number, (protocol, granted) in enumerate(kinds)
        ]

    @property
    def here(self):
        return self.all[-1]

    def die_in(self, do, calls, behind):
        """`do()` in another process, which dies at the call of write(2) number `calls`; `behind`: when it is done.

        False: it does not make so many.
        """
        child = os.fork()
        if not child:
            try:
                self._die_at(calls, behind)
                do()
                self.here.fan_outs.finish()  # without the hub, which is the parent's
            finally:
                os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED

    def _die_at(self, calls, behind):
        left = iter(range(calls))

        def write(fd, data):
            last = next(left, None) is None
            if last and not behind:
                os._exit(DIED)
            taken = os_write(fd, data)
            if last:
                os._exit(DIED)
            return taken

        os_write, sends.os.write = os.write, write
        loop = self.here.loop
        loop.send_bytes, loop.send_each = write, sends.send_each_in_python

    def go_on(self):
        """The next incarnation takes over what is in the ledger; how many clients it has to close."""
        self.here.loop.stop()
        self.here.loop.table.by_fd.clear()
        successor = Parts(ledger=open_ledger(self.memory), routers=2)
        self.all.append(successor)
        successor.fan_outs.go_on()
        left = take_over(successor.loop)
        for passing in left.passing.values():
            for connection in passing:
                successor.fan_outs.marks.taken_over(connection)
                self.back.append(connection)
        for connection in left.served:
            successor.loop.adopt_again(connection, 600)
            successor.landing.taken_over(connection)
        successor.fan_outs.marks.closed(left.lost)
        successor.hear(ring(1, [successor]))
        return left.lost

    def payloads(self):
        """What each client got that stays connected, in its order."""
        found = []
        for end, protocol, granted in self.ends:
            turns()
            while end.pull() and not end.ended:
                pass
            if not end.ended:
                found.append([])
                while end.received:
                    payload = read(end, protocol)
                    found[-1].append(payload[1 + payload[0] :] if granted & Granted.IDS else payload)
        return found

    def close(self):
        turns()  # nothing waits to be called any more
        while self.all:
            self.all.pop().close()
        os.close(self.memory)
        gc.collect()  # a mapping has a descriptor of its own


@pytest.fixture
def lives(no_leaks):
    made = []

    def make(*arguments):
        made.append(Lives(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("behind", [False, True], ids=["in front of write", "behind write"])
@pytest.mark.parametrize("calls", range(len(KINDS)))
def test_death_at_every_write(lives, calls, behind):
    one = lives()
    one.here.fan_out(1, b"before")
    assert one.here.counted(1)
    assert one.die_in(lambda: one.here.fan_out(2, b"amid"), calls, behind)
    lost = one.go_on()
    assert lost == 1  # the one that was written to
    one.here.fan_out(2, b"amid")
    one.here.fan_out(3, b"behind")
    assert one.payloads() == [[b"before", b"amid", b"behind"]] * (len(KINDS) - lost)
    counted = one.here.counted(2)
    assert (counted["matched"], counted["sent"], counted["unknown"]) == (len(KINDS) - 1, len(KINDS) - 1, 1)
    assert "unknown" not in one.here.counted(3)


def test_death_behind_the_last_write_and_in_front_of_the_counts(lives):
    one = lives()
    one.here.handlers._report = one.here.fan_outs.report = lambda *_: os._exit(DIED)
    assert one.die_in(lambda: one.here.fan_out(1, b"x"), 100, behind=False)
    assert one.go_on() == 0
    one.here.fan_out(1, b"x")
    assert one.payloads() == [[b"x"]] * len(KINDS)
    counted = one.here.counted(1)
    assert (counted["matched"], counted["sent"], "unknown" in counted) == (len(KINDS), len(KINDS), False)


@pytest.mark.parametrize("first", range(len(KINDS)))
@pytest.mark.parametrize("second", range(len(KINDS) - 2))
def test_the_successor_dies_at_it_too(lives, first, second):
    one = lives()
    assert one.die_in(lambda: one.here.fan_out(1, b"x"), first, behind=True)
    one.go_on()
    one.die_in(lambda: one.here.fan_out(1, b"x"), second, behind=True)  # or behind the last one
    one.go_on()
    one.here.fan_out(1, b"x")
    assert set(map(tuple, one.payloads())) == {(b"x",)}
    assert one.here.counted(1)["unknown"] >= 1


def test_several_that_wait(lives):
    """One runs, others wait, of two routers; all come again."""
    one = lives([(Protocol.V2, 0)] * 4)
    many = [(1, 0), (2, 0), (7, 1), (3, 0)]

    def push_all():
        for number, router in many:
            one.here.fan_out(number, b"%d" % number, router=router)

    assert one.die_in(push_all, 6, behind=True)
    one.go_on()
    push_all()
    assert one.payloads() == [[b"1", b"2", b"7", b"3"]] * 3
    assert one.here.counts(1) == {"unknown": 1}  # it was done, and what became of it is not known any more
    assert one.here.counted(3)["sent"] == 3


def test_who_comes_behind_the_death_does_not_get_it(lives):
    """It may be one that had it, and was closed."""
    one = lives()
    assert one.die_in(lambda: one.here.fan_out(1, b"x"), 2, behind=True)
    one.go_on()
    late, _ = one.here.bound(b"late")
    one.here.fan_out(1, b"x")
    assert one.here.counted(1)
    assert late.quiet()


def test_a_part_of_it_was_sent(lives):
    """Those that take a part are seen to behind the others: who dies before that has torn a message."""
    one = lives([(Protocol.V2, 0)] * 3)
    _, narrow = bind(one.here, b"narrow", buffer=1)
    last, _ = bind(one.here, b"last")
    one.ends.append((last, Protocol.V2, 0))
    payload = b"x" * 100_000
    assert one.die_in(lambda: one.here.fan_out(1, payload), 4, behind=True)
    marks = open_ledger(one.memory).fan_outs
    assert marks[narrow.fd] == sends.TORN
    assert one.go_on() == 2
    one.here.fan_out(1, payload)
    assert one.payloads() == [[payload]] * 3


def test_a_fan_out_that_the_predecessor_never_had(lives):
    one = lives()
    one.here.fan_out(1, b"1")
    assert one.here.counted(1)
    assert one.die_in(lambda: one.here.loop.write(one.here.loop.table.by_token[b"t0"], b""), 0, behind=True)
    one.go_on()
    one.here.fan_out(2, b"2")
    assert one.payloads() == [[b"1", b"2"]] * (len(KINDS) - 1)
    assert "unknown" not in one.here.counted(2)


def test_a_ledger_of_a_version_without_marks(lives):
    """What had begun then counts as seen."""
    one = lives()
    one.here.fan_out(3, b"x")
    assert one.here.counted(3)
    one.here.loop.ledger.own.pop("fan_outs_done")
    one.here.loop.ledger.own.pop("fan_out")
    one.here.loop.ledger.note_own()
    one.go_on()
    one.here.fan_out(3, b"x")
    assert one.here.counts(3) == {"unknown": 1}
    assert one.payloads() == [[b"x"]] * len(KINDS)


def test_who_was_closed_once_is_not_counted_for_ever(lives):
    one = lives()
    assert one.die_in(lambda: one.here.fan_out(1, b"x"), 2, behind=True)
    assert one.go_on() == 1
    for number in (1, 2, 3):
        one.here.fan_out(number, b"x")
        assert one.here.counted(number)
    one.here.fan_outs.report = lambda *_: os._exit(DIED)
    assert one.die_in(lambda: one.here.fan_out(4, b"x"), 100, behind=False)
    assert one.go_on() == 0
    one.here.fan_out(4, b"x")
    assert "unknown" not in one.here.counted(4)


def test_a_new_worker_on_a_ledger_of_a_guardian_without_marks(lives):
    """Who has had it cannot be known when that one dies, too: nobody gets it twice."""
    one = lives()
    os.pwrite(one.memory, bytes(4), 28)
    one.go_on()
    assert not one.here.loop.ledger.keeps_fan_outs
    assert one.die_in(lambda: one.here.fan_out(1, b"x"), 3, behind=True)
    one.go_on()
    one.here.fan_out(1, b"x")
    assert all(len(got) <= 1 for got in one.payloads())
    assert one.here.counts(1) == {"unknown": 1}


def test_who_comes_while_it_runs_does_not_count_as_one_that_had_it(lives):
    one = lives()
    one.here.fan_outs._deliver_plain = lambda running, records: None  # it has begun, and nobody has it yet
    one.here.fan_out(1, b"x")
    late = [one.here.bound(b"late%d" % number)[0] for number in range(4)]
    one.go_on()
    one.here.fan_out(1, b"x")
    assert one.here.counted(1)["sent"] == len(KINDS)
    assert all(end.quiet() for end in late)


def test_who_could_not_be_sent_it_does_not_count_as_one_that_had_it(lives):
    one = lives([(Protocol.V2, 0), (Protocol.WS_TEXT, 0)])
    one.here.fan_outs._payload_max = 3
    one.here.fan_outs.report = lambda *_: os._exit(DIED)
    assert one.die_in(lambda: one.here.fan_out(1, b"too large"), 100, behind=False)
    one.go_on()
    one.here.fan_outs._payload_max = 3
    one.here.fan_out(1, b"too large")
    counted = one.here.counted(1)
    assert (counted["sent"], counted["too_large"]) == (0, 2)


def test_who_had_it_and_was_about_to_move_gets_none_when_it_comes_back(lives):
    one = lives()
    one.here.fan_out(1, b"x")  # the counts do not come to the router, say
    connection = one.here.loop.table.by_token[b"t0"]
    one.here.loop.let_go(connection)
    one.here.loop.ledger.passing(connection.fd, 1, 12345)
    one.go_on()
    one.here.fan_out(1, b"x")
    (back,) = one.back
    back.deadline = one.here.loop.wheel.tick + 100
    one.here.landing.came_back(back)
    assert one.payloads() == [[b"x"]] * len(KINDS)
