"""Handing clients over to other workers of this host, and taking theirs.

A giver stops serving a client, notes in the ledger to whom it passes, sends descriptor and record, and closes its own
descriptor when the taker has confirmed. A taker refuses a client whose token its ring does not give to it; the giver
then decides anew. What a taker has not confirmed when the link ends is in doubt (`gateway.doubts`). So a client has one
holder at any time, and is never passed on by a third.
"""

import logging
import os
from collections import defaultdict, deque
from collections.abc import Callable, Sequence, Set
from typing import Protocol

from gateway.client_loop import ClientLoop
from gateway.connections import Connection, State, decode_record, encode_record
from gateway.doubts import Doubts
from gateway.hand_over_messages import (
    RECORD_INLINE_MAX,
    RECORDS_BYTES_MAX,
    RECORDS_MAX,
    Ask,
    Give,
    HandOverMessage,
    Have,
    Hello,
    Moved,
    Taken,
)
from gateway.ledgers import new_id
from gateway.ownership import Ownership
from gateway.peers import PeerLink, Receive, close_all
from gateway.peers import connect as connect_by_path
from shared.errors import BusError
from shared.reasons import CloseReason

logger = logging.getLogger(__name__)

#: Makes a link: (path, own name, worker, receive, lost). Raises OSError.
Connect = Callable[[str, str, str, Receive, Callable[[PeerLink], None]], PeerLink]

#: Messages to one peer that may await its TAKEN; the rest waits here and goes together.
_WINDOW = 4
#: A worker whose link has broken comes to ask within this time (ticks), or never.
_ASK_TICKS = 15


class Taker(Protocol):
    """What becomes of clients that arrive or come back."""

    def wants(self, connection: Connection) -> bool:
        """Whether an arriving client belongs here."""

    def arrived(self, connection: Connection) -> None:
        """A client is ours now; it is in the table."""

    def came_back(self, connection: Connection) -> None:
        """A client could not be given; it is in no table."""


