"""A span for each request of the sender library, from when it is given to the library to its last outcome. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from services.sender.tickets import Push
from shared.errors import SenderError
from shared.spans import Span, Spans


def traced(spans: Spans, options: dict[str, Any], put: Callable[[dict[str, Any]], list[Push]]) -> list[Push]:
    """The tickets of `put(options)`, whose pushes belong to a new span below the `traceparent` of the options."""
    request_id = options.get("request_id")
    told = {"push.to": str(options.get("to", "token")), **({"push.request_id": str(request_id)} if request_id else {})}
    span = spans.start("push", str(options.get("traceparent") or ""), "producer", told)
    try:
        tickets = put({**options, "traceparent": span.traceparent} if span.is_kept else options)
    except SenderError as error:
        span.end({}, error.code)
        raise
    ending = Ending(span, tickets)
    for ticket in tickets:
        ticket.add_done_callback(ending.note)
    return tickets


class Ending:
    """Ends a span when all its tickets are answered."""

    def __init__(self, span: Span, tickets: Sequence[Push]) -> None:
        self._span, self._tickets, self._left = span, tickets, len(tickets)
        if not tickets:
            span.end({})

    def note(self, _: Push) -> None:
        """One has been answered."""
        self._left -= 1
        if self._left:
            return
        outcomes = Counter([push.value.name.lower() for push in self._tickets if push.value is not None])
        fault = next((push.error.code for push in self._tickets if push.error is not None), "")
        self._span.end({f"push.outcomes.{name}": count for name, count in outcomes.items()}, fault)
