"""Simulated senders: the real rules (`services.sender.protocol`) with a shell on simulated links."""

from collections.abc import Callable
from typing import NamedTuple

from services.sender.options import encode_options
from services.sender.policies import Policy
from services.sender.protocol import Protocol
from services.sender.tickets import Push
from shared.outcomes import Outcome
from simulator.bus import Dealer, Exchange, Frames
from simulator.worlds import World


class Sent(NamedTuple):
    """A push that was handed to the sender library."""

    push: Push
    token: bytes
    payload: bytes
    at: float


class Sender:
    """One sender process; nothing happens to it, all the more to those that it talks to."""

    def __init__(
        self,
        world: World,
        exchange: Exchange,
        name: str,
        host: str,
        endpoints: list[str],
        policy: Policy,
        timeout_ms: int,
    ) -> None:
        self.world, self._exchange, self.name, self.host = world, exchange, name, host
        self.policy = policy
        self.protocol = Protocol(endpoints, name.encode(), name.encode(), policy)
        self._options = encode_options({"timeout_ms": timeout_ms})
        self._dealer: Dealer | None = None
        self._dealers = 0
        self._due = False
        self._alarm = float("inf")
        self.open: dict[Push, Sent] = {}
        self.done: Callable[[Sender, Sent, Outcome], None] = lambda sender, sent, outcome: None
        self.asked: Callable[[Frames], None] = lambda frames: None
        self.wake()

    def push(self, token: bytes, payload: bytes) -> Sent:
        """Hand a push to the library."""
        push = Push(None, self.world.now + self.policy.give_up_s, token, payload, self._options)
        push.callbacks = []  # so that the ledger tells when it is answered
        sent = self.open[push] = Sent(push, token, payload, self.world.now)
        self.protocol.put_push(push)
        self.wake()
        return sent

    def wake(self) -> None:
        if not self._due:
            self._due = True
            self.world.after(self.world.network.uniform(0.00002, 0.0002), self._turn)

    def _turn(self) -> None:
        self._due = False
        now, protocol = self.world.now, self.protocol
        endpoint = protocol.endpoint_to_open(now)
        if endpoint is not None:
            self._open(endpoint)
            protocol.connection_opened(now)
        for frames in protocol.messages_to_send(now):
            self.asked(frames)
            if self._dealer is not None:
                self._dealer.links[0].to_router(frames)
        self._tell()
        deadline = protocol.next_deadline(now)
        if deadline <= now:
            self.wake()
        elif deadline < self._alarm:
            self._alarm = deadline
            self.world.at(deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = float("inf")
        self.wake()

    def _open(self, endpoint: str) -> None:
        """A new connection; it does not reconnect by itself."""
        if self._dealer is not None:
            self._dealer.close(linger=False)
        self._dealers += 1
        self._dealer = dealer = Dealer(self._exchange, f"{self.name}.{self._dealers}", self.host)
        dealer.arrived = lambda frames: self._arrived(dealer, frames)
        dealer.disconnected = lambda link: self._lost(dealer)
        dealer.connect(endpoint)

    def _arrived(self, dealer: Dealer, frames: Frames) -> None:
        if dealer is self._dealer:
            self.protocol.receive_message(frames, self.world.now)
            self._tell()
            self.wake()

    def _lost(self, dealer: Dealer) -> None:
        dealer.close(linger=False)
        if dealer is self._dealer:
            self._dealer = None
            self.world.note(self.name, "router lost")
            self.protocol.connection_lost(self.world.now, "the connection ended")
            self.wake()

    def _tell(self) -> None:
        for ticket in self.protocol.take_answered():
            sent = self.open.pop(ticket, None)  # type: ignore[call-overload]
            if sent is not None:
                assert ticket.value is not None, ticket.error
                self.done(self, sent, ticket.value)
