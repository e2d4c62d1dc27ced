"""Shell of the process on api_port, the status service: gevent.pywsgi with gevent-websocket."""

import errno
import logging
import os
import signal
import socket
from functools import partial
from typing import Any

import gevent

from services.api.admissions import Server
from services.api.application import Application
from services.api.asking import Asking
from services.api.gates import Application as WsgiApplication
from services.api.gates import Gate
from services.api.logins import LoginRoutes
from services.api.readers import Guarded, Readers
from services.api.request_ids import RequestIds
from services.api.routes import Routes
from services.api.v1.access import open_access
from services.api.v1.application import make_application
from services.api.v1.calls import Calls
from services.api.v1.parts import Parts
from services.dashboard import feeds
from services.dashboard.pages import Pages
from services.library import Service
from services.metrics.http import Counted, http_families
from services.metrics.serving import FleetCollector, Metrics
from services.sender import CurveKeys
from services.sender.gevent import Sender
from services.status.addresses import reachable_endpoints
from services.status.figures import Figures
from services.status.keys import status_keys
from services.status.readiness import ANSWER_S, not_ready
from shared.errors import SenderError, SettingsError
from shared.requests import NAME_MAX_BYTES
from shared.settings import Settings
from shared.spans import Spans
from shared.startup.descriptors import raise_descriptor_limit
from shared.startup.tracing import open_tracing

logger = logging.getLogger(__name__)

#: Connections that wait to be accepted.
_BACKLOG = 4096
#: Longest time (seconds) that a push is tried; whoever asked is told UNKNOWN before that.
_GIVE_UP_S = 75.0
#: Requests in flight to the router, which takes 10,000.
_WINDOW = 2048


def serve(settings: Settings) -> int:
    """Answer until SIGTERM or SIGINT; the exit status. Raises SettingsError (`api_port` where the port is taken)."""
    curve = status_keys(settings)
    listener = open_listener(settings)
    access = open_access(settings)
    raise_descriptor_limit()
    tracing = open_tracing(settings, "api", settings.host_name)
    asker, pusher = open_sender(settings, curve), open_pusher(settings, curve, tracing)
    figures = Figures(asker.stat if asker else _no_router)
    service = _start_service(settings)
    asking = Asking(service) if service else None
    parts = Parts(settings, pusher, Calls(asking), figures.latest, access)
    logins = LoginRoutes(asking, settings.trusted_proxies) if asking else None
    others = Application(figures, partial(not_ready, settings, status=False), logins, ("/", "/v1", "/metrics"))
    gate, pages, routers = (
        Gate(make_application(parts), settings.api_requests_max),
        Pages(),
        open_askers(settings, curve),
    )
    metrics = FleetCollector(
        [Figures(router.stat) for router in routers],
        lambda: http_families(counted, gate, lambda: server.refused, parts.push_times),
    )
    # A further group of routes is a WSGI application here.
    readers = Readers(access, settings.metrics_access)
    groups: dict[str, WsgiApplication] = {"/v1": RequestIds(gate, tracing), "/": pages, "/dashboard": pages}
    groups["/stats"] = Guarded(others, readers.check)
    groups["/metrics"] = Guarded(Metrics(metrics), readers.check_metrics)
    groups[feeds.PATH] = feeds.Feed(figures, access, pages)
    groups[feeds.PLAIN_PATH] = feeds.Feed(figures, access, others)
    counted = Counted(Routes(groups, others, dict.fromkeys((feeds.PATH, feeds.PLAIN_PATH), feeds.SUBPROTOCOL)))
    server = Server(listener, counted, settings.api_connections_max)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, gevent.spawn, server.stop, 1)
    logger.info("listening on %s port %d", settings.api_listens_on, settings.api_port)
    server.serve_forever()
    if service:
        service.stop(0)
    for sender in (asker, pusher, *routers):
        if sender:
            sender.close(0)
    if tracing is not None:
        tracing.close()
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
    limits: dict[str, Any] = {
        "give_up_s": ANSWER_S * max(1, len(endpoints)),
        "hello_timeout_s": ANSWER_S / 2,
        "answer_grace_s": 0.5,
    }
    return Sender(endpoints, name="status", curve=curve, **limits) if endpoints else None


def open_askers(settings: Settings, curve: CurveKeys | None) -> list[Sender]:
    """A sender to each router of this host: each has counters of its own."""
    limits: dict[str, Any] = {"give_up_s": ANSWER_S, "hello_timeout_s": ANSWER_S / 2, "answer_grace_s": 0.5}
    return [Sender([each], name="metrics", curve=curve, **limits) for each in reachable_endpoints(settings)]


def open_pusher(settings: Settings, curve: CurveKeys | None, spans: Spans | None = None) -> Sender | None:
    """The sender of all pushes over HTTP: those of requests at one time go together.

    Its name is the same after a restart, so that an Idempotency-Key still counts.
    """
    endpoints = reachable_endpoints(settings)
    name = f"api-{settings.host_name}".encode()[:NAME_MAX_BYTES].decode(errors="ignore")
    # An HTTP request with a request id is one of its own to the router.
    limits: dict[str, Any] = {"give_up_s": _GIVE_UP_S, "window": _WINDOW}
    return Sender(endpoints, name=name, curve=curve, spans=spans, **limits) if endpoints else None


def _no_router() -> dict[str, Any]:
    raise SenderError("unavailable", "no router runs on this host")


def open_listener(settings: Settings) -> socket.socket:
    """The listening socket, non-blocking. Raises SettingsError."""
    host, port = settings.api_listens_on, settings.api_port
    host = "127.0.0.1" if host == "localhost" else host
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another process" if taken else f"({os.strerror(error.errno or 0).lower()})"
        raise SettingsError("api_port", f"{where} {reason}") from None
    listener.setblocking(False)
    return listener
