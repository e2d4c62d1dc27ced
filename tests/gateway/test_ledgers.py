"""gateway/ledgers.py: what a worker writes down, and what the next one reads out of the same memory."""

import mmap
import os
import struct
from types import SimpleNamespace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ledgers
from gateway.connections import Connection, Granted, Login, Protocol, State
from gateway.facts import decode_facts, unacknowledged_of
from gateway.ledgers import BLOCK_BYTES, BLOCKS, FACTS_MAX, FIRST, SLOT_BYTES, Kind, Ledger, Mark, create, open_ledger
from gateway.messages import Partial
from gateway.streams import PROXY_DONE, PROXY_REQUIRED

SLOTS = 100


@pytest.fixture
def memory():
    """Descriptor of a ledger."""
    descriptor = create(SLOTS)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def ledger(memory):
    return open_ledger(memory)


def client(fd=7, **fields):
    """A bound client's record."""
    connection = Connection(fd, "192.0.2.1:4000")
    connection.protocol, connection.state, connection.token = Protocol.V2, State.BOUND, b"alice"
    for name, value in fields.items():
        setattr(connection, name, value)
    return connection


def found(memory):
    """Entries by descriptor, as the next worker finds them."""
    return {entry.fd: entry for entry in open_ledger(memory).entries()}


def of_length(size, fd=7):
    """A record whose facts are `size` bytes."""
    connection = client(fd, uid="")
    bare = len(ledgers.encode_facts(connection))
    connection.uid = "x" * (size - bare - 6)
    while len(ledgers.encode_facts(connection)) < size:
        connection.uid += "x"
    assert len(ledgers.encode_facts(connection)) == size
    return connection


# --- layout


def test_the_header(memory):
    assert os.pread(memory, 8, 0) == b"PGLEDGR1"
    marks_at = FIRST + SLOTS * SLOT_BYTES + BLOCKS * BLOCK_BYTES
    assert struct.unpack("6I", os.pread(memory, 24, 8)) == (FIRST, SLOT_BYTES, SLOTS, BLOCK_BYTES, BLOCKS, marks_at)
    assert struct.unpack("2i", os.pread(memory, 8, 64)) == (-1, -1)
    assert os.fstat(memory).st_size == marks_at + 4 * SLOTS


def test_a_slot(memory, ledger):
    connection = client(unacknowledged={3, 5}, last_message_id=5)
    ledger.enter(connection, 0x1122334455667788)
    slot = os.pread(memory, SLOT_BYTES, FIRST + 7 * SLOT_BYTES)
    facts = ledgers.encode_facts(connection)
    assert struct.unpack("BBHHHQ", slot[:16]) == (Kind.CLIENT, 0, len(facts), 0, 0, 0x1122334455667788)
    assert struct.unpack("QH", slot[16:26]) == (0b101, 5)
    assert slot[40 : 40 + len(facts)] == facts


def test_what_the_guardian_knows_of_it(memory, ledger):
    """gateway/guardian.py imports nothing: where it looks is said there again."""
    ledger.enter(client(7))
    ledger.keep_listener(9, 1)
    ledger.beat()
    first, size, slots = struct.unpack("3I", os.pread(memory, 12, 8))
    used = int.from_bytes(os.pread(memory, 4, 84), "little")
    assert (first, size, slots, used) == (FIRST, SLOT_BYTES, SLOTS, 10)
    kinds = os.pread(memory, size * used, first)[::size]
    assert kinds == bytes(7) + bytes([Kind.CLIENT, 0, Kind.LISTENER])
    assert any(os.pread(memory, 8, 72))


def test_an_empty_ledger_costs_no_memory():
    """One for a million descriptors is read without the kernel making pages for it."""
    descriptor = create(1 << 20)
    ledger = open_ledger(descriptor)
    ledger.enter(client(5))
    assert len(list(ledger.entries())) == len(ledger.ids()) == 1
    assert ledger.ended() == set()
    assert os.fstat(descriptor).st_blocks * 512 < 64 << 10
    os.close(descriptor)


