import array
import os
import socket
import tempfile
from pathlib import Path

import gevent
import pytest

from gateway.hand_over_messages import Give, Hello, Moved, Taken, encode
from gateway.peers import PeerListener, close_all, connect
from shared.rings import Epoch
from tests.gateway.parts import descriptors, turns, until

EPOCH = Epoch(5, 2)


class Side:
    """One worker's receiving end: notes what comes and which links end."""

    def __init__(self):
        self.received, self.descriptors, self.lost = [], [], []
        self.act = lambda message: None

    def receive(self, link, message, descriptors):
        if isinstance(message, Hello):
            return
        self.received.append((link.worker, message))
        self.descriptors.append(descriptors)
        self.act(message)

    def gone(self, link):
        self.lost.append(link.worker)


@pytest.fixture
def pair(no_leaks):
    """(caller's side, listener's side, link of the caller, listener), joined."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        here, there = Side(), Side()
        path = Path(directory) / "1.sock"
        listener = PeerListener(path, there.receive, there.gone)
        link = connect(str(path), "h/0", "h/1", here.receive, here.gone)
        until(lambda: listener.links and listener.links[0].worker)
        yield here, there, link, listener
        link.close()
        listener.close()
        for side in (here, there):
            for received in side.descriptors:
                close_all(received)
        assert list(Path(directory).iterdir()) == []


def pipe_with(data):
    """A descriptor out of which `data` can be read."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def test_each_side_knows_the_other(pair):
    here, there, link, listener = pair
    assert (link.worker, listener.links[0].worker) == ("h/1", "h/0")
    link.send(Moved("h/0", EPOCH))
    until(lambda: there.received)
    assert there.received == [("h/0", Moved("h/0", EPOCH))]
    listener.links[0].send(Taken(1, []))
    until(lambda: here.received)
    assert here.received == [("h/1", Taken(1, []))]


def test_messages_and_descriptors_arrive_together_in_order(pair):
    _, there, link, _ = pair
    for number in range(50):
        link.send(Give(number, EPOCH, [b"record %d" % number]), [fd := pipe_with(b"%d" % number)], [fd])
    until(lambda: len(there.received) == 50)
    assert [message.number for _, message in there.received] == list(range(50))
    assert [os.read(fd, 9) for (fd,) in there.descriptors] == [b"%d" % number for number in range(50)]


def test_what_is_owned_is_closed_behind_a_message_and_the_rest_is_not(pair):
    _, there, link, _ = pair
    kept, owned = pipe_with(b"kept"), pipe_with(b"owned")
    pipes = descriptors()[kept], descriptors()[owned]
    link.send(Give(1, EPOCH, [None]), [kept, owned], [owned])
    until(lambda: there.received)
    assert [list(descriptors().values()).count(pipe) for pipe in pipes] == [2, 1]
    assert [os.read(fd, 9) for fd in there.descriptors[0]] == [b"kept", b"owned"]
    os.close(kept)


def test_as_many_descriptors_as_one_message_may_carry(pair):
    _, there, link, _ = pair
    fd = pipe_with(b"x")
    link.send(Give(1, EPOCH, [b""] * 253), [fd] * 253)
    until(lambda: there.received)
    assert len(set(there.descriptors[0])) == 253
    os.close(fd)


def test_what_the_kernel_does_not_take_waits_in_order(pair):
    here, there, link, listener = pair
    listener.links[0]._reader.stop()  # a peer that is busy
    for number in range(300):
        link.send(Give(number, EPOCH, [bytes(30_000)]), [fd := pipe_with(b"%d" % number)], [fd])
    turns()
    assert there.received == []
    assert len(link._queue) > 200
    listener.links[0]._reader.start(listener.links[0]._readable)
    until(lambda: len(there.received) == 300)
    assert [message.number for _, message in there.received] == list(range(300))
    assert [int(os.read(fd, 9)) for (fd,) in there.descriptors] == list(range(300))
    assert here.lost == there.lost == []


def test_a_link_that_ends_is_told_once(pair):
    here, there, _, listener = pair
    listener.links[0].close()
    until(lambda: here.lost)
    turns()
    assert here.lost == ["h/1"]
    assert there.lost == []  # who closes knows it


