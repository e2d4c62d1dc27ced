"""Clients that are told that they are bound when every router that is heard knows of their user and groups.

Until then a push to a user or a group might not find them by whichever router it comes. They are bound meanwhile: what
is pushed to them goes behind the answer.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.memberships import Memberships

#: An answer waits no longer than this for routers.
_WAIT_S = 1.0


@dataclass(slots=True, eq=False)
class _Batch:
    """The clients that came in one turn. `routers`: what each must note, or None while it is not told."""

    routers: dict[int, int | None]
    connections: dict[Connection, None] = field(default_factory=dict)


class MembershipWaits:
    """Answers at once where all is known already."""

    def __init__(
        self,
        clients: ClientLoop,
        memberships: Memberships,
        flows: Callable[[Connection], None],
    ) -> None:
        """`flows`: called with a client to which nothing waits to be written any longer."""
        self._clients, self._memberships, self._flows = clients, memberships, flows
        self._batches: list[_Batch] = []
        self._gathering: _Batch | None = None  # of this turn
        self._waits: Counter[Connection] = Counter()  # batches that a client is in: what flows, flows with the last
        memberships.turned, memberships.has_noted = self._turned, self._noted

    def answer(self, connection: Connection, data: bytes) -> None:
        """Send a client that is bound here the answer that says so, at once or as soon as routers know of it."""
        batch = self._batch() if self._memberships.ignorant(connection) else None
        if batch is None:
            self._clients.answer(connection, data)
        else:
            self._clients.withhold(connection, data)
            if connection not in batch.connections:
                batch.connections[connection] = None
                self._waits[connection] += 1
            self._memberships.changed()

    def _batch(self) -> _Batch | None:
        """That of this turn; None: no router is heard that could be waited for."""
        routers = self._memberships.noting
        if not self._gathering and routers:
            batch = self._gathering = _Batch(dict.fromkeys(routers))
            self._batches.append(batch)
            self._clients.later(_WAIT_S, partial(self._give_up, batch))
        return self._gathering

    def _turned(self) -> None:
        """All that is here has been told, as far as it could be."""
        self._gathering = None
        for batch in list(self._batches):
            for router, number in list(batch.routers.items()):
                if number is None:
                    self._expect(batch, router)
            self._end_if_known(batch)

    def _expect(self, batch: _Batch, router: int) -> None:
        due = batch.routers[router] = self._memberships.due_number(router)
        if due is not None and self._memberships.has_all(router, due):  # nothing had to be told
            del batch.routers[router]

    def _noted(self, router: int, number: int) -> None:
        for batch in list(self._batches):
            due = batch.routers.get(router)
            if due is not None and due <= number:
                del batch.routers[router]
                self._end_if_known(batch)

    def _end_if_known(self, batch: _Batch) -> None:
        if not batch.routers:
            self._end(batch)

    def _give_up(self, batch: _Batch) -> None:
        if batch in self._batches:
            self._clients.counters["members_unnoted"] += sum(connection.fd >= 0 for connection in batch.connections)
            self._end(batch)

    def _end(self, batch: _Batch) -> None:
        self._batches.remove(batch)
        for connection in batch.connections:
            self._clients.guarded(self._let_flow, connection)

    def _let_flow(self, connection: Connection) -> None:
        self._waits[connection] -= 1
        if self._waits[connection]:
            return
        del self._waits[connection]
        self._clients.let_flow(connection)
        self._flows(connection)