@pytest.mark.parametrize(("at", "data"), [(0, b"PGLEDGR2"), (0, b"\0" * 8), (12, struct.pack("I", 512))])
def test_a_ledger_of_another_version_is_refused(memory, at, data):
    os.pwrite(memory, data, at)
    with pytest.raises(ValueError, match="a ledger of another version"):
        open_ledger(memory)


def test_one_of_a_server_without_guardian():
    ledger = ledgers.for_one_process(50)
    ledger.enter(client(49))
    assert [entry.fd for entry in ledger.entries()] == [49]


# --- facts


def test_the_next_worker_finds_what_was_written(memory, ledger):
    connection = client(granted=Granted.ACK | Granted.HEARD, uid="u", beat=30, binding=77, bound_by="h/0", moves=3)
    connection.login = Login("u", [b"alice"], 2_000_000_000)
    ledger.enter(connection, 5)
    entry = found(memory)[7]
    assert (entry.kind, entry.marks, entry.id) == (Kind.CLIENT, 0, 5)
    restored = decode_facts(entry.facts, 7)
    for name in (
        "address",
        "protocol",
        "state",
        "granted",
        "token",
        "uid",
        "beat",
        "binding",
        "bound_by",
        "moves",
        "login",
    ):
        assert getattr(restored, name) == getattr(connection, name)


def test_ids_are_made_of_chance_and_never_zero(ledger):
    for fd in range(50):
        ledger.enter(client(fd))
    assert len(ledger.ids() - {0}) == 50


@pytest.mark.parametrize("size", [FACTS_MAX - 1, FACTS_MAX, FACTS_MAX + 1, 1000, BLOCK_BYTES])
def test_facts_of_any_length_up_to_a_block(memory, ledger, size):
    connection = of_length(size)
    ledger.enter(connection)
    entry = found(memory)[7]
    assert entry.facts == ledgers.encode_facts(connection)
    assert entry.marks == 0


def test_facts_longer_than_a_block_are_a_mark_as_long_as_they_are(memory, ledger):
    connection = of_length(BLOCK_BYTES + 1)
    ledger.enter(connection)
    assert (found(memory)[7].marks, found(memory)[7].facts) == (Mark.UNKEPT, b"")
    ledger.mark(connection)
    ledger.note_if_changed(connection)
    assert found(memory)[7].marks == Mark.UNKEPT
    connection.uid = "short"
    ledger.note_if_changed(connection)
    assert (found(memory)[7].marks, found(memory)[7].facts) == (0, ledgers.encode_facts(connection))


def test_blocks_are_used_again(memory, ledger):
    """Each end of a connection, and facts that fit the slot again, give the block back."""
    for _ in range(3):
        for _ in range(BLOCKS):
            ledger.enter(of_length(300))
            ledger.leave(7)
    for fd in range(3):
        connection = of_length(300, fd)
        ledger.enter(connection)
        connection.uid = "short"
        ledger.note(connection)
    assert [entry.marks for entry in found(memory).values()] == [0] * 3
    assert len(ledger._free_blocks) == BLOCKS


def test_no_block_is_free(memory, ledger):
    ledger._free_blocks = [1]
    for fd in (1, 2):
        ledger.enter(of_length(300, fd))
    assert [found(memory)[fd].marks for fd in (1, 2)] == [0, Mark.UNKEPT]
    ledger.leave(1)
    ledger.note(of_length(300, 2))
    assert found(memory)[2].marks == 0


def test_the_next_worker_does_not_give_out_blocks_in_use(memory, ledger):
    first = of_length(300, 1)
    ledger.enter(first)
    after = open_ledger(memory)
    list(after.entries())
    second = of_length(400, 2)
    after.enter(second)
    entries = found(memory)
    assert entries[1].facts == ledgers.encode_facts(first)
    assert entries[2].facts == ledgers.encode_facts(second)
    after.leave(1)
    assert len(after._free_blocks) == BLOCKS - 1


