"""Composition root of a worker: builds the parts, starts them, and ends with them. Nothing imports this.

`gateway.launch` has opened the listeners; `gateway.guardian` has forked this process and watches it.
"""

import gc
import logging
import os
import signal
import socket
import sys
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import gevent.event
import zmq

from gateway.acceptors import Acceptor
from gateway.bus_handlers import BusHandlers, Process
from gateway.bus_keys import load_bus_keys, needs_keys
from gateway.bus_link import BusLink
from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Granted
from gateway.conversations import Conversations
from gateway.counters import new_counters
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.fan_outs import FanOuts
from gateway.hand_over_messages import HandOverMessage, Keep, Kept
from gateway.hand_overs import index_of
from gateway.held_pushes import HeldPushes
from gateway.kept_listeners import KeptListeners
from gateway.landing import Landing
from gateway.ledgers import Ledger, open_ledger
from gateway.ownership import Ownership
from gateway.peers import PeerLink, PeerListener, close_all
from gateway.processes import start_of_this_process, usual_priority, watch_process
from gateway.router_links import RouterLinks
from gateway.sessions import SessionLimits, SessionRules
from gateway.streams import StreamLimits
from gateway.take_overs import take_over
from shared.errors import SettingsError
from shared.places import hand_over_path, host_of, listener_path, pid_path, router_endpoints, worker_name
from shared.reasons import CloseReason
from shared.settings import Settings, is_loopback, split
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr
from shared.startup.environment import read_settings
from shared.startup.pid_files import holder_of

if TYPE_CHECKING:
    from gateway.credentials import Verifier

logger = logging.getLogger(__name__)

#: Another worker has this long to take a leaving one's listeners.
_KEEP_S = 1.0
#: A stopping fleet's clients have this long to take their last bytes.
_STOP_S = 2.0


