"""The ledger: a slot for each descriptor, in memory that outlives the worker.

A worker that starts again finds in it which descriptors are clients' sockets, what it must know of each to go on, and
which it cannot go on with, because the dead worker was in the middle of something: the marks. A mark is set before the
system call that it covers. One connection at a time is read and one written: for those two words are enough.

| bytes | header |
|---|---|
| 0-7 | magic |
| 8-31 | u32 each, native: offset of the first slot, bytes of a slot, slots, bytes of a block, blocks; offset of the \
fan-out marks, a u32 for each descriptor (`gateway.fan_out_marks`), 0: there are none |
| 64-71 | i32 each: descriptor that is being read, written; -1: none |
| 72-79 | u64: the worker's loop turned at this time, monotonic ms |
| 80-83 | u32: bytes of the worker's own facts, which begin at 96; bit 31: at the middle between there and the slots |
| 84-87 | u32: slots that were ever in use, the first so many: nobody need look at more |

| bytes | slot |
|---|---|
| 0 | Kind |
| 1 | marks |
| 2-3 | u16: bytes of the facts (`gateway.facts`); 0: none, or not whole |
| 4-5 | u16: index of the worker that it is passing to, or whose listener it is |
| 6-7 | u16: number of the block that has the facts, from 1; 0: they are in the slot, from byte 40 on |
| 8-15 | u64: id of the hand-over by which it came, or of the connection that was accepted here |
| 16-23 | u64: unacknowledged among the last 64 message ids |
| 24-25 | u16: last message id |
| 26-31 | u48: a digest of what may change, so that only changes are written |
| 32-39 | u64: id of the hand-over by which it is passing |
"""

import mmap
import os
import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from gateway.connections import Connection, State
from gateway.facts import encode_facts, window_of

MAGIC = b"PGLEDGR1"
FIRST, SLOT_BYTES, BLOCK_BYTES, BLOCKS = 16_384, 256, 4096, 4096
FACTS_AT = 40
_PASSING_ID_AT = 32
FACTS_MAX = SLOT_BYTES - FACTS_AT
READING, WRITING = 0, 1  # of Ledger.words
_HEADER = struct.Struct("8s6I")
_SLOT = struct.Struct("BBHHHQ")
_WINDOW = struct.Struct("QH")
_WORDS_AT, _BEAT_AT, _OWN_AT, _USED_AT, _OWN_FACTS_AT = 64, 72, 80, 84, 96
_OWN_SECOND = 1 << 31
_MARK_BYTES = 4
#: With its first slot there, a ledger was made by a version that had own facts in one place only.
_OLD_FIRST = 4096


class Kind(IntEnum):
    """What a descriptor is. The guardian closes everything that is nothing here."""

    NOTHING = 0
    CLIENT = 1
    CLOSING = 2  # has had its last words
    PASSING = 3  # given to another worker, which has not confirmed it
    LISTENER = 4  # kept for a worker that has left


class Mark:
    """Why a client cannot be gone on with. Bits."""

    INPUT = 1  # read, and not yet done with; unfinished messages too
    OUTPUT = 2  # bytes accepted that the kernel has not taken, or the middle of a frame
    OWED = 4  # it awaits an answer
    UNKEPT = 8  # its facts are too long


#: In place of marks, of a slot that is not in use any more: its connection was here.
_ENDED = 0x80


class Entry(NamedTuple):
    """A slot that is in use. `facts` is empty if they are not whole."""

    fd: int
    kind: int
    marks: int
    peer: int
    id: int
    window: int
    last_message_id: int
    facts: bytes
    fan_out: int  # mark of the last fan-out that was sent to it


def create(slots: int) -> int:
    """Descriptor of an empty ledger for descriptors below `slots`, in memory (memfd); pages are used when touched."""
    descriptor = os.memfd_create("ledger", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _size(slots))
    os.pwrite(descriptor, _header(slots), 0)
    return descriptor


