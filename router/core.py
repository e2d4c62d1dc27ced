"""The router's decisions, pure: messages of senders, workers and services in, messages for them out. It has no clock.

A shell calls, with `now` in monotonic seconds that never go back:

    core.from_worker(identity, frames, now)   for every message received on the bus
    core.from_sender(identity, frames, now)   for every message received from senders
    core.from_service(identity, frames, now)  for every message received from services
    core.tick(now)                            at `core.next_deadline()` at the latest
    core.flush(now)                           once per turn, after the above

and then sends what is in `core.outbox`: to workers in just that order (RING1 is a fence), telling what ZeroMQ did not
take by `core.unreachable` and `core.service_unreachable`; if one was called, it flushes and sends once more. It kills
what is in `outbox.kills`. The same calls give the same messages.
"""

from collections.abc import Callable, Sequence

from router.connections import Connection
from router.parts import build_parts
from router.pending import PendingPushes
from router.requesters import EVERY_SCOPE, Requesters
from router.service_messages import ServiceMessages
from router.workers import WorkerMessages
from shared.errors import BusError, RequestError
from shared.settings import Settings


class Core:
    """One router. `started_ms`: Unix time in ms, the first half of its epochs. `random_bytes(n)`: for push ids.

    `unix_us`: what time it is, in Unix microseconds. `position`: its place in the list of all
    routers (`places.router_position`).
    """

    def __init__(
        self,
        settings: Settings,
        started_ms: int,
        now: float,
        random_bytes: Callable[[int], bytes],
        unix_us: Callable[[], int],
        position: int = 0,
    ) -> None:
        self.parts = parts = build_parts(settings, started_ms, position, now, unix_us)
        self.outbox, self.counters = parts.outbox, parts.counters
        self._membership, self._claims = parts.membership, parts.claims
        self._requesters = Requesters(parts, random_bytes)
        self._workers = WorkerMessages(parts)
        self._services = ServiceMessages(parts, self._requesters)

    def from_sender(
        self, identity: bytes, frames: Sequence[bytes], now: float, scopes: frozenset[str] = EVERY_SCOPE
    ) -> None:
        """A message of a sender, without the identity frame. Anything may be in it."""
        self._follow(now)
        self._requesters.receive(self.parts.connections.get(identity), frames, now, scopes)

    def from_service(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """A message of a service, without the identity frame; anything may be in it.

        `identity` is unlike that of any connection to another socket.
        """
        self._follow(now)
        self._services.receive(identity, frames, now)

    def _follow(self, now: float) -> None:
        """What is said next is routed by the newest ring and claims."""
        if self._membership.changed or self._claims.moved:
            self._renew(now)

    def from_worker(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """A message of a worker, without the identity frame. One that does not decode is counted."""
        try:
            self._workers.receive(identity, frames, now)
        except BusError as error:
            self.counters["bus_errors"] += 1
            worker = self._membership.workers.get(identity)
            if worker is not None and not worker.faulty:
                worker.faulty = True
                self.outbox.notices.append(f"bus message of {worker.name} passed over: {error}")

    def unreachable(self, identity: bytes, unsent: Sequence[list[bytes]], now: float) -> None:
        """ZeroMQ has no link to that worker and did not take `unsent`: all messages to it from the first failure on."""
        self._membership.not_asked(identity)
        worker = self._membership.workers.get(identity)
        if worker is not None:
            self._workers.unreachable(worker, unsent, now)

    def service_unreachable(self, identity: bytes, unsent: Sequence[list[bytes]], now: float) -> None:
        """ZeroMQ does not take what goes to that service: `unsent`, from the first failure on."""
        self._services.unreachable(identity, unsent, now)

    def fault(self, identity: bytes, frames: Sequence[bytes]) -> None:
        """Handling this message of a sender ended in a bug of ours: it is answered, unless it was taken in before."""
        self._say_fault(self.parts.connections.get(identity), frames)

    def service_fault(self, identity: bytes, frames: Sequence[bytes]) -> None:
        """Likewise, of a service."""
        self._say_fault(self.parts.service_connections.get(identity), frames)

    def _say_fault(self, connection: Connection, frames: Sequence[bytes]) -> None:
        request_id = frames[1] if len(frames) > 1 else b""
        if not any(
            pending.request_id == request_id and pending.connection is connection
            for pending in self.parts.answers.unanswered
        ):
            error = RequestError("internal_error", "the router could not handle this request")
            self.parts.answers.say_fail(connection, request_id, error)

    def sender_gone(self, identity: bytes) -> None:
        """ZeroMQ has no link to that sender any more."""
        self.parts.connections.forget(identity)

    def senders_gone(self) -> None:
        """The sender endpoint was closed, to be opened again."""
        self.parts.connections.forget_all()

    def tick(self, now: float) -> None:
        """What time alone decides: time-outs, silent workers, the end of settling, old ids."""
        self.parts.answers.expire(now)
        self.parts.services.expire(now)
        self.parts.services.look(now)
        self.parts.pushes.forget_expired(now)
        self._workers.look(now)
        self._claims.look(now)
        if not self._membership.settled:
            self._renew(now)
        self.parts.repeats.forget_old(now)

    def flush(self, now: float) -> None:
        """Put into the outbox what this turn's messages lead to."""
        self._follow(now)
        self.parts.pushes.flush(now)
        if self.parts.pushes.unreached is not None:
            self.parts.pushes.unreached.flush(now)
        self.parts.services.flush()

    def _renew(self, now: float) -> None:
        """Follow the newest claims and ring."""
        parts, membership = self.parts, self._membership
        parts.pushes.follow_claims()
        if not membership.settle(now) or not membership.changed:
            return
        renewed, returned = membership.renew(now), membership.take_returned()
        if renewed:
            self.counters["rings"] += 1
            parts.claims.change_ring(membership.owners, {worker.name for worker, fresh in returned if fresh})
            parts.pushes.change_ring(membership.owners, now)
            parts.fan_outs.change_ring(now)
            parts.calls.change_ring()
        for worker, fresh in returned:
            self._workers.welcome(worker, fresh, now)

    def next_deadline(self) -> float:
        """When `tick` must be called at the latest, in monotonic seconds."""
        look, deadline = self._membership.next_look(), self.parts.answers.next_deadline()
        look = min(look, self.parts.services.next_deadline())
        return look if deadline is None else min(look, deadline)

    def stop(self, now: float) -> None:
        """Take on nothing more: what no worker has is UNAVAILABLE now; what a worker has may still be answered."""
        parts = self.parts
        parts.pushes.stopping = parts.fan_outs.stopping = parts.calls.stopping = True
        parts.services.stop()
        for pending in list(parts.answers.unanswered):
            if isinstance(pending, PendingPushes) and parts.pushes.waits_in_router(pending):
                parts.pushes.expire(pending, now)

    @property
    def unanswered(self) -> int:
        """Requests and calls that are owed an answer."""
        return len(self.parts.answers.unanswered) + len(self.parts.services.unanswered)

    def end(self, now: float) -> None:
        """After `stop`: answer everything that is unanswered with what is known."""
        self.parts.services.end(now)
        for pending in list(self.parts.answers.unanswered):
            if not pending.answered:  # with the request of which it is a part
                pending.desk.expire(pending, now)
