"""How a worker leaves: its clients to the other workers, its listeners too, and then the end; or all told to return."""

import logging
import socket
from collections.abc import Callable, Sequence

from gateway.acceptors import Acceptor
from gateway.client_loop import ClientLoop
from gateway.hand_over_messages import HandOverMessage, Keep, Kept
from gateway.kept_listeners import KeptListeners
from gateway.landing import Landing
from gateway.ownership import Ownership
from gateway.peers import PeerLink, close_all
from shared.places import host_of
from shared.reasons import CloseReason

logger = logging.getLogger(__name__)

#: Between two looks whether all clients have gone (seconds).
_LOOK_S, _LOOK_CLOSED_S = 0.01, 0.05
#: A worker that has only just started has this long to hear of a ring, and so of others (seconds).
_RING_S = 5
#: Another worker has this long to take a leaving one's listeners.
_KEEP_S = 1.0
_TRIES_MAX = 2
#: A stopping fleet's clients have this long to take their last bytes.
_STOP_S = 2


class Departure:
    """The end of a worker. `say_leaving` tells the routers; `end` is called once, when nothing is left to do."""

    def __init__(
        self,
        ownership: Ownership,
        clients: ClientLoop,
        landing: Landing,
        *,
        drain_timeout_s: int,
        say_leaving: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._ownership = ownership
        self._clients = clients
        self._landing = landing
        self._drain_timeout_s = drain_timeout_s
        self._say_leaving = say_leaving
        self._end = end
        self._acceptor: Acceptor
        self._kept: KeptListeners
        self._listeners: Sequence[socket.socket] = ()
        self._told = self._stopping = self._ended = False
        self._tries = 0  # to pass the listeners on
        self._awaiting: set[str] = set()  # workers whose listeners are being passed on
        landing.hand_overs.other = self._receive

    def accepting(self, acceptor: Acceptor, listeners: Sequence[socket.socket], kept: KeptListeners) -> None:
        """What is to be passed on: this worker's own listeners, and those that it keeps for others."""
        self._acceptor, self._listeners, self._kept = acceptor, listeners, kept

    def terminate(self) -> None:
        """First SIGTERM: leave the ring and give every client away. Second: stop."""
        if self._told:
            self.stop()
        self._told = True
        if not self._landing.leaving:
            self.leave()

    def leave(self) -> None:
        """Leave the ring and give every client away."""
        logger.info("worker %s leaves with %d connections", self._ownership.name, self._clients.table.count)
        self._landing.leaving = True
        self._leave_by = self._clients.wheel.tick + self._drain_timeout_s
        self._ring_by = self._clients.wheel.tick + min(_RING_S, self._drain_timeout_s)
        self._say_leaving()
        self._clients.later(_LOOK_S, self._leave_when_empty)

    def _leave_when_empty(self) -> None:
        """Go when all clients are with others; where there are no others, or in the end, tell them to return."""
        # until the ring without this worker has come, behind it the last push that was routed here, it cannot go
        left = self._landing.out
        alone = left and not self._ownership.others
        if left and self._landing.empty:
            self._pass_listeners()
        elif alone or self._clients.wheel.tick >= (self._leave_by if self._ownership.known else self._ring_by):
            self.stop()
        else:
            self._clients.later(_LOOK_S, self._leave_when_empty)

    def _pass_listeners(self) -> None:
        """Have another worker accept whoever waits in the queues, and those to come, until the successor is there."""
        others = self._ownership.others if self._tries < _TRIES_MAX else []
        link = self._landing.hand_overs.link(others[self._tries % len(others)]) if others else None
        if link is None or self._stopping:
            self._acceptor.sweep()
            self._clients.later(0, self._go if self._landing.empty else self._leave_when_empty)
            return
        self._acceptor.stop()
        host = host_of(self._ownership.name)
        passed = [(self._ownership.name, [listener.fileno() for listener in self._listeners])]
        passed += [(f"{host}/{index}", descriptors) for index, descriptors in self._kept.take_all()]
        self._awaiting = {worker for worker, _ in passed}
        for worker, descriptors in passed:
            link.send(Keep(worker), descriptors)
        self._clients.later(_KEEP_S, self._give_up_passing)

    def _give_up_passing(self) -> None:
        """The one that was asked does not answer, and may be no more: whoever waits is served here, and given away."""
        if self._awaiting and not self._stopping and not self._ended:
            self._tries += 1
            self._awaiting.clear()
            self._acceptor.go_on()
            self._acceptor.sweep()
            self._clients.later(_LOOK_S, self._leave_when_empty)

    def _receive(self, link: PeerLink, message: HandOverMessage, descriptors: list[int]) -> None:
        """KEEP of a worker that leaves, or KEPT of the one that was asked."""
        if isinstance(message, Keep):
            if self._kept.keep(message.worker, descriptors):
                link.send(Kept(message.worker))
            return
        close_all(descriptors)
        if isinstance(message, Kept) and message.worker in self._awaiting:
            self._awaiting.discard(message.worker)
            if not self._awaiting:
                self._go()

    def stop(self) -> None:
        """SIGINT: tell every client to return later, and end."""
        self._stopping = True
        self._acceptor.stop()
        self._landing.leaving = self._landing.stopping = True
        self._landing.disconnect_all(CloseReason.SHUTDOWN)
        self._stop_by = self._clients.wheel.tick + _STOP_S
        self._clients.later(_LOOK_CLOSED_S, self._go_when_closed)

    def _go_when_closed(self) -> None:
        if self._clients.table.count and self._clients.wheel.tick < self._stop_by:
            self._clients.later(_LOOK_CLOSED_S, self._go_when_closed)
        else:
            self._go()

    def _go(self) -> None:
        if not self._ended:
            self._ended = True
            self._landing.give_up()
            self._end()