def open_ledger(descriptor: int) -> "Ledger":
    """A ledger that `create` made. Raises ValueError if it is of another version."""
    return Ledger(mmap.mmap(descriptor, 0))


def for_one_process(slots: int = 65_536) -> "Ledger":
    """A ledger that nobody will take over from: of a server without a guardian."""
    memory = mmap.mmap(-1, _size(slots))
    memory.write(_header(slots))
    return Ledger(memory)


def _size(slots: int) -> int:
    return _marks_at(slots) + slots * _MARK_BYTES


def _marks_at(slots: int) -> int:
    return FIRST + slots * SLOT_BYTES + BLOCKS * BLOCK_BYTES


def _header(slots: int) -> bytes:
    head = _HEADER.pack(MAGIC, FIRST, SLOT_BYTES, slots, BLOCK_BYTES, BLOCKS, _marks_at(slots))
    return head.ljust(_WORDS_AT, b"\0") + struct.pack("2i", -1, -1)


class Ledger:
    """A worker's view of its ledger. Every method is cheap enough for the hub; none blocks."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._map = memory
        magic, self._first, slot_bytes, self.slots, _, blocks, marks_at = _HEADER.unpack_from(self._map)
        if magic != MAGIC or slot_bytes != SLOT_BYTES:
            raise ValueError("a ledger of another version")
        self._bytes = memoryview(self._map)
        self.words = self._bytes[_WORDS_AT : _WORDS_AT + 8].cast("i")
        self._beat = self._bytes[_BEAT_AT : _BEAT_AT + 8].cast("Q")
        self._used = self._bytes[_USED_AT : _USED_AT + 4].cast("I")
        self._blocks_at = self._first + self.slots * SLOT_BYTES
        self._free_blocks = list(range(blocks, 0, -1))
        #: By descriptor: the mark of the last fan-out that it was sent; kept for a successor, or only here.
        self.fan_outs, self.keeps_fan_outs = self._marks(marks_at), bool(marks_at)
        self._own_places = self._first > _OLD_FIRST
        self._own_max = (self._first - _OWN_FACTS_AT) // (1 + self._own_places)
        #: Facts of the worker as a whole; at first those of its predecessor.
        self.own = self._read_own()

    # --- the worker itself

    def beat(self) -> None:
        """The loop turns: the guardian need not kill this worker."""
        self._beat[0] = time.monotonic_ns() // 1_000_000

    def note_own(self, **facts: Any) -> None:
        """Facts of the worker as a whole, for its successor: anything that msgpack takes.

        All of them, or as they were before: they are written where the present ones are not.
        """
        self.own |= facts
        data = msgpack.packb(self.own)
        if len(data) > self._own_max:
            return
        (size,) = struct.unpack_from("I", self._map, _OWN_AT)
        second = 0 if size & _OWN_SECOND or not self._own_places else _OWN_SECOND
        place = self._own_at(second)
        self._map[place : place + len(data)] = data
        struct.pack_into("I", self._map, _OWN_AT, len(data) | second)

    def _own_at(self, second: int) -> int:
        return _OWN_FACTS_AT + (self._own_max if second else 0)

    def _read_own(self) -> dict[str, Any]:
        (size,) = struct.unpack_from("I", self._map, _OWN_AT)
        place, size = self._own_at(size & _OWN_SECOND), size & ~_OWN_SECOND
        data = self._map[place : place + size]
        try:
            return dict(msgpack.unpackb(data)) if size else {}
        except (ValueError, TypeError, msgpack.UnpackException):
            return {}

    def _marks(self, at: int) -> "memoryview[int]":
        size = self.slots * _MARK_BYTES
        return (self._bytes[at : at + size] if at else memoryview(bytearray(size))).cast("I")

    # --- connections

    def enter(self, connection: Connection, connection_id: int = 0) -> None:
        """A client's socket is here: from now on a new worker would go on with it. 0: it is new and gets an id."""
        at = self._slot(connection.fd)
        _SLOT.pack_into(self._map, at, Kind.NOTHING, marks_of(connection), 0, 0, 0, connection_id or new_id())
        self._bytes[at + 16 : at + FACTS_AT] = bytes(FACTS_AT - 16)
        self.fan_outs[connection.fd] = 0
        self.note(connection)
        self._bytes[at] = Kind.CLIENT

    def note(self, connection: Connection) -> None:
        """Write its facts. While they are half written they do not count."""
        at = self._first + connection.fd * SLOT_BYTES
        facts = encode_facts(connection)
        self._bytes[at + 2 : at + 4] = b"\0\0"
        place = at + FACTS_AT
        if len(facts) > FACTS_MAX:
            place = self._block(at, len(facts))
            if not place:
                self._bytes[at + 1] |= Mark.UNKEPT
                return
        elif self._bytes[at + 6] or self._bytes[at + 7]:
            self._release_block(at)
        self._bytes[place : place + len(facts)] = facts
        struct.pack_into("H", self._map, at + 2, len(facts))
        self._bytes[at + 1] &= ~Mark.UNKEPT
        self._note_digest(at, _digest(connection))
        if connection.unacknowledged is not None or connection.last_message_id:
            self.note_window(connection)

    def note_if_changed(self, connection: Connection) -> None:
        """Write its facts if anything in them can have changed since; its marks in any case."""
        at = self._first + connection.fd * SLOT_BYTES
        digest = _digest(connection)
        if self._bytes[at + 26 : at + 32] != digest:
            self.note(connection)
        elif connection.unacknowledged is not None:
            self.note_window(connection)
        self._bytes[at + 1] = marks_of(connection) | self._bytes[at + 1] & Mark.UNKEPT

    def note_window(self, connection: Connection) -> None:
        """Write which message ids are unacknowledged."""
        bits = window_of(connection.last_message_id, connection.unacknowledged or set())
        _WINDOW.pack_into(self._map, self._first + connection.fd * SLOT_BYTES + 16, bits, connection.last_message_id)

    def mark(self, connection: Connection, more: int = 0) -> None:
        """Write the marks that follow from the record, and `more`."""
        at = self._first + connection.fd * SLOT_BYTES + 1
        self._bytes[at] = marks_of(connection) | more | self._bytes[at] & Mark.UNKEPT

    def closing(self, fd: int) -> None:
        """It has had its last words: a new worker would only close it."""
        self._bytes[self._first + fd * SLOT_BYTES] = Kind.CLOSING

    def passing(self, fd: int, peer: int, number: int) -> None:
        """It is about to be given to worker `peer` of this host, under the id `number`.

        Each hand-over has an id of its own: whoever has had the client before is not taken for its holder.
        """
        at = self._first + fd * SLOT_BYTES
        struct.pack_into("Q", self._map, at + _PASSING_ID_AT, number)
        struct.pack_into("H", self._map, at + 4, peer)
        self._bytes[at] = Kind.PASSING

    def passing_id_of(self, fd: int) -> int:
        """The id under which it was given last."""
        number: int = struct.unpack_from("Q", self._map, self._first + fd * SLOT_BYTES + _PASSING_ID_AT)[0]
        return number

    def keep_listener(self, fd: int, index: int) -> None:
        """A listener of worker `index`, which has left, is here."""
        at = self._slot(fd)
        _SLOT.pack_into(self._map, at, Kind.NOTHING, 0, 0, index, 0, 0)
        self._bytes[at] = Kind.LISTENER

    def came_back(self, connection: Connection) -> None:
        """It was not given after all."""
        self.note_if_changed(connection)
        self._bytes[self._first + connection.fd * SLOT_BYTES] = Kind.CLIENT

    def leave(self, fd: int) -> None:
        """The descriptor is about to be closed; the worker is done with it."""
        at = self._first + fd * SLOT_BYTES
        self._bytes[at + 1] = _ENDED
        self._bytes[at] = Kind.NOTHING
        if self._bytes[at + 6] or self._bytes[at + 7]:
            self._release_block(at)

    def holds(self, fd: int) -> bool:
        """Whether the descriptor is in use here."""
        return bool(self._bytes[self._first + fd * SLOT_BYTES] != Kind.NOTHING)

    def id_of(self, fd: int) -> int:
        return int(_SLOT.unpack_from(self._map, self._first + fd * SLOT_BYTES)[5])

    def ids(self) -> set[int]:
        """The ids by which all connections came that are here, or passing from here."""
        return {self.id_of(fd) for fd, kind in enumerate(self._kinds()) if kind}

    def ended(self) -> set[int]:
        """Ids of connections that were here and are no more, as long as their descriptors are not used again."""
        unused = [fd for fd, kind in enumerate(self._kinds()) if not kind]
        # not those that a worker was about to enter when it died: they are still their giver's
        return {self.id_of(fd) for fd in unused if self._bytes[self._first + fd * SLOT_BYTES + 1] & _ENDED}

    def _kinds(self) -> bytes:
        end: int = self._first + self._used[0] * SLOT_BYTES
        return bytes(self._bytes[self._first : end : SLOT_BYTES])

    def _slot(self, fd: int) -> int:
        """Where the slot of a descriptor begins that is now in use."""
        if fd >= self._used[0]:
            self._used[0] = fd + 1
        return int(self._first + fd * SLOT_BYTES)

    def entries(self) -> Iterator[Entry]:
        """Every slot in use, for the taking over; blocks that are in use are not given out again."""
        for fd, kind in enumerate(self._kinds()):
            if kind:
                yield self._entry(fd)

    def _entry(self, fd: int) -> Entry:
        at = self._first + fd * SLOT_BYTES
        kind, marks, size, peer, block, number = _SLOT.unpack_from(self._map, at)
        bits, last = _WINDOW.unpack_from(self._map, at + 16)
        if block in self._free_blocks:
            self._free_blocks.remove(block)
        start = self._block_at(block) if block else at + FACTS_AT
        facts = bytes(self._bytes[start : start + size])
        return Entry(fd, kind, marks, peer, number, bits, last, facts, self.fan_outs[fd])

    # --- facts that are too long for a slot

    def _block(self, at: int, size: int) -> int:
        """Place of this slot's block; 0: too long, or no block is free."""
        block: int = struct.unpack_from("H", self._map, at + 6)[0]
        if size > BLOCK_BYTES:
            return 0
        if not block:
            if not self._free_blocks:
                return 0
            block = self._free_blocks.pop()
            struct.pack_into("H", self._map, at + 6, block)
        return self._block_at(block)

    def _release_block(self, at: int) -> None:
        (block,) = struct.unpack_from("H", self._map, at + 6)
        struct.pack_into("H", self._map, at + 6, 0)
        self._free_blocks.append(block)

    def _block_at(self, block: int) -> int:
        return int(self._blocks_at + (block - 1) * BLOCK_BYTES)

    def _note_digest(self, at: int, digest: bytes) -> None:
        self._bytes[at + 26 : at + 32] = digest


def _digest(connection: Connection) -> bytes:
    """6 bytes that differ when anything differs that a client's input can change."""
    login = connection.login
    facts = (
        connection.protocol,
        connection.state,
        connection.granted,
        connection.beat,
        connection.proxied,
        connection.window_bits,
        connection.address,
        connection.token,
        connection.uid,
        login and (login.uid, login.expires, login.key, *login.tokens),
    )
    return (hash(facts) & 0xFFFF_FFFF_FFFF).to_bytes(6, "little")


def new_id() -> int:
    return int.from_bytes(os.urandom(8), "little") | 1


def marks_of(connection: Connection) -> int:
    """The marks of a record as it is between two turns."""
    marks = 0
    if connection.input or connection.partial is not None:
        marks = Mark.INPUT
    if connection.output is not None:
        marks |= Mark.OUTPUT
    if connection.state == State.BINDING or connection.calls:
        marks |= Mark.OWED
    return marks
