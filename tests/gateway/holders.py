"""Workers as far as hand-overs need them, in the test's own process."""

from pathlib import Path

from gateway.connections import Protocol
from gateway.hand_over_messages import Hello
from gateway.hand_overs import HandOvers
from gateway.ownership import Ownership
from gateway.peers import PeerListener, close_all
from shared.rings import Epoch

EPOCH = Epoch(1, 1)


class Idle:
    """An application that only answers packets by their number."""

    def __init__(self, loop):
        self.loop = loop

    def handle(self, connection, event):
        self.loop.answer(connection, b"%d;" % event.message_id)

    def fault(self, connection, error):
        raise AssertionError(error)

    def closed(self, connection, reason):
        pass

    def deadline(self, connection):
        return 60


class Holder:
    """A worker as far as hand-overs need it: a loop, hand-overs, and a taker that notes what it gets."""

    def __init__(self, name, made, directory):
        self.name, self.clients = name, made
        self.loop, self.counters = made.loop, made.counters
        self.loop.start(Idle(self.loop))
        self.path = f"{directory}/{name[-1]}.sock"
        self.ownership = Ownership(name)
        self.hand_overs = HandOvers(self.loop, self.ownership, self)
        self.hand_overs.moved = lambda peer, message: self.moves.append((peer, message))
        self.arrivals, self.returned, self.moves, self.links_lost = [], [], [], []
        self.hand_overs.link_lost = self.links_lost.append
        self.gone = True  # whoever cannot be called has ended, guardian and all
        self.hand_overs.doubts.is_gone = lambda worker: self.gone
        self.listener = PeerListener(Path(self.path), self.hand_overs.receive, self.hand_overs.lost)
        self.hand_overs.incoming = lambda worker: [link for link in self.listener.links if link.worker == worker]
        self.refuses = lambda connection: False
        self.breaks = lambda connection: False

    def wants(self, connection):
        return not self.refuses(connection)

    def arrived(self, connection):
        self.arrivals.append(connection)

    def came_back(self, connection):
        if self.breaks(connection):
            raise RuntimeError("bug")
        self.loop.adopt(connection, 60)
        self.returned.append(connection)

    def bound(self, number, **fields):
        """(client's end, record) of a client with token b"t<number>"."""
        end, connection = self.clients.connect()
        connection.protocol = Protocol.V2
        self.loop.table.bind(connection, b"t%d" % number)
        for name, value in fields.items():
            setattr(connection, name, value)
        return end, connection

    def close(self):
        self.hand_overs.close()
        self.listener.close()


class Mute:
    """A peer that takes messages and does not answer by itself."""

    def __init__(self, path):
        Path(path).unlink(missing_ok=True)
        self.received, self.links = [], []
        self.listener = PeerListener(Path(path), self.receive, lambda link: None)

    def receive(self, link, message, fds):
        close_all(fds)
        if not isinstance(message, Hello):
            self.received.append(message)
            self.links.append(link)

    def close(self):
        self.listener.close()


def idle(*made):
    return all(one.hand_overs.count == one.hand_overs.moving == 0 for one in made)
