"""What a part of the system needs to tell of its work as spans of a trace (docs/logs.md, section Traces). Pure.

`shared.startup.tracing` gives an implementation by OpenTelemetry, if there is one.
"""

from collections.abc import Mapping
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A piece of work that has begun."""

    @property
    def traceparent(self) -> str:
        """For what is done on its behalf elsewhere."""

    @property
    def is_kept(self) -> bool:
        """Whether anybody will see it; else it is not worth the effort."""

    def rename(self, name: str) -> None:
        """It is known better now what it is."""

    def end(self, attributes: Attributes, error: str = "") -> None:
        """It is over; `error`: why it has failed."""


class Spans(Protocol):
    """Where they go."""

    def start(self, name: str, parent: str, kind: str, attributes: Attributes) -> Span:
        """Begin one. `parent`: a traceparent, or empty. `kind`: server, producer, consumer, client or internal."""

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
        """One that is over (Unix nanoseconds); its traceparent. `worker`: told on behalf of that gateway worker."""
