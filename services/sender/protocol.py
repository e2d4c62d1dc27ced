"""The sender's side of the sender protocol, without I/O (docs/sender-protocol.md).

The shell hands in what happens, each with `now` (monotonic seconds), and afterwards asks what to do, in this order:
`endpoint_to_open`, `messages_to_send`, `take_answered`, `next_deadline`. A router is left for the next one listed when
its connection ends or it stays silent; what is unanswered then goes to the next one, in order, with the same ids.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any, ClassVar

import ujson

from services.sender.in_flight import Batch, Inquiry, Request
from services.sender.policies import Policy
from services.sender.queues import PushQueue
from services.sender.statistics import Statistics
from services.sender.tickets import Push, Question, Ticket
from services.sender.windows import Window
from shared import __version__
from shared.errors import SenderError
from shared.outcomes import Outcome
from shared.requests import DONE1, FAIL1, HELLO1, INFO1, TARGET

_INFINITY = float("inf")
#: Period of the look at deadlines of pushes and requests, in seconds, at most.
_SWEEP_S = 0.5
#: Longest pause that a router may ask for.
_PAUSE_MAX_S = 30.0
#: Before a router has said its own: what any accepts.
_FRAME_BYTES, _TARGETS = 1 << 16, 1000


class State(Enum):
    """Of the connection to a router."""

    PAUSING = "pausing"  # none; one is opened when the pause is over
    OPENING = "opening"  # the shell is asked to open one
    GREETING = "greeting"  # HELLO1 said, not answered
    READY = "ready"
    CLOSED = "closed"


class Protocol:
    """Everything a sender decides. One thread or greenlet at a time."""

    def __init__(self, endpoints: Sequence[str], name: bytes, key_prefix: bytes, policy: Policy) -> None:
        self.endpoints, self.policy = list(endpoints), policy
        self.state = State.OPENING
        self.last_fault = ""
        self.pushes_open = 0
        self.bytes_open = 0
        self._name, self._key_prefix = name, key_prefix
        self._current = 0
        self._failures = 0
        self._deadline = _INFINITY  # of the state
        self._hello_due = False
        self._window = Window(policy.window)
        self._queue = PushQueue(policy.ordered)
        self._questions: deque[Question] = deque()
        self._answered: list[Ticket[Any]] = []
        self._number = 0
        self._next_sweep = 0.0
        self._counts = {field.name: 0 for field in fields(Statistics)}
        self._frame_bytes, self._targets = _FRAME_BYTES, _TARGETS

    # --- from the caller

    @property
    def statistics(self) -> Statistics:
        """A snapshot."""
        return Statistics(**self._counts)

    @property
    def endpoint(self) -> str:
        """The router in use."""
        return self.endpoints[self._current]

    def is_full(self) -> bool:
        """Whether `queue_pushes` or `queue_bytes` is reached."""
        return self.pushes_open >= self.policy.queue_pushes or self.bytes_open >= self.policy.queue_bytes

    def is_idle(self) -> bool:
        """Whether everything is answered."""
        return not self.pushes_open and not self._window and not self._questions

    def put_push(self, push: Push) -> None:
        """Takes a push. Raises SenderError `closed`."""
        self._check_open()
        self.pushes_open += 1
        self.bytes_open += len(push.payload)
        self._queue.put(push)

    def put_question(self, question: Question) -> None:
        """Takes a question. Raises SenderError `closed`."""
        self._check_open()
        self._questions.append(question)

    def _check_open(self) -> None:
        if self.state is State.CLOSED:
            raise SenderError("closed", "this sender is closed")

    # --- from the network

    def endpoint_to_open(self, now: float) -> str | None:
        """The endpoint to connect to, the old connection being closed first; then call `connection_opened`."""
        if self.state is State.PAUSING and now >= self._deadline:
            self.state = State.OPENING
        return self.endpoint if self.state is State.OPENING else None

    def connection_opened(self, now: float) -> None:
        """A new connection, perhaps not complete yet: HELLO1 goes first."""
        self._greet(now)

    def connection_lost(self, now: float, fault: str) -> None:
        """The connection has ended, or could not be made: on to the next router, after a pause if that fails too."""
        if self.state not in (State.GREETING, State.READY):
            return
        self._counts["routers_lost"] += self.state is State.READY
        self.last_fault = fault
        self._window.lose()
        self._current = (self._current + 1) % len(self.endpoints)
        rounds, rest = divmod(self._failures, len(self.endpoints))
        self._failures += 1
        self.state = State.PAUSING
        self._deadline = now if rest or not rounds else now + self.policy.backoff(rounds)

    def receive_message(self, frames: Sequence[bytes], now: float) -> None:
        """An answer of the router. What cannot be read counts as a stray and does no harm."""
        handler = self._handlers.get(frames[0])
        try:
            if handler is None:
                raise ValueError("unknown answer")
            handler(self, frames, now)
        except (ValueError, LookupError, TypeError, AttributeError):
            self._counts["strays"] += 1

    def _receive_hello(self, frames: Sequence[bytes], now: float) -> None:
        said = ujson.loads(frames[1]) if len(frames) > 1 and frames[1] else {}
        limits = {**said.get("limits", {}), **said}
        self._frame_bytes = max(1, int(limits.get("max_frame_bytes", _FRAME_BYTES)))
        self._targets = max(1, int(limits.get("max_targets", _TARGETS)))
        if self.state is State.GREETING:
            self.state, self._deadline, self.last_fault = State.READY, _INFINITY, ""

    def _receive_done(self, frames: Sequence[bytes], now: float) -> None:
        _, request_id, answer, raw_detail = frames
        detail = ujson.loads(raw_detail) if raw_detail else None
        request = self._window.take_answered(request_id, Batch)
        self._failures = 0
        if len(answer) != len(request.pushes):
            answer = bytes([Outcome.UNKNOWN]) * len(request.pushes)
        if len(request.pushes) == 1:
            request.pushes[0].detail = detail
        policy = self.policy
        repeat = policy.retry_outcomes if request.attempts < policy.retries else ()
        self._finish(request.settle(answer, repeat))
        if request.pending:
            self._window.rest(request, now + policy.backoff(request.attempts))

    def _receive_info(self, frames: Sequence[bytes], now: float) -> None:
        _, request_id, body = frames
        value = ujson.loads(body)
        request = self._window.take_answered(request_id, Inquiry)
        self._failures = 0
        self._answer(request.question, value=value)

    def _receive_fail(self, frames: Sequence[bytes], now: float) -> None:
        _, request_id, body = frames
        fault = ujson.loads(body)
        code, message = str(fault["code"]), str(fault.get("message", ""))
        pause = min(_PAUSE_MAX_S, max(0.0, fault.get("retry_after_ms", self.policy.backoff_s * 1000) / 1000))
        if not request_id and self.state is State.GREETING:
            self.connection_lost(now, f"{code}: {message}")
            return
        request = self._window.take_answered(request_id, Request)
        if code == "hello_needed":
            self._window.put_back(request)
            if self.state is State.READY:
                self._greet(now)
        elif code == "overloaded":
            self._counts["turned_away"] += 1
            self._window.hold(request, now + pause)
        else:
            self._fail(request, SenderError(code, message))

    _handlers: ClassVar[dict[bytes, Callable[["Protocol", Sequence[bytes], float], None]]] = {
        HELLO1: _receive_hello,
        DONE1: _receive_done,
        INFO1: _receive_info,
        FAIL1: _receive_fail,
    }

    # --- to the network

    def messages_to_send(self, now: float) -> list[list[bytes]]:
        """What to send on the connection now: HELLO1, repeats in order, questions, then all that waits, packed."""
        self._look_at_deadlines(now)
        messages: list[list[bytes]] = []
        if self._hello_due and self.state is State.GREETING:
            self._hello_due = False
            messages.append([HELLO1, self._name, b'{"version":"%b"}' % __version__.encode()])
        while self.state is State.READY and self._window.has_room() and self._window.may_send(now):
            request = self._window.next_again(now) or self._next_new(now)
            if request is None:
                break
            self._counts["requests"] += 1
            self._counts["repeated"] += request.serial > 0
            self._window.send(request, now)
            messages.append(request.frames())
        return messages

    def _next_new(self, now: float) -> Request | None:
        if self._questions:
            return Inquiry(self._next_number(), self._questions.popleft(), self.policy.answer_grace_s)
        policy = self.policy
        while self._queue:
            pushes = self._queue.take(
                min(policy.batch_pushes, self._targets), min(policy.batch_bytes, self._frame_bytes)
            )
            if pushes and not self._is_too_large(pushes[0]):
                number = self._next_number()
                return Batch(number, b"%b-%d" % (self._key_prefix, number), pushes)
            self._finish([(push, Outcome.TOO_LARGE) for push in pushes])
        return None

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _is_too_large(self, push: Push) -> bool:
        """Such a frame would end the connection unanswered."""
        return push.size + TARGET.size > self._frame_bytes

    def take_answered(self) -> list[Ticket[Any]]:
        """Tickets answered since the last call that somebody waits for."""
        answered, self._answered = self._answered, []
        return answered

    def next_deadline(self, now: float) -> float:
        """When time alone makes something due: come again then at the latest."""
        sweep = _INFINITY if self.is_idle() else self._next_sweep
        window = self._window.next_deadline(now) if self.state is State.READY else _INFINITY
        return min(self._deadline, sweep, window)

    def close(self, fault: SenderError) -> None:
        """The end: what is unanswered gets its outcome as far as it is known; questions get `fault`."""
        self.state, self._deadline = State.CLOSED, _INFINITY
        self._window.lose()
        lost, self._window = self._window, Window(self.policy.window)
        for request in lost:
            self._give_up(request, fault)
        self._finish([(push, Outcome.UNAVAILABLE) for push in self._queue.take_all()], released=True)
        while self._questions:
            self._answer(self._questions.popleft(), error=fault)

    # --- inside

    def _greet(self, now: float) -> None:
        self.state, self._hello_due = State.GREETING, True
        self._deadline = now + self.policy.hello_timeout_s

    def _look_at_deadlines(self, now: float) -> None:
        if self.state is State.GREETING and now >= self._deadline:
            self.connection_lost(now, f"no answer to HELLO1 within {self.policy.hello_timeout_s:g} s")
        if now < self._next_sweep:
            return
        self._next_sweep = now + min(_SWEEP_S, self.policy.give_up_s / 10)
        grace = self.policy.answer_grace_s
        silent = [
            request for request in self._window.flying.values() if now >= request.sent_at + request.timeout_s + grace
        ]
        if silent and self.state is State.READY:
            self.connection_lost(now, f"no answer within {silent[0].timeout_s + grace:g} s")
        self._give_up_expired(now)

    def _give_up_expired(self, now: float) -> None:
        self._finish([(push, Outcome.UNAVAILABLE) for push in self._queue.take_expired(now)], released=True)
        fault = SenderError("timed_out", f"no router answered within {self.policy.give_up_s:g} s")
        for request in [request for request in self._window if _deadline_of(request) <= now]:
            if request.request_id in self._window.flying:
                request.mark_lost()
            if self._window.drop(request) and self.state is State.READY:
                self._greet(now)
            self._give_up(request, fault)
        while self._questions and self._questions[0].deadline <= now:
            self._answer(self._questions.popleft(), error=fault)

    def _give_up(self, request: Request, fault: SenderError) -> None:
        if isinstance(request, Batch):
            self._finish(request.give_up())
        else:
            self._fail(request, fault)

    def _fail(self, request: Request, fault: SenderError) -> None:
        tickets: list[Ticket[Any]] = [request.question] if isinstance(request, Inquiry) else []
        if isinstance(request, Batch):
            tickets = [request.pushes[position] for position in request.pending]
        for ticket in tickets:
            self._answer(ticket, error=fault)

    def _finish(self, final: list[tuple[Push, Outcome]], released: bool = False) -> None:
        """Pushes with their last word. Flat because every push passes here: 0.3 us each."""
        release, answered = self._queue.release, self._answered
        for push, outcome in final:
            push.value = outcome
            self.bytes_open -= len(push.payload)
            push.payload = b""
            if not released:
                release(push)
            if push.signal is not None or push.callbacks is not None:
                answered.append(push)
        self.pushes_open -= len(final)
        self._counts["pushes"] += len(final)

    def _answer(self, ticket: Ticket[Any], value: Any = None, error: SenderError | None = None) -> None:
        ticket.value, ticket.error = value, error
        if isinstance(ticket, Push):
            self.pushes_open -= 1
            self._counts["pushes"] += 1
            self.bytes_open -= len(ticket.payload)
            self._queue.release(ticket)
        if ticket.signal is not None or ticket.callbacks is not None:
            self._answered.append(ticket)


def _deadline_of(request: Request) -> float:
    """The latest among its pushes: they share the request's fate, and none is given up early."""
    if isinstance(request, Batch):
        return max([request.pushes[position].deadline for position in request.pending])
    assert isinstance(request, Inquiry)
    return request.question.deadline