class HandOvers:
    """Batches of clients under way to and from each peer."""

    def __init__(
        self, clients: ClientLoop, ownership: Ownership, taker: Taker, connect: Connect = connect_by_path
    ) -> None:
        self._clients = clients
        self._connect = connect
        self._ownership = ownership
        self._taker = taker
        self._links: dict[str, PeerLink] = {}
        self._paths: dict[str, str] = {}
        self._waiting: defaultdict[str, list[Connection]] = defaultdict(list)
        self._under_way: dict[int, tuple[str, list[Connection]]] = {}
        self._batches: defaultdict[str, int] = defaultdict(int)  # under way, by peer
        self._unreachable: set[str] = set()  # said to be so in the log
        self._number = 0
        self.away: dict[bytes, Connection] = {}  # of those under way, the bound ones, by token: they may come back
        self.doubts = Doubts(clients, self._link, self._settle)
        self._accepted: defaultdict[str, deque[list[int]]] = defaultdict(lambda: deque(maxlen=_WINDOW))
        self._asked: list[tuple[PeerLink, Ask]] = []
        #: Workers whose link has broken though clients were accepted over it, and when (tick): they may come to ask.
        self._unasked: dict[str, int] = {}
        #: Ids of clients that a dead predecessor has had, and that are no more.
        self.known: Set[int] = frozenset()
        #: Links that a worker has made to this one.
        self.incoming: Callable[[str], Sequence[PeerLink]] = lambda worker: ()
        #: Messages that are not about clients.
        self.other: Receive = lambda link, message, descriptors: close_all(descriptors)
        self.greeted: Callable[[PeerLink], None] = lambda link: None
        self.given: Callable[[Connection], None] = lambda connection: None
        self.refused: Callable[[Connection], None] = lambda connection: None
        self.moved: Callable[[str, Moved], None] = lambda peer, message: None
        self.link_lost: Callable[[str], None] = lambda worker: None

    @property
    def count(self) -> int:
        """Clients given that are not confirmed yet."""
        under_way = sum(len(given) for _, given in self._under_way.values())
        return sum(map(len, self._waiting.values())) + under_way + self.doubts.count

    @property
    def may_be_asked(self) -> bool:
        """Whether another worker may still have to know who of its clients came here."""
        oldest = self._clients.wheel.tick - _ASK_TICKS
        peers = self._ownership.peers
        self._unasked = {worker: at for worker, at in self._unasked.items() if at > oldest and worker in peers}
        return bool(self._unasked)

    @property
    def moving(self) -> int:
        """Bound clients that are not confirmed yet: MOVED waits for them."""
        return len(self.away)

    # --- giving

    def give(self, connection: Connection, worker: str) -> None:
        """Hand a client over to `worker`, with all others of this turn. From now on it is not served here."""
        self._clients.ledger.mark(connection)  # a SUB that it has just said is owed an answer
        self._clients.let_go(connection)
        if connection.state == State.BOUND and connection.token:
            self.away[connection.token] = connection
        if not self._waiting[worker]:
            self._clients.soon(self._flush, worker)
        self._waiting[worker].append(connection)

    def say_moved(self) -> None:
        """Tell every other worker that the present ring has nothing more to take from this one."""
        for worker in self._ownership.peers:
            link = self._link(worker)
            if link:
                link.send(Moved(self._ownership.name, self._ownership.epoch))

    def _flush(self, worker: str) -> None:
        while self._waiting[worker] and self._batches[worker] < _WINDOW:
            link = self._link(worker)
            if link is None:
                self._come_back(self._waiting.pop(worker))
                return
            self._send_batch(link, worker)

    def _send_batch(self, link: PeerLink, worker: str) -> None:
        waiting = self._waiting[worker]
        records: list[bytes | None] = []
        descriptors: list[int] = []
        files: list[int] = []
        size = 0
        while len(records) < min(len(waiting), RECORDS_MAX) and size < RECORDS_BYTES_MAX:
            connection = waiting[len(records)]
            try:
                record = encode_record(connection, self._clients.wheel.tick)
            except Exception:
                logger.exception("internal error: no record of %s can be made", connection.address)
                self._clients.counters["internal_errors"] += 1
                self._taker.came_back(waiting.pop(len(records)))
                self._clients.destroy(connection, CloseReason.INTERNAL_ERROR)
                continue
            if len(record) > RECORD_INLINE_MAX:
                try:
                    files.append(_in_memory(record))
                except OSError:  # no descriptor is free
                    break
                descriptors += connection.fd, files[-1]
                records.append(None)
            else:
                size += len(record)
                descriptors.append(connection.fd)
                records.append(record)
        if not records:
            self._come_back([waiting.pop(0)])
            return
        given, self._waiting[worker] = waiting[: len(records)], waiting[len(records) :]
        self._number += 1
        self._under_way[self._number] = (worker, given)
        self._batches[worker] += 1
        ledger, peer = self._clients.ledger, index_of(worker)
        ids = [new_id() for _ in given]
        for connection, number in zip(given, ids, strict=True):
            ledger.passing(connection.fd, peer, number)
        link.send(Give(self._number, self._ownership.epoch, records, ids), descriptors, files)

    def _taken(self, message: Taken) -> None:
        if message.number not in self._under_way:
            return
        worker, given = self._under_way.pop(message.number)
        refused = set(message.refused).intersection(range(len(given)))
        for index, connection in enumerate(given):
            if index not in refused:
                self._given(connection)
        self._clients.counters["handed_over"] += len(given) - len(refused)
        for index in sorted(refused):
            self.refused(given[index])
        self._come_back([given[index] for index in sorted(refused)])
        self._batches[worker] -= 1
        self._flush(worker)

    def _given(self, connection: Connection) -> None:
        """It is the other's now."""
        self._not_away(connection)
        self._clients.ledger.leave(connection.fd)
        self._clients.close_descriptor(connection.fd)
        connection.fd = -1
        self.given(connection)

    def doubt(self, worker: str, connections: Sequence[Connection]) -> None:
        """Whether `worker` has these clients is to be found out; nobody serves them meanwhile."""
        for connection in connections:
            if connection.state == State.BOUND and connection.token:
                self.away[connection.token] = connection
        self.doubts.add(worker, connections)

    def _settle(self, given: Sequence[Connection], back: Sequence[Connection]) -> None:
        """Doubts are over."""
        for connection in given:
            self._given(connection)
        self._clients.counters["handed_over"] += len(given)
        self._come_back(list(back))

    def _come_back(self, connections: list[Connection]) -> None:
        for connection in connections:
            self._not_away(connection)
            self._clients.guarded(self._taker.came_back, connection)

    def _not_away(self, connection: Connection) -> None:
        if connection.token and self.away.get(connection.token) is connection:
            del self.away[connection.token]

    # --- taking

    def receive(self, link: PeerLink, message: HandOverMessage, descriptors: list[int]) -> None:
        """A message from a peer, on a link of either direction."""
        if not isinstance(message, Hello):
            self._unasked.pop(link.worker, None)  # it asks before it says anything else
        if isinstance(message, Give):
            link.send(Taken(message.number, self._take(link.worker, message, descriptors)))
        elif isinstance(message, Taken):
            self._taken(message)
        elif isinstance(message, Moved):
            self.moved(link.worker, message)
        elif isinstance(message, Ask):
            self._asked.append((link, message))
            self._answer_asked()
        elif isinstance(message, Have):
            self.doubts.answered(link.worker, message)
        elif isinstance(message, Hello):
            self.greeted(link)
        else:
            self.other(link, message, descriptors)

    def _answer_asked(self) -> None:
        """Answer those who ask, once everything on their broken links has been read."""
        asked, self._asked = self._asked, []
        for link, message in asked:
            if not link.open:
                continue  # it asks again
            if any(other is not link for other in self.incoming(link.worker)):
                self._asked.append((link, message))
                continue
            had = {number for batch in self._accepted[link.worker] for number in batch}
            had |= self._clients.ledger.ids() | self.known
            link.send(Have(message.ids, [number for number in message.ids if number in had]))

    def _take(self, giver: str, message: Give, descriptors: list[int]) -> list[int]:
        """Take what belongs here; indexes of the refused."""
        expected = sum(2 if record is None else 1 for record in message.records)
        if self._clients.is_full:
            close_all(descriptors)
            return list(range(len(message.records)))
        if len(descriptors) != expected:
            logger.warning("hand-over of %d clients came with %d descriptors", len(message.records), len(descriptors))
            close_all(descriptors)
            return list(range(len(message.records)))
        refused: list[int] = []
        arrived: list[tuple[Connection, int]] = []
        ids = message.ids if len(message.ids) == len(message.records) else [0] * len(message.records)
        received = iter(descriptors)
        for index, record in enumerate(message.records):
            fd = next(received)
            try:
                content = record if record is not None else _out_of_memory(next(received))
                connection = decode_record(content, fd, self._clients.wheel.tick)
            except BusError as error:
                logger.warning("hand-over: %s", error)
                os.close(fd)
                refused.append(index)
                continue
            if self._taker.wants(connection):
                connection.moves += 1  # its claim is greater than the giver's
                arrived.append((connection, ids[index]))
            else:
                os.close(fd)
                refused.append(index)
        self._accepted[giver].append([number for _, number in arrived])
        for connection, number in arrived:
            remaining = connection.deadline - self._clients.wheel.tick
            self._clients.adopt(connection, remaining, number)
        # all are in the ledger before the first is served: whoever asks after a crash of this worker is told the truth
        for connection, _ in arrived:
            self._clients.guarded(self._taker.arrived, connection)
        self._clients.counters["taken_over"] += len(arrived)
        return refused

    # --- links

    def link(self, worker: str) -> PeerLink | None:
        """A link to another worker of this host; None if it does not take any."""
        return self._link(worker)

    def _link(self, worker: str) -> PeerLink | None:
        link = self._links.get(worker)
        if link is None:
            path = self._ownership.live.get(worker) or self._ownership.leaving.get(worker) or self._paths.get(worker)
            if not path:
                return None
            self._paths[worker] = path  # it may be asked when the ring does not know it any more
            try:
                link = self._connect(path, self._ownership.name, worker, self.receive, self.lost)
            except OSError as error:
                if worker not in self._unreachable:  # its clients are tried again many times a second
                    logger.info("worker %s does not take clients: %s", worker, error.strerror)
                self._unreachable.add(worker)
                return None
            if not link.open:  # it failed with its first message
                return None
            self._unreachable.discard(worker)
            self._links[worker] = link
        return link

    def lost(self, link: PeerLink) -> None:
        """A link ended: what its peer has not confirmed is in doubt, what was not sent comes back."""
        if self._links.get(link.worker) is not link:
            if any(self._accepted[link.worker]):
                self._unasked[link.worker] = self._clients.wheel.tick
            self._answer_asked()
            return
        del self._links[link.worker]
        self._batches.pop(link.worker, None)
        for number in [number for number, (worker, _) in self._under_way.items() if worker == link.worker]:
            self.doubt(link.worker, self._under_way.pop(number)[1])
        self._come_back(self._waiting.pop(link.worker, []))
        self.link_lost(link.worker)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()


def index_of(worker: str) -> int:
    """The index in a worker's name."""
    return int(worker.rpartition("/")[2])


def _in_memory(record: bytes) -> int:
    """A memfd that holds a record."""
    descriptor = os.memfd_create("record", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(record)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _out_of_memory(descriptor: int) -> bytes:
    """The record that a memfd holds; closes it. Raises BusError."""
    with os.fdopen(descriptor, "rb") as file:
        try:
            file.seek(0)
            return file.read()
        except OSError as error:
            raise BusError(f"record in a file that cannot be read: {error}") from None
