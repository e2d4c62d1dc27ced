"""gateway/kept_listeners.py and what its callers do with it: clients that wait while a worker leaves."""

import array
import os
import socket
from pathlib import Path

import gevent
import pytest

from gateway.acceptors import Acceptor
from gateway.departures import Departure
from gateway.hand_over_messages import Hello, Keep, Kept, decode, encode
from gateway.kept_listeners import KeptListeners
from gateway.ledgers import Kind
from gateway.listeners import fetch_listeners
from gateway.run_files import make_directories
from shared import places
from shared.settings import Settings
from tests.gateway.parts import descriptors, turns, until


class Keeper:
    """A worker's acceptor, and the listeners that it keeps."""

    def __init__(self, parts, directory):
        self.parts = parts
        self.settings = Settings(data_dir=str(directory), client_port=1)
        make_directories(self.settings)
        self.acceptor = Acceptor(parts.loop, 600, [])
        self.kept = KeptListeners(self.acceptor, parts.loop.ledger, self.path)

    def path(self, index):
        return places.listener_path(self.settings, index)

    def accepted(self):
        return self.parts.counters["accepted"]

    def close(self):
        self.kept.close()
        self.acceptor.stop()


@pytest.fixture
def keeper(worker, tmp_path):
    made = Keeper(worker(), tmp_path)
    yield made
    made.close()


def listeners(path=""):
    """(client listener, nginx listener at `path`, or under a name that the kernel makes)."""
    client = socket.create_server(("127.0.0.1", 0), backlog=50)
    nginx = socket.socket(socket.AF_UNIX)
    nginx.bind(str(path))
    nginx.listen(50)
    for listener in (client, nginx):
        listener.setblocking(False)
    return client, nginx


def pair(keeper=None):
    """Descriptors of two listeners that nobody else has, and the address of the first; `keeper`: of its worker 3."""
    client, nginx = listeners(places.nginx_path(keeper.settings, 3) if keeper else "")
    address = client.getsockname()
    return [client.detach(), nginx.detach()], address


def fetch(keeper, port, index=3):
    """What the successor of worker `index` gets, in a thread: it blocks."""
    settings = Settings(data_dir=keeper.settings.data_dir, client_port=port)
    return gevent.get_hub().threadpool.apply(fetch_listeners, (settings, index))


def test_whoever_waits_is_served_by_the_keeper(keeper):
    given, address = pair()
    end = keeper.parts.call_in(address)
    turns()
    assert keeper.accepted() == 0
    assert keeper.kept.keep("h/3", given)
    assert end.ask(3)["interval"]
    later = keeper.parts.call_in(address)
    assert later.ask(3)["interval"]
    assert [entry.peer for entry in keeper.parts.loop.ledger.entries() if entry.kind == Kind.LISTENER] == [3, 3]


def test_the_nginx_socket_wants_a_proxy_header_here_too(keeper):
    client, nginx = listeners()
    name = nginx.getsockname()
    keeper.kept.keep("h/3", [client.detach(), nginx.detach()])
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(name)
    sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n")
    until(lambda: any(one and one.address == "192.0.2.7:5000" for one in keeper.parts.loop.table.by_fd))
    sock.close()
    until(lambda: not keeper.parts.loop.table.count)


def test_the_successor_fetches_them_with_those_who_wait(keeper):
    given, address = pair(keeper)
    keeper.kept.keep("h/3", given)
    end = keeper.parts.call_in(address)
    end.ask(3)
    turns()
    found = fetch(keeper, address[1])
    assert [listener.family for listener in found] == [socket.AF_INET, socket.AF_UNIX]
    assert found[0].getsockname() == address
    until(lambda: not keeper.path(3).exists())
    assert not any(entry.kind == Kind.LISTENER for entry in keeper.parts.loop.ledger.entries())
    accepted = keeper.accepted()
    waiting = keeper.parts.call_in(address)
    turns()
    assert keeper.accepted() == accepted
    peer, _ = until(lambda: _accept(found[0]))
    peer.close()
    assert waiting.rest() == b""
    assert end.ask(3)["interval"]  # those that the keeper has accepted stay
    for listener in found:
        listener.close()


