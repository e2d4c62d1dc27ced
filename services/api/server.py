"""Shell of the process on api_port, the status service: gevent.pywsgi with gevent-websocket."""

import errno
import logging
import os
import signal
import socket
from functools import partial
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler

from services.api.application import Application
from services.api.asking import Asking
from services.api.logins import LoginRoutes
from services.library import Service
from services.sender import CurveKeys
from services.sender.gevent import Sender
from services.status.addresses import reachable_endpoints
from services.status.figures import Figures
from services.status.keys import status_keys
from services.status.readiness import ANSWER_S, not_ready
from shared.errors import SenderError, SettingsError
from shared.settings import Settings

logger = logging.getLogger(__name__)

#: Watchers and requests at a time; further ones wait to be accepted.
CONNECTIONS_MAX = 256
#: Longest silence (seconds) within a request, and longest wait for a watcher that does not read.
SILENCE_S = 10.0


class Server(WSGIServer):  # type: ignore[misc]  # gevent.pywsgi has no types
    """pywsgi with a time limit on its sockets."""

    def handle(self, sock: Any, address: Any) -> None:
        sock.settimeout(SILENCE_S)
        super().handle(sock, address)


def serve(settings: Settings) -> int:
    """Answer until SIGTERM or SIGINT; the exit status. Raises SettingsError (`api_port` where the port is taken)."""
    curve = status_keys(settings)
    listener = open_listener(settings)
    sender = open_sender(settings, curve)
    ask = sender.stat if sender else _no_router
    service = _start_service(settings)
    logins = LoginRoutes(Asking(service), settings.trusted_proxies) if service else None
    application = Application(Figures(ask), partial(not_ready, settings, status=False), logins)
    server = Server(
        listener,
        application,
        handler_class=WebSocketHandler,
        spawn=Pool(CONNECTIONS_MAX),
        log=None,
        error_log=logger,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, gevent.spawn, server.stop, 1)
    logger.info("listening on %s port %d", settings.host, settings.api_port)
    server.serve_forever()
    if service:
        service.stop(0)
    if sender:
        sender.close(0)
    return 0


def _start_service(settings: Settings) -> Service | None:
    """By which other services are asked; None where no router is known that takes services."""
    if not settings.routers and not settings.service_router_list:
        return None
    service = Service("api", settings)
    service.start()
    return service


def open_sender(settings: Settings, curve: CurveKeys | None) -> Sender | None:
    """A sender that asks the first of this host's routers that answers; None where none runs."""
    endpoints = reachable_endpoints(settings)
    # Time enough to find out that all but the last are silent.
    limits = {"give_up_s": ANSWER_S * max(1, len(endpoints)), "hello_timeout_s": ANSWER_S / 2, "answer_grace_s": 0.5}
    return Sender(endpoints, name="status", curve=curve, **limits) if endpoints else None


def _no_router() -> dict[str, Any]:
    raise SenderError("unavailable", "no router runs on this host")


def open_listener(settings: Settings) -> socket.socket:
    """The listening socket, non-blocking. Raises SettingsError."""
    host, port = "127.0.0.1" if settings.host == "localhost" else settings.host, settings.api_port
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another process" if taken else f"({os.strerror(error.errno or 0).lower()})"
        raise SettingsError("api_port", f"{where} {reason}") from None
    listener.setblocking(False)
    return listener