def test_facts_that_are_half_written_do_not_count(memory, ledger, monkeypatch):
    """A worker that dies between any two writes leaves the whole facts, or none."""
    connection = client()
    ledger.enter(connection)
    connection.uid = "somebody else"
    pack_into, died = struct.pack_into, []

    def die(form, *arguments):
        if form == "H" and not died:
            died.append(form)
            raise KeyboardInterrupt
        pack_into(form, *arguments)

    monkeypatch.setattr(ledgers.struct, "pack_into", die)
    with pytest.raises(KeyboardInterrupt):
        ledger.note(connection)
    assert died
    assert found(memory)[7].facts == b""


def test_a_slot_that_is_being_entered_is_nobodys(memory, ledger, monkeypatch):
    monkeypatch.setattr(ledgers, "encode_facts", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ledger.enter(client())
    assert found(memory) == {}


# --- changes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol", Protocol.WS_TEXT),
        ("state", State.OPEN),
        ("granted", Granted.ACK),
        ("beat", 86_400),
        ("proxied", PROXY_DONE),
        ("window_bits", 12),
        ("address", "198.51.100.9:1"),
        ("token", b"bob"),
        ("uid", "bob"),
        ("login", Login("u", [b"alice"], 9)),
        ("login", Login("u", [b"alice", b"bob"], 8)),
        ("login", None),
    ],
    ids=repr,
)
def test_whatever_input_changes_is_noted(memory, ledger, name, value):
    connection = client(proxied=PROXY_REQUIRED, login=Login("u", [b"alice"], 8))
    ledger.enter(connection)
    setattr(connection, name, value)
    ledger.note_if_changed(connection)
    assert getattr(decode_facts(found(memory)[7].facts, 7), name) == value


def test_what_has_not_changed_is_not_written_again(ledger, monkeypatch):
    connection = client()
    ledger.enter(connection)
    monkeypatch.setattr(ledger, "note", lambda connection: 1 / 0)
    ledger.note_if_changed(connection)


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({}, 0),
        ({"input": bytearray(b"x")}, Mark.INPUT),
        ({"partial": Partial(1, False)}, Mark.INPUT),
        ({"output": bytearray(b"x")}, Mark.OUTPUT),
        ({"state": State.BINDING}, Mark.OWED),
        ({"calls": 1}, Mark.OWED),
        ({"input": bytearray(b"x"), "output": bytearray(b"x"), "state": State.BINDING}, 7),
    ],
    ids=lambda value: "+".join(value) or "nothing" if isinstance(value, dict) else str(int(value)),
)
def test_marks_follow_the_record(memory, ledger, fields, marks):
    ledger.enter(client(**fields))
    assert found(memory)[7].marks == marks
    ledger.mark(client())
    assert found(memory)[7].marks == 0
    ledger.mark(client(**fields))
    assert found(memory)[7].marks == marks


@given(
    st.integers(1, 65_535).flatmap(
        lambda last: st.tuples(
            st.just(last), st.sets(st.integers(0, 63).map(lambda age: (last - age - 1) % 65_535 + 1))
        )
    )
)
def test_unacknowledged_ids_come_back_also_where_they_wrap_around(ids):
    last, unacknowledged = ids
    ledger = ledgers.for_one_process(10)
    connection = client(last_message_id=last, unacknowledged=unacknowledged)
    ledger.enter(connection)
    (entry,) = ledger.entries()
    assert entry.last_message_id == last
    assert unacknowledged_of(last, entry.window) == unacknowledged


def test_ids_older_than_the_window_are_left_out(ledger):
    connection = client(last_message_id=100, unacknowledged={36, 37, 100})
    ledger.enter(connection)
    connection.unacknowledged.add(99)
    ledger.note_window(connection)
    (entry,) = ledger.entries()
    assert unacknowledged_of(100, entry.window) == {37, 99, 100}


# --- kinds


