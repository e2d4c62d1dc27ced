"""Composition root of a worker: builds the parts, starts them, and ends with them. Nothing imports this.

`gateway.launch` has opened the listeners; `gateway.guardian` has forked this process and watches it.
"""

import gc
import logging
import os
import signal
import socket
import sys
from ipaddress import ip_network
from pathlib import Path

import gevent
import gevent.event

from gateway.acceptors import Acceptor
from gateway.bus_handlers import BusHandlers
from gateway.bus_link import BusLink
from gateway.client_loop import ClientLoop
from gateway.conversations import Conversations
from gateway.counters import new_counters
from gateway.credentials import Verifier, load_keys
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.fan_outs import FanOuts
from gateway.held_pushes import HeldPushes
from gateway.landing import Landing
from gateway.ownership import Ownership
from gateway.peers import PeerListener
from gateway.sessions import SessionLimits, SessionRules
from gateway.streams import StreamLimits
from shared.errors import SettingsError
from shared.places import hand_over_path, router_endpoints, worker_name
from shared.reasons import CloseReason
from shared.settings import Settings, is_loopback, split
from shared.startup.command_lines import BAD_SETTINGS, log_to_stderr
from shared.startup.environment import read_settings

logger = logging.getLogger(__name__)

#: A stopping fleet's clients have this long to take their last bytes.
_STOP_S = 2.0


def main(index: int, client_listener_fd: int, nginx_listener_fd: int) -> int:
    """Run worker `index` on listeners that are open already; the exit status."""
    try:
        settings = read_settings()
        log_to_stderr(settings)
        worker = Worker(settings, index)
    except SettingsError as error:
        print(f"push-gateway: {error}", file=sys.stderr)
        return BAD_SETTINGS
    listeners = [
        (socket.socket(fileno=os.dup(client_listener_fd)), False),
        (socket.socket(fileno=os.dup(nginx_listener_fd)), True),
    ]
    return worker.run(listeners)


class Worker:
    """All parts of one worker, joined."""

    def __init__(self, settings: Settings, index: int) -> None:
        self._settings = settings
        self.name = worker_name(settings, index)
        self._counters = new_counters()
        self._ended = gevent.event.Event()
        stream_limits = StreamLimits(settings.body_limit_bytes)
        self._clients = ClientLoop(settings, stream_limits, self._counters)
        encoder = Encoder(settings.deflate_min_bytes)
        rules = SessionRules(_session_limits(settings), encoder, _verifier(settings))
        self._ownership = Ownership(self.name)
        held = HeldPushes(settings.held_pushes_max, settings.held_bytes_max)
        deliveries = Deliveries(
            self._clients,
            encoder,
            self._ownership,
            held,
            payload_max=settings.body_limit_bytes,
            window=settings.unacknowledged_max,
        )
        fan_outs = FanOuts(self._clients, deliveries, encoder, settings.body_limit_bytes)
        self._landing = Landing(
            self._clients,
            self._ownership,
            rules,
            encoder,
            deliveries,
            fan_outs,
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
        self._conversations.healthy = lambda: self.name in self._ownership.live
        path = hand_over_path(settings, index)
        self._peers = PeerListener(path, self._landing.receive, self._landing.lost)
        self._bus = BusLink(
            router_endpoints(settings)[0],
            self.name.encode(),
            self._clients.guarded,
            self._counters,
        )
        self._handlers = BusHandlers(
            self._clients, self._ownership, deliveries, fan_outs, self._landing, self._bus, encoder, str(path)
        )
        self._bus.receive = self._handlers.receive

    def run(self, listeners: list[tuple[socket.socket, bool]]) -> int:
        """Serve until told to leave or to stop; the exit status."""
        _warn_of_open_subscribe(self._settings)
        self._signals = [
            gevent.signal_handler(signal.SIGTERM, self._terminate),
            gevent.signal_handler(signal.SIGINT, self._stop),
        ]
        self._clients.start(self._conversations)
        self._handlers.say_ready()
        self._clients.each_tick(self._tick)
        self._beat = gevent.get_hub().loop.timer(0, self._settings.worker_heartbeat_ms / 1000)
        self._beat.start(self._clients.guarded, self._handlers.say_beat)
        self._bus.start()
        proxies = [ip_network(network) for network in split(self._settings.trusted_proxies)]
        self._acceptor = Acceptor(self._clients, self._settings.hello_timeout_s, proxies)
        for listener, proxied in listeners:
            self._acceptor.listen(listener, proxied)
        logger.info("worker %s started, pid %d", self.name, os.getpid())
        # what is there now lives as long as the process: no collection need walk it
        gc.collect()
        gc.freeze()
        self._ended.wait()
        self._beat.stop()
        self._landing.stop()
        self._peers.close()
        self._bus.close()
        logger.info("worker %s ended", self.name)
        return 0

    def _terminate(self) -> None:
        """First SIGTERM: leave the ring and give every client away. Second: stop."""
        if self._landing.leaving:
            self._stop()
            return
        logger.info("worker %s leaves with %d connections", self.name, self._clients.table.count)
        self._landing.leaving = True
        self._leave_by = self._clients.wheel.tick + self._settings.drain_timeout_s
        self._handlers.say_leaving()
        self._clients.later(0.01, self._leave_when_empty)

    def _leave_when_empty(self) -> None:
        """Go when all clients are with others; where there are no others, or in the end, tell them to return."""
        # until the ring without this worker has come, behind it the last push that was routed here, it cannot go
        left = self._ownership.known and self.name not in self._ownership.live
        alone = left and not self._ownership.live
        if left and self._landing.empty:
            # whoever has been waiting to be accepted still gets served
            self._acceptor.sweep()
        if left and self._landing.empty:
            self._go()
        elif alone or not self._ownership.known or self._clients.wheel.tick >= self._leave_by:
            self._stop()
        else:
            self._clients.later(0.01, self._leave_when_empty)

    def _stop(self) -> None:
        """SIGINT: tell every client to return later, and end."""
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
        self._landing.give_up()
        self._handlers.say_gone()
        self._ended.set()

    def _tick(self, tick: int) -> None:
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


def _verifier(settings: Settings) -> Verifier | None:
    if not settings.auth_keys_file:
        return None
    try:
        text = Path(settings.auth_keys_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("auth_keys_file", str(error).lower()) from None
    return Verifier(load_keys(text), settings.auth_audience)
