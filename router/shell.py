"""The router's ZeroMQ loop: one thread, three to five ROUTER sockets, no rules.

| endpoint | socket | direction | purpose |
|---|---|---|---|
| places.sender_endpoint, TCP | ROUTER, bound | senders (DEALER) connect | docs/sender-protocol.md |
| places.bus_endpoint, ipc | ROUTER, bound | workers of this host (DEALER) connect | shared.bus |
| places.bus_tcp_endpoint, if set | ROUTER, bound | workers of other hosts (DEALER) connect | shared.bus |
| places.service_endpoint, ipc | ROUTER, bound | services of this host (DEALER) connect | docs/service-protocol.md |
| places.service_tcp_endpoint, if set | ROUTER, bound | services elsewhere (DEALER) connect | the same |

A turn receives everything that waits, within bounds, workers and services first (answers make room), and then sends
once: so what came together goes on together, and nothing ever waits for more to come.
"""

import logging
import time
from collections.abc import Iterator
from typing import NamedTuple

import zmq

from router import multipart
from router.buses import Buses
from router.core import Core
from router.kills import kill
from router.memory import MemoryWatch, ResidentMemory, give_back
from router.multipart import Receiver, Socket
from router.outbox import Kill
from router.push_logs import PushLogs
from router.requesters import EVERY_SCOPE
from router.security import Guard
from router.service_endpoints import ServiceEndpoints
from router.sockets import open_senders
from router.spans import tell
from shared.errors import SettingsError
from shared.settings import Settings
from shared.spans import Spans

log = logging.getLogger(__name__)

#: One turn takes at most so much from each socket, in bytes, so that the rest does not wait long (some 20 ms, or one
#: message). A message costs its bytes and what is as much work: 256 small ones make a turn.
TURN_COST = 1 << 20
MESSAGE_COST = 3_500
FRAME_COST = 100

#: When the router stops: how long workers may still answer, and how long answers may then take to be sent.
GRACE_S = 1.0
LINGER_MS = 500

#: A bug that comes again every turn must not eat the processor and the disk.
_AFTER_BUG_S = 0.05

#: Between two tries to bind an endpoint whose old socket ZeroMQ has not quite closed.
_REOPEN_S = 0.01


class Endpoints(NamedTuple):
    """What one router binds. `bus_tcp` None: no workers of other hosts; `services_tcp` likewise."""

    senders: str
    bus: str
    bus_tcp: str | None
    services: str
    services_tcp: str | None


