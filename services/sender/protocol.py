"""The sender's side of the sender protocol, without I/O (docs/sender-protocol.md).

The shell hands in what happens, each with `now` (monotonic seconds), and afterwards asks what to do, in this order:
`endpoint_to_open`, `messages_to_send`, `take_answered`, `next_deadline`. A router is left for the next one listed when
its connection ends or it stays silent; what is unanswered then goes to the next one, in order, with the same ids.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ujson

from services.sender.in_flight import Batch, Inquiry, Request
from services.sender.ledgers import Ledger
from services.sender.links import Link, State
from services.sender.policies import Policy
from services.sender.queues import PushQueue
from services.sender.statistics import Statistics
from services.sender.tickets import Push, Question, Ticket
from services.sender.windows import Window
from shared import __version__
from shared.errors import SenderError
from shared.outcomes import Outcome
from shared.requests import DONE1, FAIL1, HELLO1, INFO1, TARGET

#: Period of the look at deadlines of pushes and requests, in seconds, at most.
_SWEEP_S = 0.5
#: Longest pause that a router may ask for.
_PAUSE_MAX_S = 30.0
#: Before a router has said its own: what any accepts.
_FRAME_BYTES, _TARGETS = 1 << 16, 1000

_ABOUT = b'{"version":"%b"}' % __version__.encode()


class Protocol:
    """Everything a sender decides. One thread or greenlet at a time."""

    def __init__(
        self,
        endpoints: Sequence[str],
        name: bytes,
        key_prefix: bytes,
        policy: Policy,
        unix_us: Callable[[], int] = lambda: 0,
    ) -> None:
        """`unix_us`: what time it is, in Unix microseconds, for routers that want to know; 0: they are not told."""
        self.policy = policy
        self.link = Link(endpoints, policy)
        self.ledger = Ledger(policy)
        self.name, self._key_prefix = name, key_prefix.decode()
        self._window = Window(policy.window)
        self._queue = PushQueue(policy.ordered)
        # Requests with an `id` of the caller's.
        self._whole: deque[list[Push]] = deque()
        self._questions: deque[Question] = deque()
        self._number = 0
        self._next_sweep = 0.0
        self._frame_bytes, self._targets = _FRAME_BYTES, _TARGETS
        self._tells_origin = self._tells_time = False
        self._unix_us = unix_us
        self._requests = self._repeated = self._turned_away = self._routers_lost = self._strays = 0

    # --- from the caller

    @property
    def statistics(self) -> Statistics:
        """A snapshot."""
        return Statistics(
            pushes=self.ledger.pushes_answered,
            requests=self._requests,
            repeated=self._repeated,
            turned_away=self._turned_away,
            routers_lost=self._routers_lost,
            strays=self._strays,
        )

    def is_full(self) -> bool:
        """Whether `queue_pushes` or `queue_bytes` is reached."""
        return self.ledger.is_full()

    def is_idle(self) -> bool:
        """Whether everything is answered."""
        return not self.ledger.pushes_open and not self._window and not self._questions

    def put_push(self, push: Push) -> None:
        """Takes a push. Raises SenderError `closed`."""
        self._check_open()
        self.ledger.enter(push)
        self._queue.put(push)

    def put_whole(self, pushes: list[Push]) -> None:
        """Takes the pushes of one request with an `id` of its own; they wait for no other of their tokens.

        Raises SenderError `closed`.
        """
        self._check_open()
        for push in pushes:
            self.ledger.enter(push)
        self._whole.append(pushes)

    def put_question(self, question: Question) -> None:
        """Takes a question. Raises SenderError `closed`."""
        self._check_open()
        self._questions.append(question)

    def _check_open(self) -> None:
        if self.link.state is State.CLOSED:
            raise SenderError("closed", "this sender is closed")

    # --- from the network

    def endpoint_to_open(self, now: float) -> str | None:
        """The endpoint to connect to, the old connection being closed first; then call `connection_opened`."""
        self._look_at_link(now)
        return self.link.endpoint if self.link.state is State.OPENING else None

    def connection_opened(self, now: float) -> None:
        """A new connection, perhaps not complete yet: HELLO1 goes first."""
        self.link.greet(now)

    def connection_lost(self, now: float, fault: str) -> None:
        """The connection has ended, or could not be made: on to the next router, after a pause if that fails too."""
        was_ready = self.link.is_ready
        if self.link.lose(now, fault):
            self._routers_lost += was_ready
            self._window.lose()

    def receive_message(self, frames: Sequence[bytes], now: float) -> None:
        """An answer of the router. What cannot be read counts as a stray and does no harm."""
        handler = self._handlers.get(frames[0])
        try:
            if handler is None:
                raise ValueError("unknown answer")
            handler(self, frames, now)
        except (ValueError, LookupError, TypeError, AttributeError):
            self._strays += 1

    def _receive_hello(self, frames: Sequence[bytes], now: float) -> None:
        said = ujson.loads(frames[1]) if len(frames) > 1 and frames[1] else {}
        limits = {**said.get("limits", {}), **said}
        self._frame_bytes = max(1, int(limits.get("max_frame_bytes", _FRAME_BYTES)))
        self._targets = max(1, int(limits.get("max_targets", _TARGETS)))
        self._tells_origin, self._tells_time = said.get("origins") is True, said.get("sent_at") is True
        self.link.welcome()

    def _receive_done(self, frames: Sequence[bytes], now: float) -> None:
        _, request_id, answer, raw_detail = frames
        detail = ujson.loads(raw_detail) if raw_detail else None
        batch = self._window.take_answered(request_id, Batch)
        self.link.praise()
        if len(answer) != len(batch.pushes):
            answer = bytes([Outcome.UNKNOWN]) * len(batch.pushes)
        if len(batch.pushes) == 1:
            batch.pushes[0].detail = detail
        policy = self.policy
        self._finish(batch.settle(answer, policy.retry_outcomes if batch.attempts < policy.retries else ()))
        if batch.pending:
            self._window.rest(batch, now + policy.backoff(batch.attempts))

    def _receive_info(self, frames: Sequence[bytes], now: float) -> None:
        _, request_id, body = frames
        value = ujson.loads(body)
        inquiry = self._window.take_answered(request_id, Inquiry)
        self.link.praise()
        self.ledger.answer(inquiry.question, value=value)

    def _receive_fail(self, frames: Sequence[bytes], now: float) -> None:
        _, request_id, body = frames
        fault = ujson.loads(body)
        code, message = str(fault["code"]), str(fault.get("message", ""))
        pause = min(_PAUSE_MAX_S, max(0.0, fault.get("retry_after_ms", self.policy.backoff_s * 1000) / 1000))
        if not request_id and self.link.state is State.GREETING:
            self.connection_lost(now, f"{code}: {message}")
            return
        request = self._window.take_answered(request_id, Request)
        if code == "hello_needed":
            self._window.put_back(request)
            if self.link.is_ready:
                self.link.greet(now)
        elif code == "overloaded":
            self._turned_away += 1
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
        self._look_at_link(now)
        if now >= self._next_sweep:
            self._sweep(now)
        messages: list[list[bytes]] = []
        if self.link.take_hello_due():
            messages.append([HELLO1, self.name, _ABOUT])
        while self.link.is_ready and self._window.has_room() and self._window.may_send(now):
            request = self._window.next_again(now) or self._next_new()
            if request is None:
                break
            self._requests += 1
            self._repeated += request.serial > 0
            self._window.send(request, now)
            messages.append(request.frames(self._tells_origin, self._unix_us() if self._tells_time else 0))
        return messages

    def _next_new(self) -> Request | None:
        if self._questions:
            return Inquiry(self._next_number(), self._questions.popleft(), self.policy.answer_grace_s)
        while self._whole:
            pushes = self._whole.popleft()
            if sum([push.size + TARGET.size for push in pushes]) <= self._frame_bytes:
                return Batch(self._next_number(), str(pushes[0].options.key), pushes)
            self._finish([(push, Outcome.TOO_LARGE) for push in pushes])
        most = min(self.policy.batch_pushes, self._targets)
        most_bytes = min(self.policy.batch_bytes, self._frame_bytes)
        while self._queue:
            pushes = self._queue.take(most, most_bytes)
            if pushes and not self._is_too_large(pushes[0]):
                number = self._next_number()
                return Batch(number, f"{self._key_prefix}-{number}", pushes)
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
        return self.ledger.take_answered()

    def next_deadline(self, now: float) -> float:
        """When time alone makes something due: come again then at the latest."""
        sweep = float("inf") if self.is_idle() else self._next_sweep
        window = self._window.next_deadline(now) if self.link.is_ready else float("inf")
        return min(self.link.deadline, sweep, window)

    def close(self, fault: SenderError) -> None:
        """The end: what is unanswered gets its outcome as far as it is known; questions get `fault`."""
        self.link.close()
        self._window.lose()
        lost, self._window = self._window, Window(self.policy.window)
        for request in lost:
            self._give_up(request, fault)
        self.ledger.finish([(push, Outcome.UNAVAILABLE) for push in [*self._queue.take_all(), *self._take_whole()]])
        while self._questions:
            self.ledger.answer(self._questions.popleft(), error=fault)

    # --- time

    def _look_at_link(self, now: float) -> None:
        if fault := self.link.look_at_deadline(now):
            self.connection_lost(now, fault)

    def _sweep(self, now: float) -> None:
        """Deadlines that need no exact look: silent routers, and what has taken too long."""
        self._next_sweep = now + min(_SWEEP_S, self.policy.give_up_s / 10)
        if self.link.is_ready and (silence := self._window.longest_silence(now, self.policy.answer_grace_s)):
            self.connection_lost(now, f"no answer within {silence:g} s")
        expired = [*self._queue.take_expired(now), *self._take_whole(now)]
        self.ledger.finish([(push, Outcome.UNAVAILABLE) for push in expired])
        fault = SenderError("timed_out", f"no router answered within {self.policy.give_up_s:g} s")
        for request in [request for request in self._window if request.deadline() <= now]:
            if self._window.drop(request) and self.link.is_ready:
                self.link.greet(now)
            self._give_up(request, fault)
        while self._questions and self._questions[0].deadline <= now:
            self.ledger.answer(self._questions.popleft(), error=fault)

    # --- ends

    def _take_whole(self, now: float = float("inf")) -> list[Push]:
        """Pushes of unsent requests with an `id` of their own that are past their deadline."""
        expired: list[Push] = []
        while self._whole and self._whole[0][0].deadline <= now:
            expired += self._whole.popleft()
        return expired

    def _finish(self, final: list[tuple[Push, Outcome]]) -> None:
        """Pushes that were sent and have their last word: the next ones for their tokens may go."""
        self.ledger.finish(final)
        for push, _ in final:
            self._queue.release(push)

    def _give_up(self, request: Request, fault: SenderError) -> None:
        if isinstance(request, Batch):
            self._finish(request.give_up())
        else:
            self._fail(request, fault)

    def _fail(self, request: Request, fault: SenderError) -> None:
        if isinstance(request, Inquiry):
            self.ledger.answer(request.question, error=fault)
        elif isinstance(request, Batch):
            for push in [request.pushes[position] for position in request.pending]:
                self.ledger.fail(push, fault)
                self._queue.release(push)