def _accept(listener):
    try:
        return listener.accept()
    except BlockingIOError:
        return None


def test_listeners_of_another_address_are_not_taken(keeper):
    """The settings have changed: the successor opens its own."""
    given, address = pair()
    keeper.kept.keep("h/3", given)
    before = set(descriptors())
    assert fetch(keeper, address[1] + 1) == []
    until(lambda: not keeper.path(3).exists())
    assert set(descriptors()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_nobody_keeps_any(keeper):
    assert fetch(keeper, 5) == []


def test_a_keeper_that_has_died_leaves_a_path_that_nobody_hears(keeper):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(keeper.path(3)))
    assert fetch(keeper, 5) == []
    given, address = pair()
    keeper.kept.keep("h/3", given)
    for listener in fetch(keeper, address[1]):
        listener.close()


def test_one_who_asks_and_goes_gets_nothing_and_breaks_nothing(keeper):
    given, address = pair(keeper)
    keeper.kept.keep("h/3", given)
    for _ in range(3):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
            asker.setblocking(False)
            asker.connect(str(keeper.path(3)))
            asker.shutdown(socket.SHUT_RDWR)
        turns()
    end = keeper.parts.call_in(address)
    assert end.ask(3)["interval"]
    found = fetch(keeper, address[1])
    assert len(found) == 2
    for listener in found:
        listener.close()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_what_is_not_two_listeners_is_not_kept(keeper, number):
    given = [socket.create_server(("127.0.0.1", 0)).detach() for _ in range(number)]
    assert not keeper.kept.keep("h/3", given)
    assert list(keeper.parts.loop.ledger.entries()) == []
    for descriptor in given:
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_the_worker_leaves_a_second_time(keeper):
    """What the first keeping accepted for is served; its listeners go."""
    first, address = pair()
    keeper.kept.keep("h/3", first)
    end = keeper.parts.call_in(address)
    second, other = pair()
    keeper.kept.keep("h/3", second)
    assert end.ask(3)["interval"]
    assert keeper.parts.call_in(other).ask(3)["interval"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_dropping_accepts_whoever_waits_first(keeper):
    given, address = pair()
    keeper.kept.keep("h/3", given)
    ends = [keeper.parts.call_in(address) for _ in range(20)]
    keeper.kept.drop(3)
    keeper.kept.drop(3)
    for end in ends:
        assert end.ask(3)["interval"]


def test_those_that_are_kept_are_passed_on(keeper, worker):
    given, address = pair()
    keeper.kept.keep("h/3", given)
    ((index, passed),) = keeper.kept.take_all()
    assert (index, passed) == (3, given)
    other = Keeper(worker("h/1"), keeper.settings.data_dir)
    other.kept.keep("h/3", [os.dup(descriptor) for descriptor in passed])
    keeper.close()  # the second of them has its own socket at that path
    keeper.acceptor = Acceptor(keeper.parts.loop, 600, [])
    assert other.parts.call_in(address).ask(3)["interval"]
    other.close()


def test_an_nginx_socket_whose_path_is_anothers_is_not_taken(keeper):
    """It has been bound anew since: nginx would not reach this one any more."""
    given, address = pair(keeper)
    keeper.kept.keep("h/3", given)
    places.nginx_path(keeper.settings, 3).unlink()
    assert fetch(keeper, address[1]) == []


def test_more_than_one_turns_worth_that_waits_is_accepted(keeper):
    given, address = pair(keeper)
    keeper.kept.keep("h/3", given)
    ends = [keeper.parts.call_in(address) for _ in range(45)]  # at once, and of a queue of fifty
    keeper.kept.close()
    assert all(end.ask(3)["interval"] for end in ends)


def test_the_next_worker_of_a_keeper_that_died_goes_on(keeper, worker):
    given, address = pair(keeper)
    for descriptor in given:
        keeper.parts.loop.ledger.keep_listener(descriptor, 3)
    assert keeper.kept.go_on(3, given)
    assert keeper.parts.call_in(address).ask(3)["interval"]
    found = fetch(keeper, address[1])
    assert len(found) == 2
    for listener in found:
        listener.close()


# --- a worker that leaves


class Leaving:
    """A worker's parts with listeners, which leaves."""

    def __init__(self, parts, directory):
        self.parts = parts
        self.keeper = Keeper(parts, directory)
        self.ended = []
        self.departure = Departure(
            parts.ownership,
            parts.loop,
            parts.landing,
            drain_timeout_s=30,
            say_leaving=lambda: None,
            end=lambda: self.ended.append(True),
        )

    def listen(self):
        client, nginx = listeners()
        self.listeners = [client, nginx]
        self.keeper.acceptor.listen(client, False)
        self.keeper.acceptor.listen(nginx, True)
        self.accepting()
        return client.getsockname()

    def accepting(self):
        self.departure.accepting(self.keeper.acceptor, getattr(self, "listeners", ()), self.keeper.kept)

    def close(self):
        self.keeper.close()
        for listener in getattr(self, "listeners", ()):
            listener.close()


@pytest.fixture
def two(worker, tmp_path):
    """Two workers with a ring; the first has listeners."""
    made = [Leaving(worker(name), tmp_path) for name in ("h/0", "h/1")]
    made[1].accepting()
    for each in made:
        each.parts.ring(1, [one.parts for one in made])
    turns()
    yield made
    for each in made:
        each.close()


def leave(two):
    one, other = two
    one.departure.leave()
    for each in two:
        each.parts.ring(2, [other.parts], [one.parts])
    one.parts.advance()


def test_a_client_in_the_queue_of_a_worker_that_leaves_is_served_by_the_other(two):
    one, other = two
    address = one.listen()
    served = one.parts.call_in(address)
    served.ask(3)
    one.keeper.acceptor.stop()  # whoever comes in its last moment
    waiting = one.parts.call_in(address)
    leave(two)
    until(lambda: one.ended)
    assert waiting.ask(3)["interval"]
    assert served.ask(3)["interval"]
    assert other.parts.loop.table.count == 2
    one.close()
    assert one.parts.call_in(address).ask(3)["interval"]


def test_listeners_that_a_leaving_worker_kept_go_along(two):
    one, other = two
    address = one.listen()
    given, kept_address = pair()
    one.keeper.kept.keep("h/7", given)
    leave(two)
    until(lambda: one.ended)
    assert sorted(index for index, _ in other.keeper.kept.take_all()) == [0, 7]
    one.close()
    for each in (address, kept_address):
        assert one.parts.call_in(each).ask(3)["interval"]


def test_a_keeper_that_does_not_answer_holds_nobody_up(two, monkeypatch):
    one, other = two
    one.listen()
    monkeypatch.setattr(
        other.keeper.kept, "keep", lambda worker, descriptors: [os.close(one) for one in descriptors] and 0
    )
    leave(two)
    until(lambda: one.ended)
    assert one.ended == [True]


def test_keep_without_its_descriptors(two):
    """The kernel leaves them out where none is free."""
    _, other = two
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(other.parts.path)
    sock.setblocking(False)
    sock.send(encode(Hello("h/5")))
    sock.send(encode(Keep("h/5")))
    given, address = pair()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))]
    sock.sendmsg([encode(Keep("h/6"))], rights)
    for descriptor in given:
        os.close(descriptor)
    until(lambda: _received(sock) == Kept("h/6"))
    assert [index for index, _ in other.keeper.kept.take_all()] == [6]
    assert other.parts.call_in(address).ask(3)["interval"]
    assert not Path(other.keeper.path(5)).exists()
    sock.close()


def _received(sock):
    try:
        return decode(sock.recv(1 << 16))
    except BlockingIOError:
        return None
