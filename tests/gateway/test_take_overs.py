"""gateway/take_overs.py: a worker's loop dies in this process, and another takes over what its ledger says."""

import gc
import os
import socket
import struct

import pytest

from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Granted, Login, Protocol, State
from gateway.counters import new_counters
from gateway.ledgers import FIRST, READING, WRITING, Kind, Mark, create, open_ledger
from gateway.streams import PROXY_DONE, StreamLimits
from gateway.take_overs import take_over
from shared.settings import Settings

SLOTS = 1000


class Scene:
    """A dead worker's ledger, with real sockets in it, and its successor."""

    def __init__(self):
        self.memory = create(SLOTS)
        self.dead = open_ledger(self.memory)
        self.ends = []
        self.settings = Settings()
        self.next = None

    def client(self, **fields):
        """(client's end, record as the dead worker had it)."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.ends.append(theirs)
        connection = Connection(ours.detach(), "192.0.2.1:4000")
        connection.protocol, connection.state, connection.proxied = Protocol.V2, State.BOUND, PROXY_DONE
        connection.token = b"t%d" % connection.fd
        for name, value in fields.items():
            setattr(connection, name, value)
        self.dead.enter(connection)
        return theirs, connection

    def take_over(self):
        ledger = open_ledger(self.memory)
        self.next = ClientLoop(self.settings, StreamLimits(1 << 20), new_counters(), ledger)
        return take_over(self.next)

    def close(self):
        for fd in {entry.fd for entry in open_ledger(self.memory).entries()}:
            os.close(fd)
        if self.next:
            self.next.stop()
        for end in self.ends:
            end.close()
        os.close(self.memory)
        self.dead = self.next = None
        gc.collect()  # a mapping has a descriptor of its own


@pytest.fixture
def scene(no_leaks):
    made = Scene()
    yield made
    made.close()


def is_closed(end):
    try:
        return end.recv(10) == b""
    except BlockingIOError:
        return False


def test_an_empty_ledger(scene):
    left = scene.take_over()
    assert (left.served, dict(left.passing), dict(left.listeners), left.known, left.lost) == ([], {}, {}, set(), 0)


def test_a_client_is_served_on_with_all_that_is_known(scene):
    login = Login("alice", [b"a"], 2_000_000_000)
    fields = {
        "granted": Granted.ACK | Granted.HEARD,
        "uid": "alice",
        "binding": 5,
        "bound_by": "h/0",
        "beat": 40,
        "login": login,
        "last_message_id": 2,
        "unacknowledged": {65_535, 2},
    }
    end, before = scene.client(**fields)
    left = scene.take_over()
    (after,) = left.served
    assert {name: getattr(after, name) for name in fields} == fields
    assert (after.fd, after.token, after.address) == (before.fd, before.token, "192.0.2.1:4000")
    assert (left.lost, is_closed(end)) == (0, False)
    assert scene.next.table.count == 0  # the caller adopts it
    os.write(after.fd, b"still here")
    assert end.recv(20) == b"still here"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"input": bytearray(b"\xf8")}, "unfinished input"),
        ({"output": bytearray(b"x")}, "unsent output"),
        ({"state": State.BINDING}, "awaits an answer"),
        ({"uid": "x" * 5000}, "facts too long, no whole facts"),
        (
            {"input": bytearray(b"x"), "output": bytearray(b"x"), "state": State.BINDING},
            "unfinished input, unsent output, awaits an answer",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mark_closes_the_client_and_is_told(scene, caplog, fields, why):
    end, connection = scene.client(**fields)
    other, _ = scene.client()
    with caplog.at_level("INFO"):
        left = scene.take_over()
    assert is_closed(end)
    assert not is_closed(other)
    assert (left.lost, len(left.served)) == (1, 1)
    assert scene.next.counters["close_worker_lost"] == 1
    (line,) = [record.getMessage() for record in caplog.records if "worker_lost" in record.getMessage()]
    assert why in line
    assert not scene.next.ledger.holds(connection.fd)


@pytest.mark.parametrize("word", [READING, WRITING])
def test_the_client_that_was_being_served_is_closed(scene, caplog, word):
    """Whatever kills the worker is not given to the next one."""
    end, connection = scene.client()
    scene.client()
    scene.dead.words[word] = connection.fd
    with caplog.at_level("INFO"):
        left = scene.take_over()
    assert is_closed(end)
    assert (left.lost, len(left.served)) == (1, 1)
    assert "being served" in caplog.text
    assert list(scene.next.ledger.words) == [-1, -1]


def test_facts_that_are_not_whole(scene, caplog):
    end, connection = scene.client()
    at = FIRST + connection.fd * 256
    os.pwrite(scene.memory, struct.pack("H", 0), at + 2)
    other, unreadable = scene.client()
    os.pwrite(scene.memory, b"\xc1", FIRST + unreadable.fd * 256 + 40)
    with caplog.at_level("INFO"):
        left = scene.take_over()
    assert is_closed(end)
    assert is_closed(other)
    assert left.lost == 2
    assert caplog.text.count("no whole facts") == 2


def test_a_client_with_its_last_words_said_is_closed_and_not_counted_again(scene):
    end, connection = scene.client()
    scene.dead.closing(connection.fd)
    left = scene.take_over()
    assert is_closed(end)
    assert (left.lost, left.served) == (0, [])
    assert scene.next.counters["close_worker_lost"] == 0


def test_passing_clients_by_worker(scene):
    pairs = [scene.client() for _ in range(3)]
    for (_, connection), peer in zip(pairs, (1, 2, 1), strict=True):
        scene.dead.passing(connection.fd, peer, 7)
    left = scene.take_over()
    assert {peer: [one.fd for one in passing] for peer, passing in left.passing.items()} == {
        1: [pairs[0][1].fd, pairs[2][1].fd],
        2: [pairs[1][1].fd],
    }
    assert left.served == []
    assert not any(is_closed(end) for end, _ in pairs)


def test_kept_listeners_in_their_order(scene):
    listeners = [socket.socket() for _ in range(2)]
    for listener in listeners:
        scene.dead.keep_listener(listener.fileno(), 3)
    left = scene.take_over()
    assert dict(left.listeners) == {3: [listener.detach() for listener in listeners]}


def test_who_has_ended_is_known_to_whoever_asks(scene):
    """The worker that gave such a client must not serve it again."""
    ids = {}
    for name, fields in (("served", {}), ("marked", {"output": bytearray(b"x")}), ("closing", {}), ("left", {})):
        _, connection = scene.client(**fields)
        ids[name] = scene.dead.id_of(connection.fd)
        if name == "closing":
            scene.dead.closing(connection.fd)
        if name == "left":
            scene.dead.leave(connection.fd)
            os.close(connection.fd)
    left = scene.take_over()
    assert left.known == set(ids.values())
    assert scene.next.ledger.ids() == {ids["served"]}


def test_the_address_of_one_whose_facts_are_lost(scene, caplog):
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    accepted = listener.accept()[0]
    connection = Connection(accepted.detach(), "x" * 5000)
    scene.dead.enter(connection)
    with caplog.at_level("INFO"):
        scene.take_over()
    host, port = client.getsockname()
    assert f"closed address={host}:{port} reason=worker_lost" in caplog.text
    client.close()
    listener.close()


def test_every_mark_and_kind_is_known():
    """A new one needs a rule here."""
    assert [kind.name for kind in Kind] == ["NOTHING", "CLIENT", "CLOSING", "PASSING", "LISTENER"]
    assert {name for name in vars(Mark) if name.isupper()} == {"INPUT", "OUTPUT", "OWED", "UNKEPT"}
