"""A collector of traces: OTLP over HTTP, as the protocol says, spans kept in memory."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Told(NamedTuple):
    """A span. Times in Unix nanoseconds; `attributes` as plain values."""

    service: str
    instance: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, Any]
    failed: bool


class Receiver:
    """Listens on a port of its own. `spans`: all that came."""

    def __init__(self) -> None:
        self.spans: list[Told] = []
        self.paths: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.paths.add(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    raise AssertionError("nobody asked for gzip")
                receiver.spans += told_of(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def of(self, trace: str) -> dict[str, Told]:
        """The spans of one trace, by name."""
        return {span.name: span for span in list(self.spans) if span.trace == trace}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def told_of(request: ExportTraceServiceRequest) -> list[Told]:
    """All spans of a request."""
    found = []
    for part in request.resource_spans:
        resource = {each.key: each.value.string_value for each in part.resource.attributes}
        for span in [span for scope in part.scope_spans for span in scope.spans]:
            attributes = {
                each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes
            }
            found.append(
                Told(
                    resource["service.name"],
                    resource["service.instance.id"],
                    span.name,
                    span.kind,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    attributes,
                    span.status.code == 2,
                )
            )
    return found