def test_a_client_that_passes_and_comes_back(memory, ledger):
    connection = client()
    ledger.enter(connection, 5)
    ledger.passing(7, 3, 6)
    entry = found(memory)[7]
    assert (entry.kind, entry.peer, entry.id) == (Kind.PASSING, 3, 5)
    assert (ledger.id_of(7), ledger.passing_id_of(7)) == (5, 6)
    connection.uid = "new"
    ledger.came_back(connection)
    assert found(memory)[7].kind == Kind.CLIENT
    assert decode_facts(found(memory)[7].facts, 7).uid == "new"
    assert ledger.id_of(7) == 5


def test_one_with_its_last_words_said(memory, ledger):
    ledger.enter(client())
    ledger.closing(7)
    assert found(memory)[7].kind == Kind.CLOSING
    assert ledger.holds(7)
    ledger.leave(7)
    assert found(memory) == {}
    assert not ledger.holds(7)


def test_ended_ones_are_known_until_their_slot_is_used_again(ledger):
    ledger.enter(client(1), 11)
    ledger.enter(client(2), 22)
    ledger.leave(1)
    assert (ledger.ids(), ledger.ended()) == ({22}, {11})
    ledger.enter(client(1), 33)
    assert (ledger.ids(), ledger.ended()) == ({22, 33}, set())


def test_listeners(memory, ledger):
    ledger.enter(of_length(300, 4))
    ledger.leave(4)
    ledger.keep_listener(4, 6)
    entry = found(memory)[4]
    assert (entry.kind, entry.peer, entry.id, entry.facts) == (Kind.LISTENER, 6, 0, b"")


def test_the_words_are_seen_by_the_next_worker(memory, ledger):
    ledger.words[ledgers.READING], ledger.words[ledgers.WRITING] = 5, 6
    assert list(open_ledger(memory).words) == [5, 6]


# --- the worker's own facts


def test_own_facts_are_the_predecessors(memory, ledger):
    ledger.own["claims"] = True
    ledger.note_own(counters={"accepted": 3})
    assert open_ledger(memory).own == {"claims": True, "counters": {"accepted": 3}}


def test_own_facts_that_do_not_fit_leave_the_older(memory, ledger):
    ledger.note_own(short=1)
    ledger.note_own(long="x" * FIRST)
    assert open_ledger(memory).own == {"short": 1}


def test_own_facts_are_whole_at_every_instant(memory, ledger, monkeypatch):
    """They count when the word that says where they are is written, behind them."""
    for number in range(5):
        before = open_ledger(memory).own
        with monkeypatch.context() as patched:
            patched.setattr(ledgers, "struct", SimpleNamespace(unpack_from=struct.unpack_from, pack_into=died))
            with pytest.raises(InterruptedError):
                ledger.note_own(number=number, more="x" * number)
        assert open_ledger(memory).own == before
        ledger.note_own(number=number)
        assert open_ledger(memory).own == {"number": number, "more": "x" * number}


def died(*_):
    raise InterruptedError


def test_a_ledger_of_a_version_without_marks_of_fan_outs():
    """Its own facts are in one place only, and marks are this process's own."""
    old = mmap.mmap(-1, 4096 + 10 * SLOT_BYTES + BLOCKS * BLOCK_BYTES)
    old.write(struct.pack("8s6I", b"PGLEDGR1", 4096, SLOT_BYTES, 10, BLOCK_BYTES, BLOCKS, 0))
    facts = msgpack.packb({"fan_outs": [7]})
    struct.pack_into(f"I12x{len(facts)}s", old, 80, len(facts), facts)
    ledger = Ledger(old)
    assert ledger.own == {"fan_outs": [7]}
    ledger.fan_outs[9] = 5
    for text in ("x" * 3000, "y" * 3000):
        ledger.note_own(text=text)
        assert Ledger(old).own == {"fan_outs": [7], "text": text}


@pytest.mark.parametrize("data", [b"\xc1", b"\x05", b"\x91\x01", b"\x81\x01"], ids=repr)
def test_own_facts_that_cannot_be_read_are_none(memory, data):
    os.pwrite(memory, struct.pack("I", len(data)), 80)
    os.pwrite(memory, data, 96)
    assert open_ledger(memory).own == {}
