"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP by a thread of its own. Imported only if they are wanted.

The SDK's own variables hold (OTEL_TRACES_SAMPLER, OTEL_BSP_..., OTEL_EXPORTER_OTLP_HEADERS and so on). Its queue is
bounded: a collector that does not answer costs spans, nothing else.
"""

import logging
import os
import threading

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from shared import __version__
from shared.shown import place
from shared.spans import Attributes
from shared.startup.log_sinks import signals_blocked

_SERVICE, _SCOPE = "push-gateway", "push_gateway"
_PATH = "/v1/traces"
#: How long the end of the process waits for the collector (seconds).
_CLOSE_S = 1.0
#: Workers on whose behalf spans are told; more are told as one.
_WORKERS_MAX = 1024


class Span:
    """See shared.spans."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"

    @property
    def is_kept(self) -> bool:
        return self._span.is_recording()

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, attributes: Attributes, error: str = "", at_ns: int | None = None) -> None:
        self._span.set_attributes(dict(attributes))
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(at_ns)


class Tracing:
    """See shared.startup.tracing."""

    def __init__(self, service: str, instance: str, endpoint: str) -> None:
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH) if endpoint else OTLPSpanExporter()
        with signals_blocked():  # they are for the others, not for its thread
            self._processor = BatchSpanProcessor(exporter)
        logging.getLogger("urllib3").setLevel(logging.WARNING)  # a line for each batch otherwise
        self._tracer = self._make(service, instance)
        self._workers: dict[str, Tracer] = {}

    def _make(self, service: str, instance: str) -> Tracer:
        said = {
            "service.name": f"{_SERVICE}-{service}",
            "service.instance.id": instance,
            "service.version": __version__,
        }
        provider = TracerProvider(resource=Resource.create(said), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer(_SCOPE, __version__)

    def start(self, name: str, parent: str, kind: str, attributes: Attributes) -> Span:
        return Span(self._tracer.start_span(name, _context(parent), SpanKind[kind.upper()], dict(attributes)))

    def record(
        self,
        name: str,
        parent: str,
        kind: str,
        attributes: Attributes,
        began_ns: int,
        ended_ns: int,
        worker: str = "",
    ) -> str:
        tracer = self._of(worker) if worker else self._tracer
        found = tracer.start_span(name, _context(parent), SpanKind[kind.upper()], dict(attributes), start_time=began_ns)
        span = Span(found)
        span.end({}, at_ns=max(began_ns, ended_ns))
        return span.traceparent

    def _of(self, worker: str) -> Tracer:
        """Workers have no thread for this: others tell for them, in their name."""
        if worker not in self._workers and len(self._workers) < _WORKERS_MAX:
            self._workers[worker] = self._make("worker", worker)
        return self._workers.get(worker, self._tracer)

    def close(self) -> None:
        """A collector that does not answer must not keep the process."""
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


def where(endpoint: str) -> str:
    """Where spans go, for the log: scheme and host."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return place(endpoint or next((os.environ[name] for name in names if os.environ.get(name)), ""))


def _context(traceparent: str) -> Context:
    """Of a traceparent that is one, or empty: then a new trace begins."""
    if not traceparent:
        return Context()
    _, trace, span, flags = traceparent.split("-")
    parent = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16) & 1))
    return set_span_in_context(NonRecordingSpan(parent), Context())
