"""Composition root of a worker: builds the parts, starts them, and ends with them. Nothing imports this.

`gateway.launch` has opened the listeners; `gateway.guardian` has forked this process and watches it.
"""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_network

import gevent
import gevent.event
import zmq

from gateway.acceptors import Acceptor
from gateway.bus_handlers import BusHandlers, Process
from gateway.bus_keys import load_bus_keys, needs_keys
from gateway.bus_link import BusLink
from gateway.calls import Calls
from gateway.client_loop import ClientLoop
from gateway.connection_lines import PAUSE_S
from gateway.connections import Connection, Granted
from gateway.conversations import Conversations
from gateway.counters import new_counters
from gateway.deliveries import Deliveries
from gateway.departures import Departure
from gateway.encoders import Encoder
from gateway.explanations import Explanations
from gateway.fan_outs import FanOuts
from gateway.hand_overs import index_of
from gateway.held_pushes import HeldPushes
from gateway.kept_listeners import KeptListeners
from gateway.kept_pushes import KeptPushes
from gateway.landing import Landing
from gateway.ledgers import Ledger, open_ledger
from gateway.membership_asks import MembershipAsks
from gateway.membership_waits import MembershipWaits
from gateway.memberships import Memberships
from gateway.ownership import Ownership
from gateway.peers import PeerListener
from gateway.presences import Presences
from gateway.processes import start_of_this_process, usual_priority, watch_process
from gateway.router_links import RouterLinks
from gateway.session_settings import open_subscribe, session_limits, verifier
from gateway.sessions import SessionRules
from gateway.streams import StreamLimits
from gateway.take_overs import take_over
from gateway.traces import Traces
from shared.errors import SettingsError
from shared.places import hand_over_path, listener_path, pid_path, router_endpoints, worker_name
from shared.settings import Settings, split
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr
from shared.startup.environment import read_settings
from shared.startup.pid_files import holder_of
from shared.startup.protobuf_files import load_registry

logger = logging.getLogger(__name__)


def main(
    index: int, client_listener_fd: int, nginx_listener_fd: int, ledger_fd: int, *, guardian: int, evacuate: bool
) -> int:
    """Run worker `index` on listeners and ledger that are open already; the exit status.

    `guardian`: the pid of this process's parent. `evacuate`: serve nobody, give all clients away and leave.
    """
    try:
        settings = read_settings()
        take_dropped = log_to_stderr(settings)
        worker = Worker(settings, index, open_ledger(ledger_fd))
        worker.take_dropped_lines = take_dropped
    except SettingsError as error:
        print(f"push-gateway: {error}", file=sys.stderr)
        return BAD_SETTINGS
    listeners = [
        (socket.socket(fileno=os.dup(client_listener_fd)), False),
        (socket.socket(fileno=os.dup(nginx_listener_fd)), True),
    ]
    return worker.run(listeners, guardian, evacuate)