def main(
    index: int, client_listener_fd: int, nginx_listener_fd: int, ledger_fd: int, *, guardian: int, evacuate: bool
) -> int:
    """Run worker `index` on listeners and ledger that are open already; the exit status.

    `guardian`: the pid of this process's parent. `evacuate`: serve nobody, give all clients away and leave.
    """
    try:
        settings = read_settings()
        log_to_stderr(settings)
        worker = Worker(settings, index, open_ledger(ledger_fd))
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
        self._stopping = False
        self._awaiting: set[str] = set()  # workers whose listeners are being passed on
        stream_limits = StreamLimits(settings.body_limit_bytes)
        self._clients = ClientLoop(settings, stream_limits, self._counters, ledger)
        encoder = Encoder(settings.deflate_min_bytes)
        rules = SessionRules(_session_limits(settings), encoder, _verifier(settings))
        self._ownership = Ownership(self.name)
        held = HeldPushes(settings.held_pushes_max, settings.held_bytes_max)
        self._deliveries = Deliveries(
            self._clients,
            encoder,
            self._ownership,
            held,
            payload_max=settings.body_limit_bytes,
            window=settings.unacknowledged_max,
        )
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
        process = Process(os.urandom(8).hex(), os.getpid(), start_of_this_process(), str(path))
        self._handlers = BusHandlers(
            self._clients, self._ownership, self._deliveries, self._fan_outs, self._landing, routers, encoder, process
        )
        for router, link in enumerate(self._links):
            link.receive = partial(self._handlers.receive, router)
        self._landing.moving.is_gone = self._is_gone
        hand_overs = self._landing.hand_overs
        hand_overs.incoming = lambda worker: [link for link in self._peers.links if link.worker == worker]
        hand_overs.other = self._keep_listeners
        hand_overs.doubts.is_gone = self._is_gone

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
            gevent.signal_handler(signal.SIGTERM, self._terminate),
            gevent.signal_handler(signal.SIGINT, self._stop),
        ]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        self._clients.start(self._conversations)
        proxies = [ip_network(network) for network in split(self._settings.trusted_proxies)]
        self._acceptor = Acceptor(self._clients, self._settings.hello_timeout_s, proxies)
        self._kept = KeptListeners(self._acceptor, self._clients.ledger, partial(listener_path, self._settings))
        self._listeners = [listener for listener, _ in listeners]
        self._take_over(serve=not evacuate)
        self._landing.leaving = evacuate
        self._handlers.say_ready_to_all()
        self._clients.each_tick(self._tick)
        self._beat = gevent.get_hub().loop.timer(0, self._settings.worker_heartbeat_ms / 1000)
        self._beat.start(self._clients.guarded, self._handlers.say_beat)
        for link in self._links:
            link.start()
        for listener, proxied in listeners if not evacuate else ():
            self._acceptor.listen(listener, proxied)
        self._guardian = watch_process(guardian, self._orphaned)
        logger.info("worker %s started, pid %d", self.name, os.getpid())
        usual_priority(guardian)
        if evacuate:
            self._leave()
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
        logger.info("worker %s ended", self.name)
        return 0

    def _take_over(self, serve: bool) -> None:
        """Go on with the clients of a predecessor that died. `serve`: read what they send."""
        own = self._clients.ledger.own
        self._fan_outs.latest, claimed = tuple(own.get("fan_outs", ())), bool(own.get("claims"))
        left = take_over(self._clients)
        for connection in left.served:
            connection.paused = not serve
            self._clients.adopt_again(connection, self._seconds_left(connection))
            self._landing.taken_over(connection, claimed)
        for index, connections in left.passing.items():
            for connection in connections:
                connection.deadline = self._clients.wheel.tick + self._seconds_left(connection)
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
            self._terminate()

    def _is_gone(self, worker: str) -> bool:
        """Whether no process of a worker of this host is left, its guardian neither."""
        return holder_of(pid_path(self._settings, index_of(worker))) is None

    def _terminate(self) -> None:
        """First SIGTERM: leave the ring and give every client away. Second: stop."""
        if self._landing.leaving:
            self._stop()
            return
        self._leave()

    def _leave(self) -> None:
        logger.info("worker %s leaves with %d connections", self.name, self._clients.table.count)
        self._landing.leaving = True
        self._leave_by = self._clients.wheel.tick + self._settings.drain_timeout_s
        self._handlers.say_leaving()
        self._clients.later(0.01, self._leave_when_empty)

    def _leave_when_empty(self) -> None:
        """Go when all clients are with others; where there are no others, or in the end, tell them to return."""
        # until the ring without this worker has come, behind it the last push that was routed here, it cannot go
        left = self._landing.out
        alone = left and not self._ownership.others
        if left and self._landing.empty:
            self._pass_listeners()
        elif alone or not self._ownership.known or self._clients.wheel.tick >= self._leave_by:
            self._stop()
        else:
            self._clients.later(0.01, self._leave_when_empty)

    def _pass_listeners(self) -> None:
        """Have another worker accept whoever waits in the queues, and those to come, until the successor is there."""
        host = host_of(self.name)
        others = [worker for worker in self._ownership.live if host_of(worker) == host]
        link = self._landing.hand_overs.link(others[0]) if others else None
        if link is None or self._stopping:
            self._acceptor.sweep()
            self._clients.later(0, self._go if self._landing.empty else self._leave_when_empty)
            return
        self._acceptor.stop()
        kept = [(self.name, [listener.fileno() for listener in self._listeners])]
        kept += [(worker_name(self._settings, index), descriptors) for index, descriptors in self._kept.take_all()]
        self._awaiting = {worker for worker, _ in kept}
        for worker, descriptors in kept:
            link.send(Keep(worker), descriptors)
        self._clients.later(_KEEP_S, self._go)

    def _keep_listeners(self, link: PeerLink, message: HandOverMessage, descriptors: list[int]) -> None:
        if isinstance(message, Keep):
            if self._kept.keep(message.worker, descriptors):
                link.send(Kept(message.worker))
            return
        close_all(descriptors)
        if isinstance(message, Kept):
            self._awaiting.discard(message.worker)
            if not self._awaiting:
                self._go()

    def _stop(self) -> None:
        """SIGINT: tell every client to return later, and end."""
        self._stopping = True
        self._acceptor.stop()
        self._landing.leaving = self._landing.stopping = True
        self._landing.disconnect_all(CloseReason.SHUTDOWN)
        self._stop_by = self._clients.wheel.tick + _STOP_S
        self._clients.later(0.05, self._go_when_closed)

    def _go_when_closed(self) -> None:
        if self._clients.table.count and self._clients.wheel.tick < self._stop_by:
            self._clients.later(0.05, self._go_when_closed)
        else:
            self._go()

    def _go(self) -> None:
        if self._ended.is_set():
            return
        self._landing.give_up()
        self._handlers.say_gone()
        self._ended.set()

    def _tick(self, tick: int) -> None:
        ledger = self._clients.ledger
        ledger.own["fan_outs"], ledger.own["claims"] = self._fan_outs.latest, bool(self._deliveries.claims.mine)
        ledger.note_own("counters", self._counters)
        self._collect(tick)

    def _collect(self, tick: int) -> None:
        """New records leave the garbage collector's sight: references alone end them, and a walk would cost p99."""
        if tick % 60 == 0:
            gc.collect(1)
            gc.freeze()


def _session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        body_bytes=settings.body_limit_bytes,
        heartbeat_min_s=settings.heartbeat_min_s,
        heartbeat_max_s=settings.heartbeat_max_s,
        heartbeat_texts=frozenset(text.encode() for text in split(settings.heartbeat_texts)),
        auth_required=settings.auth_required,
        open_subscribe=_open_subscribe(settings),
    )


def _open_subscribe(settings: Settings) -> bool:
    if settings.open_subscribe == "auto":
        return is_loopback(settings.host) and is_loopback(settings.senders_listen_on)
    return settings.open_subscribe == "yes"


def _warn_of_open_subscribe(settings: Settings) -> None:
    if _open_subscribe(settings):
        logger.warning("open_subscribe is on: without login a client may name any uid, and take over any token")


def _verifier(settings: Settings) -> "Verifier | None":
    if not settings.auth_keys_file:
        return None
    from gateway.credentials import Verifier, load_keys  # noqa: PLC0415  (a quarter of a start, and few need it)

    try:
        text = Path(settings.auth_keys_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("auth_keys_file", str(error).lower()) from None
    return Verifier(load_keys(text), settings.auth_audience)
