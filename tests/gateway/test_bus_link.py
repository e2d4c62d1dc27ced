import logging
import tempfile
import time

import gevent
import pytest
import zmq

from gateway.bus_keys import BusKeys
from gateway.bus_link import BusLink
from gateway.counters import new_counters
from shared.keys import KeyPair
from tests.fleet.ports import free_ports
from tests.gateway.parts import turns, until

NAME = b"h/0"


class Router:
    """The router's end: a ROUTER socket that the test reads."""

    def __init__(self, endpoint, secret=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        if secret:
            self.socket.curve_server, self.socket.curve_secretkey = True, secret
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(endpoint)

    def receive(self):
        def message():
            try:
                return self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None

        return until(message)

    def send(self, *frames):
        self.socket.send_multipart([NAME, *frames])

    def close(self):
        self.socket.close()
        self.context.term()


class Worker:
    """What a BusLink needs around it."""

    def __init__(self, endpoint, keys=None):
        self.counters = new_counters()
        self.received = []
        self.act = lambda frames: None
        self.context = zmq.Context()
        self.link = BusLink(endpoint, NAME, self.guarded, self.counters, self.context, keys)
        self.link.receive = self.receive

    def guarded(self, callback, *arguments):
        try:
            callback(*arguments)
        except Exception:
            self.counters["internal_errors"] += 1
            logging.getLogger("test").exception("bug")

    def receive(self, frames):
        self.received.append(frames)
        self.act(frames)

    def close(self):
        self.link.close()
        self.context.term()


@pytest.fixture
def endpoint():
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        yield f"ipc://{directory}/bus"


@pytest.fixture
def joined(endpoint):
    """(router's end, worker), which have heard of each other."""
    router, worker = Router(endpoint), Worker(endpoint)
    worker.link.start()
    worker.link.send([b"READY1", b"{}"])
    assert router.receive() == [NAME, b"READY1", b"{}"]
    yield router, worker
    worker.close()
    router.close()


def test_messages_in_both_directions(joined):
    router, worker = joined
    router.send(b"RING1", b"{}")
    until(lambda: worker.received == [[b"RING1", b"{}"]])
    worker.link.send([b"BEAT1", b"x", b""])
    assert router.receive() == [NAME, b"BEAT1", b"x", b""]


@pytest.mark.parametrize("number", [1, 33, 3000])
def test_whatever_has_come_is_received(joined, number):
    """The descriptor tells of the first message only: the rest must be drained without its help."""
    router, worker = joined
    for at in range(number):
        router.send(b"%d" % at)
        if at % 500 == 499:  # less than the high-water marks
            until(lambda at=at: len(worker.received) == at + 1)
    until(lambda: len(worker.received) == number)
    assert worker.received == [[b"%d" % at] for at in range(number)]


def test_what_comes_while_something_is_sent_is_received(joined):
    """Sending swallows the descriptor's edge, too."""
    router, worker = joined
    for at in range(200):
        router.send(b"%d" % at)
        worker.link.send([b"from the worker"])
        turns(1)
    until(lambda: len(worker.received) == 200)
    for _ in range(200):
        router.receive()


def test_answers_from_within_a_handler(joined):
    router, worker = joined
    worker.act = lambda frames: worker.link.send([b"re", *frames])
    for at in range(100):
        router.send(b"%d" % at)
    assert [router.receive() for _ in range(100)] == [[NAME, b"re", b"%d" % at] for at in range(100)]


def test_a_flood_lets_others_have_their_turn(joined):
    router, worker = joined
    turns_of_others = []
    worker.act = lambda frames: time.sleep(0.001)
    for at in range(900):
        router.send(b"%d" % at)
    until(lambda: worker.received)
    while len(worker.received) < 900:
        gevent.sleep(0)
        turns_of_others.append(len(worker.received))
    assert len(turns_of_others) > 20


def test_a_bug_in_a_handler_costs_one_message(joined):
    router, worker = joined
    worker.act = lambda frames: 1 / int(frames[0])
    for at in range(3):
        router.send(b"%d" % at)
    until(lambda: len(worker.received) == 3)
    assert worker.counters["internal_errors"] == 1


def test_a_router_that_comes_late_or_again(endpoint):
    worker = Worker(endpoint)
    worker.link.start()
    worker.link.send([b"READY1"])
    router = Router(endpoint)
    assert router.receive() == [NAME, b"READY1"]
    router.close()
    router = Router(endpoint)

    def back():
        worker.link.send([b"BEAT1"])
        gevent.sleep(0.01)
        try:
            return router.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    assert until(back) == [NAME, b"BEAT1"]
    router.send(b"WHO1")
    until(lambda: [b"WHO1"] in worker.received)
    worker.close()
    router.close()


def test_with_no_router_answers_are_bounded_and_what_is_dropped_is_counted(endpoint):
    worker = Worker(endpoint)
    worker.link.start()
    sent = sum(worker.link.send([b"x"]) for _ in range(10_500))
    assert sent == 10_000
    assert worker.counters["bus_drops"] == 500
    worker.link._socket.setsockopt(zmq.LINGER, 0)
    worker.close()


def test_it_is_told_when_messages_are_taken_again(endpoint):
    worker, freed = Worker(endpoint), []
    worker.link.freed = lambda: freed.append(worker.link.send([b"again"]))
    worker.link.start()
    while worker.link.send([b"x"]):
        pass
    turns()
    assert freed == []
    router = Router(endpoint)
    while router.receive()[1] != b"again":
        pass
    assert freed == [True]
    worker.close()
    router.close()


def test_last_words_are_sent_before_it_closes(endpoint):
    router, worker = Router(endpoint), Worker(endpoint)
    worker.link.start()
    worker.link.send([b"READY1"])
    worker.link.send([b"BYE1"])
    worker.close()
    assert [router.receive()[1] for _ in range(2)] == [b"READY1", b"BYE1"]
    router.close()


def test_nothing_happens_after_it_is_closed(endpoint, capsys):
    """A look at the socket may be due still."""
    router, worker = Router(endpoint), Worker(endpoint)
    worker.link.start()
    worker.link.send([b"READY1"])
    worker.close()
    turns()
    assert capsys.readouterr().err == ""
    assert worker.link.send([b"BEAT1"]) is False
    router.close()


def test_a_link_over_a_network_is_encrypted():
    (server, server_secret), (public, secret) = zmq.curve_keypair(), zmq.curve_keypair()
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    router = Router(endpoint, server_secret)
    keys = BusKeys(KeyPair(public.decode(), secret.decode()), server.decode())
    bare, worker = Worker(endpoint), Worker(endpoint, keys)
    for one in (bare, worker):
        one.link.start()
    bare.link.send([b"READY1", b"bare"])
    worker.link.send([b"READY1", b"with keys"])
    assert router.receive() == [NAME, b"READY1", b"with keys"]
    router.send(b"RING1")
    until(lambda: worker.received == [[b"RING1"]])
    assert bare.received == []
    bare.link._socket.setsockopt(zmq.LINGER, 0)
    for one in (bare, worker):
        one.close()
    router.close()