def test_the_listener_forgets_a_link_that_ends(pair):
    here, there, link, listener = pair
    link.close()
    until(lambda: there.lost)
    assert there.lost == ["h/0"]
    assert listener.links == []
    assert here.lost == []


def test_closing_with_messages_that_wait_closes_what_they_own(pair):
    _, _, link, listener = pair
    listener.links[0]._reader.stop()
    kept = pipe_with(b"kept")
    for number in range(300):
        link.send(Give(number, EPOCH, [bytes(30_000), None]), [kept, fd := pipe_with(b"x")], [fd])
    link.close()
    link.close()
    assert os.read(kept, 9) == b"kept"
    os.close(kept)


def test_what_is_sent_on_a_closed_link_is_not_kept(pair):
    _, there, link, _ = pair
    link.close()
    kept, owned = pipe_with(b"kept"), pipe_with(b"owned")
    link.send(Give(1, EPOCH, [None]), [kept, owned], [owned])
    assert not link.open
    with pytest.raises(OSError):
        os.fstat(owned)
    os.close(kept)
    turns()
    assert there.received == []


def test_a_link_whose_peer_is_gone_at_once_is_not_open(no_leaks):
    """The kernel lets a caller in before the listener has accepted it; then the listener ends."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        path, here = f"{directory}/1.sock", Side()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            link = connect(path, "h/0", "h/1", here.receive, here.gone)
            assert link.open
        link.send(Moved("h/0", EPOCH))
        assert not link.open
        assert here.lost == ["h/1"]


@pytest.fixture
def raw(pair):
    """A caller that is no worker, joined to the listener."""
    _, there, _, listener = pair
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    caller.connect(str(listener._path))
    until(lambda: len(listener.links) == 2)
    yield caller, there, listener
    caller.close()


def send_raw(caller, data, *fds):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    caller.sendmsg([data], rights)


@pytest.mark.parametrize("data", [b"\xc1", b"noise", encode(Give(1, EPOCH, [b"x"]))[:-1]])
def test_a_message_that_cannot_be_read_costs_the_link_and_its_descriptors(raw, data):
    caller, there, listener = raw
    fd = pipe_with(b"x")
    send_raw(caller, data, fd)
    os.close(fd)
    until(lambda: there.lost)
    assert there.received == []
    assert len(listener.links) == 1
    assert caller.recv(10) == b""


def test_descriptors_that_come_with_a_hello_are_not_kept(raw):
    caller, _, listener = raw
    fd = pipe_with(b"x")
    send_raw(caller, encode(Hello("h/7")), fd)
    os.close(fd)
    until(lambda: listener.links[1].worker == "h/7")


def test_a_bug_in_a_receiver_does_not_end_the_link(pair, caplog):
    _, there, link, _ = pair

    def fail(message):
        if message.number == 1:
            raise RuntimeError("bug")

    there.act = fail
    link.send(Taken(1, []))
    link.send(Taken(2, []))
    until(lambda: len(there.received) == 2)
    assert "RuntimeError: bug" in caplog.text
    assert there.lost == []


def test_a_path_that_is_there_already_is_a_dead_workers(no_leaks):
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        path = Path(directory) / "1.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
            dead.bind(str(path))
        side = Side()
        listener = PeerListener(path, side.receive, side.gone)
        link = connect(str(path), "h/0", "h/1", side.receive, side.gone)
        until(lambda: listener.links)
        link.close()
        listener.close()
        assert not path.exists()


def test_nobody_listens(no_leaks):
    side = Side()
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory, pytest.raises(OSError):
        connect(f"{directory}/1.sock", "h/0", "h/1", side.receive, side.gone)


def test_many_callers_at_once(no_leaks):
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        path, here, there = Path(directory) / "1.sock", Side(), Side()
        listener = PeerListener(path, there.receive, there.gone)
        links = []
        for number in range(100):
            links.append(connect(str(path), f"h/{number}", "h/1", here.receive, here.gone))
            links[-1].send(Moved(f"h/{number}", EPOCH))
        until(lambda: len(there.received) == 100)
        assert {worker for worker, _ in there.received} == {f"h/{number}" for number in range(100)}
        for link in links:
            link.close()
        listener.close()
        gevent.sleep(0)
