"""Spans of requests, told to a recorder; tests/fleet/test_traces.py has the real ones."""

from typing import Any

import pytest

from services.sender.spans import traced
from services.sender.tickets import Push
from shared.errors import SenderError
from shared.outcomes import Outcome

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder:
    """One span. `ended`: (attributes, error)."""

    def __init__(self, is_kept: bool = True) -> None:
        self.is_kept, self.traceparent = is_kept, TRACEPARENT
        self.began: tuple[Any, ...] = ()
        self.ended: list[tuple[Any, str]] = []

    def start(self, *said: Any) -> "Recorder":
        self.began = said
        return self

    def rename(self, name: str) -> None: ...

    def record(self, *_: Any, **__: Any) -> str:
        return ""

    def end(self, attributes: Any, error: str = "") -> None:
        self.ended.append((attributes, error))


class Waiting:
    """Stands in for a sender: its tickets are answered by the test."""

    def call_when_done(self, ticket: Push, callback: Any) -> None:
        ticket.callbacks = [*(ticket.callbacks or []), callback]

    def wait_for(self, ticket: Any, timeout: float | None) -> bool:
        raise AssertionError


def answer(ticket: Push, value: Outcome | None, error: SenderError | None = None) -> None:
    ticket.value, ticket.error = value, error
    for callback in ticket.callbacks or ():
        callback(ticket)


def tickets(count: int) -> list[Push]:
    return [Push(Waiting(), 0.0, b"a", b"b", None) for _ in range(count)]  # type: ignore[arg-type]


def test_a_span_ends_with_the_last_outcome():
    spans, told = Recorder(), []
    made = tickets(2)
    assert (
        traced(
            spans,
            {"to": "token", "request_id": "web/7", "traceparent": "p"},
            lambda options: told.append(options) or made,
        )
        is made
    )
    assert spans.began == ("push", "p", "producer", {"push.to": "token", "push.request_id": "web/7"})
    assert told == [{"to": "token", "request_id": "web/7", "traceparent": TRACEPARENT}]
    answer(made[1], Outcome.REFUSED)
    assert not spans.ended
    answer(made[0], Outcome.SENT)
    assert spans.ended == [({"push.outcomes.sent": 1, "push.outcomes.refused": 1}, "")]


def test_what_nobody_keeps_changes_no_options():
    spans, told = Recorder(is_kept=False), []
    traced(spans, {"ttl": 5}, lambda options: told.append(options) or [])
    assert told == [{"ttl": 5}]
    assert spans.ended == [({}, "")]


def test_a_request_that_fails_ends_its_span():
    spans = Recorder()

    def full(_: Any) -> list[Push]:
        raise SenderError("queue_full", "full")

    with pytest.raises(SenderError):
        traced(spans, {}, full)
    assert spans.ended == [({}, "queue_full")]
    (made,) = traced(spans, {}, lambda _: tickets(1))
    answer(made, None, SenderError("id_reused", "other content"))
    assert spans.ended[1:] == [({}, "id_reused")]
