"""Clients of every kind and a sender that goes on all the time, while the test changes the fleet under them."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import PING, PUSH, Packet
from tests.clients.senders import BUFFERED, SENT, RawSender
from tests.fleet.fleet_process import Fleet

DELIVERED = (SENT, BUFFERED)
#: Interval of a client's n-th PING: 20, 22, ... so that each has an answer of its own.
INTERVALS = [20 + 2 * number for number in range(190)]


class LoadedClient:
    """A client, what it has asked, and what it has received: sequences of pushes and intervals of PINGs."""

    def __init__(self, token: str, conversation: Conversation) -> None:
        self.token, self.conversation = token, conversation
        self.asked = 0
        self.pushes: list[int] = []
        self.answers: list[int] = []
        self.ended = False

    def ask(self) -> None:
        """One PING more."""
        if self.asked < len(INTERVALS):
            self.conversation.send(PING, {"interval": INTERVALS[self.asked]})
            self.asked += 1

    def read(self, packet: Packet) -> None:
        """Note a message."""
        if packet.signal == PUSH:
            self.pushes.append(int(packet.body.partition(b".")[0]))
        else:
            assert packet.signal == PING, packet
            self.answers.append(json.loads(packet.body)["interval"])

    def read_until(self, pushes: int) -> None:
        """Read until so many pushes and all answers have come."""
        while len(self.pushes) < pushes or len(self.answers) < self.asked:
            self.read(self.conversation.read())

    def read_to_end(self) -> None:
        """Read what comes until the connection ends, whole messages only."""
        try:
            while True:
                self.read(self.conversation.read())
        except (EOFError, ConnectionError):
            self.ended = True


class SteadyLoad:
    """`each` clients of every kind; a thread pushes to all in turn, in small requests, and keeps every outcome."""

    def __init__(self, fleet: Fleet, clients: list[LoadedClient]) -> None:
        self.clients = clients
        self.outcomes: dict[int, int] = {}
        self.sent_to: dict[str, list[int]] = {client.token: [] for client in clients}
        self._endpoint = fleet.endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._push, name="steady load")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more pushes; every outcome is known afterwards."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _push(self) -> None:
        numbers = itertools.count()
        with RawSender(self._endpoint, deadline=30) as sender:
            for turn in itertools.cycle(range(8)):
                if self._stop.is_set():
                    return
                batch = [(next(numbers), client.token) for client in self.clients[turn::8]]
                for number, token in batch:
                    self.sent_to[token].append(number)
                request = sender.send_push([(token, b"%d.%b" % (number, b"x" * 50)) for number, token in batch])
                outcomes, _ = sender.done(request)
                self.outcomes |= {number: outcome for (number, _), outcome in zip(batch, outcomes, strict=True)}
                time.sleep(0.002)  # a modest load, not a benchmark

    def pings(self, seconds: float) -> None:
        """Let the clients ask meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for client in self.clients:
                client.ask()
            time.sleep(0.02)

    def expect_nothing_lost(self) -> int:
        """After stop(): everything was delivered once, in order; every PING answered, in order. The pushes' number."""
        faults = {number: outcome for number, outcome in self.outcomes.items() if outcome not in DELIVERED}
        assert not faults, (
            f"{len(faults)} of {len(self.outcomes)} pushes were not delivered: {list(faults.items())[:9]}"
        )
        for client in self.clients:
            client.read_until(len(self.sent_to[client.token]))
            assert client.pushes == self.sent_to[client.token], f"{client.token} received others, or in another order"
            assert client.answers == INTERVALS[: client.asked]
            assert client.conversation.ping(30) == 30
        return len(self.outcomes)


@contextmanager
def steady_load(fleet: Fleet, each: int = 10) -> Iterator[SteadyLoad]:
    """Connected, bound, and under load."""
    with ExitStack() as stack:
        clients = []
        for number, kind in itertools.product(range(each), KINDS):
            token = f"steady-{kind}-{number}"
            conversation = stack.enter_context(connect(kind, fleet.address))
            conversation.subscribe(token)
            clients.append(LoadedClient(token, conversation))
        load = SteadyLoad(fleet, clients)
        load.start()
        stack.callback(load.stop)
        yield load
