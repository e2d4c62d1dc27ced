"""What the API counts of itself: requests by status, and those that a bound turned away."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from services.api.gates import Application, Environ, Gate, StartResponse
from services.metrics.families import PREFIX, buckets
from shared.durations import Durations

#: Statuses that are there from the start, so that zeros show.
_STATUSES = ("101", "200", "202", "400", "401", "403", "404", "405", "408", "409", "413", "415", "422", "500", "503")


class Counted:
    """An application whose answers are counted."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.answers = dict.fromkeys(_STATUSES, 0)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "wsgi.websocket" in environ:  # it was answered before
            self._count("101")
            return self._application(environ, start_response)

        def start(status: str, *more: object) -> object:
            self._count(status[:3])
            return start_response(status, *more)

        return self._application(environ, start)

    def app_protocol(self, path: str) -> str | None:
        """The WebSocket subprotocol of a path; gevent-websocket asks."""
        ask: Callable[[str], str | None] | None = getattr(self._application, "app_protocol", None)
        return ask(path) if ask else None

    def _count(self, status: str) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1


def http_families(
    counted: Counted, gate: Gate, refused_connections: Callable[[], int], push_times: Durations
) -> Iterator[Metric]:
    """Those of this process."""
    answers = CounterMetricFamily(f"{PREFIX}api_requests", "Requests answered, by status.", labels=["status"])
    for status, count in counted.answers.items():
        answers.add_metric([status], count)
    yield answers
    away = CounterMetricFamily(
        f"{PREFIX}api_turned_away",
        "Turned away: connections over api_connections_max, requests to /v1 over api_requests_max.",
        labels=["bound"],
    )
    away.add_metric(["connections"], refused_connections())
    away.add_metric(["requests"], gate.turned_away)
    yield away
    yield GaugeMetricFamily(f"{PREFIX}api_requests_under_way", "Requests to /v1 under way.", value=gate.under_way)
    times, told = (
        push_times.fields(),
        "From the request of a push over HTTP to its outcome: the router, and the way to it.",
    )
    seconds = HistogramMetricFamily(f"{PREFIX}api_push_seconds", told)
    seconds.add_metric([], buckets(times), times["total_s"])
    yield seconds