class Shell:
    """Sockets and loop around one core."""

    def __init__(
        self,
        core: Core,
        settings: Settings,
        endpoints: Endpoints,
        guard: Guard | None,
        spans: Spans | None = None,
    ) -> None:
        """Open everything. Raises SettingsError that names what cannot be bound."""
        self._core, self._settings, self._guard = core, settings, guard
        self._sender_endpoint = endpoints.senders
        self._context: zmq.Context[Socket] = zmq.Context()
        self._poller = zmq.Poller()
        self._memory = MemoryWatch(settings.router_memory_bytes, time.monotonic())
        self._resident = ResidentMemory()
        self._push_logs, self._spans = PushLogs(), spans
        self._zap = guard.open(self._context) if guard is not None else None
        self._senders: Socket | None = None
        # PUSH1 has the most frames: identity, command, id, options, two per target; with one target too many it is
        # answered `too_many_targets`.
        self._frames_max = frames_max = 4 + 2 * (settings.max_targets + 1)
        try:
            self._buses = Buses(self._context, endpoints.bus, endpoints.bus_tcp, settings, guard)
            self._services = ServiceEndpoints(
                self._context, endpoints.services, endpoints.services_tcp, settings, guard, frames_max
            )
            self._senders = open_senders(self._context, endpoints.senders, settings, guard)
        except SettingsError:
            self._context.destroy(linger=0)
            raise
        self._listen_to(self._senders)
        for socket in self._buses.sockets + self._services.sockets:
            self._poller.register(socket, zmq.POLLIN)
        if self._zap is not None:
            self._poller.register(self._zap, zmq.POLLIN)

    def _listen_to(self, senders: Socket) -> None:
        self._senders_receiver = Receiver(senders, self._frames_max)
        self._poller.register(senders, zmq.POLLIN)

    def run(self, stop_descriptor: int) -> None:
        """Serve until that descriptor is readable; then answer what can be answered, and close."""
        self._poller.register(stop_descriptor, zmq.POLLIN)
        while stop_descriptor not in self._safe_turn():
            pass
        self._poller.unregister(stop_descriptor)
        self._core.stop(time.monotonic())
        log.info("stopping; workers have %d requests that they may still answer", self._core.unanswered)
        ends_at = time.monotonic() + GRACE_S
        while self._core.unanswered and time.monotonic() < ends_at:
            self._safe_turn(ends_at)
        self._core.end(time.monotonic())
        self._send(time.monotonic())
        self._context.destroy(linger=LINGER_MS)

    def _safe_turn(self, until: float = float("inf")) -> dict[Socket | int, int]:
        """A turn; a bug of ours in it costs a traceback in the log, not the router."""
        try:
            return self._turn(until)
        except Exception:
            self._log_bug("turn")
            time.sleep(_AFTER_BUG_S)
            return {}

    def _turn(self, until: float) -> dict[Socket | int, int]:
        """Wait for something to do, at most until `until`, and do all of it. Returns what was ready."""
        ready: dict[Socket | int, int] = dict(self._poller.poll(self._patience(until)))
        now = time.monotonic()
        for bus in self._buses.sockets:
            if bus in ready:
                self._receive_from_workers(bus, now)
        for socket in self._services.sockets:
            if socket in ready:
                self._receive_from_services(socket, now)
        if self._senders in ready:
            self._receive_from_senders(now)
        if self._zap in ready:
            self._answer_zap()
        if now >= self._core.next_deadline():
            self._core.tick(now)
        if now >= self._memory.next_look:
            self._watch_memory(now)
        if self._senders is None:
            self._reopen()
        self._send(now)
        return ready

    def _patience(self, until: float) -> int:
        """How long the poll may take, in milliseconds; rounded up, so that nothing is looked at too early."""
        wake = min(until, self._core.next_deadline(), self._memory.next_look)
        left = wake - time.monotonic() if self._senders is not None else _REOPEN_S
        return max(0, int(left * 1000) + 1) if left > 0 else 0

    def _receive_from_workers(self, bus: Socket, now: float) -> None:
        for frames, _ in self._messages(self._buses.receiver(bus)):
            self._buses.heard(frames[0], bus)
            try:
                self._core.from_worker(frames[0], frames[1:], now)
            except Exception:
                self._log_bug("message of a worker")

    def _receive_from_services(self, socket: Socket, now: float) -> None:
        for frames, _ in self._messages(self._services.receiver(socket)):
            identity = self._services.identity(frames[0], socket)
            try:
                self._core.from_service(identity, frames[1:], now)
            except Exception:
                self._log_bug("message of a service")
                self._core.service_fault(identity, frames[1:])

    def _receive_from_senders(self, now: float) -> None:
        guard = self._guard
        for frames, first in self._messages(self._senders_receiver):
            scopes = EVERY_SCOPE if guard is None else guard.scopes(first)
            try:
                self._core.from_sender(frames[0], frames[1:], now, scopes)
            except Exception:
                self._log_bug("message of a sender")
                self._core.fault(frames[0], frames[1:])

    def _messages(self, receiver: Receiver) -> Iterator[tuple[list[bytes], zmq.Frame]]:
        """One turn's messages."""
        cost = 0
        while cost < TURN_COST:
            if not receiver.waits():
                return
            try:
                message = receiver.receive()
            except zmq.Again:  # what waited was the rest of an overlong message
                return
            if message is None:
                return
            frames = message[0]
            cost += MESSAGE_COST + FRAME_COST * len(frames) + sum(map(len, frames))
            yield message

    def _log_bug(self, what: str) -> None:
        self._core.counters["internal_errors"] += 1
        log.exception("internal error in a %s", what)

    def _answer_zap(self) -> None:
        if self._guard is not None and self._zap is not None:
            self._guard.answer(self._zap)

    def _send(self, now: float) -> None:
        """Send what the turn led to. Losing a worker or service leads to more; each round loses at least one."""
        outbox, lost = self._core.outbox, True
        for victim in outbox.take_kills():
            self._kill(victim)
        while lost:
            self._core.flush(now)
            lost = self._send_to_workers(now) | self._send_to_services(now)
        self._send_to_senders()
        for notice in outbox.take_notices():
            log.info("%s", notice)
        for arrival in outbox.take_arrivals() if outbox.arrivals else ():
            self._push_logs.note(arrival)
            if self._spans is not None:
                tell(self._spans, arrival, time.time_ns() - int((time.monotonic() - arrival.now) * 1e9))

    def _send_to_workers(self, now: float) -> bool:
        """In order; after a failure nothing more to that worker. Returns whether any is unreachable."""
        unsent: dict[bytes, list[list[bytes]]] = {}
        for identity, frames in self._core.outbox.take_to_workers():
            if identity in unsent:
                unsent[identity].append(frames)
                continue
            try:
                multipart.send(self._buses.of(identity), identity, frames)
            except zmq.ZMQError:
                unsent[identity] = [frames]
        for identity, messages in unsent.items():
            self._buses.gone(identity)
            self._core.unreachable(identity, messages, now)
        return bool(unsent)

    def _send_to_services(self, now: float) -> bool:
        """Whether any is unreachable, or does not read."""
        unsent = self._services.send(self._core.outbox.take_to_services())
        for identity, messages in unsent.items():
            self._core.service_unreachable(identity, messages, now)
        return bool(unsent)

    def _kill(self, victim: Kill) -> None:
        """Only what is known to be of this host: who comes over TCP may say any pid."""
        if self._buses.is_local(victim.worker.encode()) and kill(victim):
            self._core.counters["workers_killed"] += 1
            log.warning("killed worker %s (pid %d), which is silent", victim.worker, victim.pid)

    def _send_to_senders(self) -> None:
        """An answer that cannot go is dropped and counted: its sender is gone, or does not read its answers."""
        senders = self._senders
        for identity, frames in self._core.outbox.take_to_senders():
            if senders is None:
                continue
            try:
                multipart.send(senders, identity, frames)
            except zmq.Again:
                self._core.counters["answers_dropped"] += 1
            except zmq.ZMQError:
                self._core.counters["answers_dropped"] += 1
                self._core.sender_gone(identity)

    def _watch_memory(self, now: float) -> None:
        if self._memory.just_reopened:
            give_back()
        resident = self._resident.bytes()
        if self._senders is None or not self._memory.over(now, resident):
            return
        self._core.counters["endpoint_reopened"] += 1
        log.warning("%d bytes of memory exceed router_memory_bytes: reopening the sender endpoint", resident)
        self._poller.unregister(self._senders)
        self._senders.close(linger=0)
        self._senders = None
        self._core.senders_gone()

    def _reopen(self) -> None:
        try:
            self._senders = open_senders(self._context, self._sender_endpoint, self._settings, self._guard)
        except (SettingsError, zmq.ZMQError):
            return  # ZeroMQ gives the old one's address and descriptors back in its own time: again next turn
        self._listen_to(self._senders)
