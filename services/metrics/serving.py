"""GET /metrics: every router of the host is asked at once, and what they say becomes text."""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

import gevent
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from services.api.gates import Environ, StartResponse
from services.metrics.families import PREFIX, families
from services.status.figures import Figures
from shared import __version__
from shared.errors import SenderError

Own = Callable[[], Iterable[Metric]]


class FleetCollector(Collector):
    """`routers`: figures of each router of this host; `own`: families of this process."""

    def __init__(self, routers: list[Figures], own: Own) -> None:
        self._routers, self._own = routers, own

    def collect(self) -> Iterator[Metric]:
        """Blocks its greenlet until every router has answered, or has not in time."""
        asked = [gevent.spawn(_figures, router) for router in self._routers]
        gevent.joinall(asked)
        yield from families({place: answer.value for place, answer in enumerate(asked)})
        yield from self._own()
        info = GaugeMetricFamily(f"{PREFIX}build_info", "Version of this process.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info

    def describe(self) -> list[Metric]:
        """Nothing to be asked for when it is registered."""
        return []


class Metrics:
    """The WSGI application."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            status, kind, content = HTTPStatus.NOT_FOUND, "text/plain", b"only /metrics\n"
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, kind, content = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET and HEAD\n"
        else:
            status, kind, content = HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
        headers = [("Content-Type", kind), ("Content-Length", str(len(content))), ("Cache-Control", "no-store")]
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]


def _figures(router: Figures) -> dict[str, Any] | None:
    try:
        return router.latest()
    except SenderError:
        return None
