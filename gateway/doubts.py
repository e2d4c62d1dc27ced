"""Clients in doubt: given to a worker that had not confirmed them when the link ended.

It may have them, or the message was lost with the link; served by both, a stream would be garbled. So nobody serves
them until that worker, asked over a new link, has told which it has; or until it is known that all of its
processes have ended, its guardian too, and its sockets with them.
"""

from collections.abc import Callable, Sequence

from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.hand_over_messages import Ask, Have
from gateway.peers import PeerLink

#: Between two tries to reach a worker that starts again.
_RETRY_S = 0.02
#: Connections in one ASK: a message is read whole or not at all.
_ASKED_MAX = 1000

#: What became of them: given after all, come back.
Settle = Callable[[Sequence[Connection], Sequence[Connection]], None]


class Doubts:
    """By worker, the clients in doubt by the id of their connection."""

    def __init__(self, clients: ClientLoop, link: Callable[[str], PeerLink | None], settle: Settle) -> None:
        self._clients = clients
        self._link = link
        self._settle = settle
        #: Whether no process of a worker of this host is left.
        self.is_gone: Callable[[str], bool] = lambda worker: False
        self._by_worker: dict[str, dict[int, Connection]] = {}
        self._asked: dict[str, PeerLink] = {}
        self._scheduled = False

    @property
    def count(self) -> int:
        return sum(map(len, self._by_worker.values()))

    def add(self, worker: str, connections: Sequence[Connection]) -> None:
        """Find out whether `worker` has these."""
        if not connections:
            return
        known = self._by_worker.setdefault(worker, {})
        known |= {self._clients.ledger.passing_id_of(connection.fd): connection for connection in connections}
        self._asked.pop(worker, None)
        self._schedule(0)

    def _schedule(self, seconds: float) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clients.later(seconds, self._find_out)

    def _find_out(self) -> None:
        self._scheduled = False
        for worker in list(self._by_worker):
            link = self._link(worker)
            if link is None:
                if self.is_gone(worker):
                    self._settle((), list(self._by_worker.pop(worker).values()))
            elif self._asked.get(worker) is not link:
                self._asked[worker] = link
                ids = list(self._by_worker[worker])
                for start in range(0, len(ids), _ASKED_MAX):
                    link.send(Ask(ids[start : start + _ASKED_MAX]))
        if self._by_worker:
            self._schedule(_RETRY_S)

    def answered(self, worker: str, message: Have) -> None:
        """What the worker says of those it was asked for."""
        known, had = self._by_worker.get(worker, {}), set(message.ids)
        asked = [(number, known.pop(number)) for number in message.asked if number in known]
        if not known:
            self._by_worker.pop(worker, None)
        given = [connection for number, connection in asked if number in had]
        self._settle(given, [connection for number, connection in asked if number not in had])
