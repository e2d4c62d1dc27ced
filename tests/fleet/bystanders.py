"""Well-behaved clients beside the ones that a test has misbehave: they must notice nothing."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS, connect
from tests.clients.senders import SENT, RawSender
from tests.fleet.fleet_process import Fleet


class Bystanders:
    """One bound client of every kind, and a sender."""

    def __init__(self, sender: RawSender, clients: dict[str, Conversation]) -> None:
        self.sender, self.clients = sender, clients
        self._count = 0

    def check(self) -> float:
        """A push to each arrives and a PING is answered; the longest time from push to arrival in seconds."""
        longest = 0.0
        for token, client in self.clients.items():
            self._count += 1
            payload = b"still here, %d" % self._count
            started = time.monotonic()
            request = self.sender.send_push([(token, payload)])
            assert client.read_push().body == payload
            longest = max(longest, time.monotonic() - started)
            assert self.sender.done(request)[0] == bytes([SENT])
            assert client.ping(60) == 60
        return longest


@contextmanager
def bystanders(fleet: Fleet, name: str = "bystander") -> Iterator[Bystanders]:
    """Bystanders that must be served before and after what happens inside."""
    with ExitStack() as stack:
        sender = stack.enter_context(RawSender(fleet.endpoint))
        clients = {f"{name}-{kind}": stack.enter_context(connect(kind, fleet.address)) for kind in KINDS}
        for token, client in clients.items():
            client.subscribe(token)
        found = Bystanders(sender, clients)
        found.check()
        yield found
        found.check()