class Worker:
    """All parts of one worker, joined."""

    def __init__(self, settings: Settings, index: int, ledger: Ledger) -> None:
        self._settings = settings
        self.name = worker_name(settings, index)
        self._counters = new_counters()
        self._counters |= ledger.own.get("counters", {})  # a predecessor's, so that they go on
        self._ended = gevent.event.Event()
        self.take_dropped_lines: Callable[[], int] = lambda: 0
        stream_limits = StreamLimits(settings.body_limit_bytes)
        self._clients = ClientLoop(settings, stream_limits, self._counters, ledger)
        registry = load_registry(settings)
        encoder = Encoder(settings.deflate_min_bytes, registry, os.urandom)
        rules = SessionRules(session_limits(settings), encoder, verifier(settings), registry)
        self._ownership = Ownership(self.name)
        held = HeldPushes(settings.held_pushes_max, settings.held_bytes_max)
        self._deliveries = Deliveries(
            self._clients,
            encoder,
            self._ownership,
            held,
            Traces(settings.recent_messages_max, settings.recent_bytes_max, self._counters),
            payload_max=settings.body_limit_bytes,
            window=settings.unacknowledged_max,
        )
        self._kept_pushes = KeptPushes(self._clients, self._deliveries, self._ownership, settings)
        self._fan_outs = FanOuts(self._clients, self._deliveries, encoder, settings.body_limit_bytes)
        self._landing = Landing(
            self._clients,
            self._ownership,
            rules,
            encoder,
            self._deliveries,
            self._fan_outs,
            timeout_s=settings.move_timeout_s,
            retry_after_ms=settings.retry_after_ms,
        )
        self._conversations = Conversations(
            self._clients,
            rules,
            encoder,
            settings,
            frozenset(name.lower() for name in split(settings.websocket_origins)),
        )
        self._conversations.bind = self._landing.bind
        self._conversations.ended = self._landing.ended
        self._conversations.healthy = lambda: self.name in self._ownership.live
        path = hand_over_path(settings, index)
        self._peers = PeerListener(path, self._landing.receive, self._landing.lost)
        self._links = self._make_links()
        routers = RouterLinks(self._links, lambda: self._clients.wheel.tick, settings.worker_heartbeat_ms)
        calls = Calls(
            self._clients,
            routers,
            worker=self.name,
            timeout_ms=settings.call_timeout_ms,
            most=settings.worker_calls_max,
            first=int.from_bytes(os.urandom(4), "big") << 31,
        )
        rules.forwarding.serves = calls.serves
        self._conversations.calls = calls
        self._conversations.owed_nothing = self._landing.owed_nothing
        self._kept_pushes.owed_nothing = self._landing.owed_nothing
        self._kept_pushes.storing.calls = calls
        self._conversations.acknowledged = self._kept_pushes.acknowledged
        process = Process(os.urandom(8).hex(), os.getpid(), start_of_this_process(), str(path))
        self._presences = presences = Presences(
            self._clients,
            calls,
            self._landing.hand_overs.away,
            worker=self.name,
            incarnation=process.incarnation,
            lease_ms=settings.presence_lease_ms,
        )
        groups, away = self._fan_outs.groups, self._landing.hand_overs.away
        memberships = Memberships(
            self._clients, self._ownership, routers, groups, away, first=int.from_bytes(os.urandom(4), "big") << 31
        )
        waits = MembershipWaits(self._clients, memberships, self._kept_pushes.replays.go_on)
        asks = MembershipAsks(self._clients, calls, groups, memberships, self._fan_outs, worker=self.name)
        self._clients.table.bound = partial(_each, (asks.bound, presences.bound))
        self._clients.table.released = asks.released
        self._landing.said_again, self._landing.pack, self._landing.answer = asks.bound, asks.pack, waits.answer
        self._conversations.closed_for = presences.ended
        self._landing.unbound, self._landing.given = presences.unbound, presences.given
        self._handlers = BusHandlers(
            self._clients,
            self._ownership,
            self._deliveries,
            self._fan_outs,
            self._landing,
            routers,
            encoder,
            process,
            calls,
            self._kept_pushes,
            memberships,
            asks,
            Explanations(self._clients, self._ownership, self._deliveries, self._kept_pushes, routers, settings),
        )
        for router, link in enumerate(self._links):
            link.receive, link.freed = partial(self._handlers.receive, router), partial(memberships.freed, router)
        self._landing.moving.is_gone = self._is_gone
        hand_overs = self._landing.hand_overs
        hand_overs.incoming = lambda worker: [link for link in self._peers.links if link.worker == worker]
        hand_overs.doubts.is_gone = self._is_gone
        self._departure = Departure(
            self._ownership,
            self._clients,
            self._landing,
            drain_timeout_s=settings.drain_timeout_s,
            say_leaving=self._handlers.say_leaving,
            end=self._end,
        )

    def _make_links(self) -> list[BusLink]:
        """A link to each router."""
        endpoints, identity = router_endpoints(self._settings), self.name.encode()
        keys = load_bus_keys(self._settings, endpoints)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        return [
            BusLink(
                endpoint,
                identity,
                self._clients.guarded,
                self._counters,
                self._context,
                keys if needs_keys(endpoint) else None,
            )
            for endpoint in endpoints
        ]

    def run(self, listeners: list[tuple[socket.socket, bool]], guardian: int, evacuate: bool) -> int:
        """Serve until told to leave or to stop; the exit status."""
        _warn_of_open_subscribe(self._settings)
        self._signals = [
            gevent.signal_handler(signal.SIGTERM, self._departure.terminate),
            gevent.signal_handler(signal.SIGINT, self._departure.stop),
        ]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        self._clients.start(self._conversations)
        self._clients.logs.choose(self._settings.log_connections)
        self._clients.logs.lines.later = partial(self._clients.later, PAUSE_S)
        proxies = [ip_network(network) for network in split(self._settings.trusted_proxies)]
        self._acceptor = Acceptor(self._clients, self._settings.hello_timeout_s, proxies)
        self._kept = KeptListeners(self._acceptor, self._clients.ledger, partial(listener_path, self._settings))
        self._departure.accepting(self._acceptor, [listener for listener, _ in listeners], self._kept)
        self._take_over(serve=not evacuate)
        self._landing.leaving = evacuate
        self._handlers.say_ready_to_all()
        self._clients.each_tick(self._tick)
        self._beat = gevent.get_hub().loop.timer(0, self._settings.worker_heartbeat_ms / 1000)
        self._beat.start(self._clients.guarded, self._say_beat)
        for link in self._links:
            link.start()
        for listener, proxied in listeners if not evacuate else ():
            self._acceptor.listen(listener, proxied)
        self._guardian = watch_process(guardian, self._orphaned)
        logger.info("worker %s started, pid %d", self.name, os.getpid())
        usual_priority(guardian)
        if evacuate:
            self._departure.leave()
        # what is there now lives as long as the process: no collection need walk it
        gc.collect()
        gc.freeze()
        self._ended.wait()
        self._beat.stop()
        self._kept.close()
        self._landing.stop()
        self._peers.close()
        for link in self._links:
            link.close()
        self._context.term()
        self._clients.logs.lines.write()
        logger.info("worker %s ended", self.name)
        return 0

    def _take_over(self, serve: bool) -> None:
        """Go on with the clients of a predecessor that died. `serve`: read what they send."""
        claimed = bool(self._clients.ledger.own.get("claims"))
        self._fan_outs.go_on()
        left = take_over(self._clients)
        self._landing.hand_overs.known = left.known
        for connection in left.served:
            connection.paused = not serve
            self._clients.adopt_again(connection, self._seconds_left(connection))
            self._landing.taken_over(connection, claimed)
        self._fan_outs.marks.closed(left.lost)
        self._landing.unfit = left.unfit
        for index, connections in left.passing.items():
            for connection in connections:
                connection.deadline = self._clients.wheel.tick + self._seconds_left(connection)
                self._fan_outs.marks.taken_over(connection)  # it may come back
            self._landing.hand_overs.doubt(worker_name(self._settings, index), connections)
        for index, descriptors in left.listeners.items():
            self._kept.go_on(index, descriptors)
        passing = sum(map(len, left.passing.values()))
        self._counters["taken_again"] += len(left.served)
        if left.served or left.lost or passing:
            logger.info("clients taken over: %d, closed: %d, in doubt: %d", len(left.served), left.lost, passing)

    def _seconds_left(self, connection: Connection) -> int:
        """A client of a predecessor has a whole heartbeat from now on, or time for its first packet."""
        if connection.granted & Granted.HEARD:
            return self._conversations.deadline(connection)
        return self._settings.hello_timeout_s + 1

    def _orphaned(self) -> None:
        logger.warning("the guardian of worker %s has died: giving its clients away", self.name)
        if not self._landing.leaving:
            self._departure.leave()

    def _is_gone(self, worker: str) -> bool:
        """Whether no process of a worker of this host is left, its guardian neither."""
        return holder_of(pid_path(self._settings, index_of(worker))) is None

    def _end(self) -> None:
        self._presences.finish(self._gone)

    def _gone(self) -> None:
        self._handlers.say_gone()
        self._ended.set()

    def _say_beat(self) -> None:
        # Noted first: a successor must not go on from less than what was told.
        self._clients.ledger.note_own(counters=self._counters)
        self._handlers.say_beat()

    def _tick(self, tick: int) -> None:
        ledger = self._clients.ledger
        left_out = self._clients.logs.take_left_out() + self._handlers.push_logs.take_left_out()
        self._counters["log_lines_dropped"] += self.take_dropped_lines() + left_out
        ledger.own["claims"] = bool(self._deliveries.claims.mine)
        ledger.note_own(counters=self._counters)
        self._collect(tick)

    def _collect(self, tick: int) -> None:
        """New records leave the garbage collector's sight: references alone end them, and a walk would cost p99."""
        if tick % 60 == 0:
            gc.collect(1)
            gc.freeze()


def _each(callbacks: Sequence[Callable[[Connection], None]], connection: Connection) -> None:
    for callback in callbacks:
        callback(connection)


def _warn_of_open_subscribe(settings: Settings) -> None:
    if open_subscribe(settings):
        logger.warning("open_subscribe is on: without login a client may name any uid, and take over any token")
