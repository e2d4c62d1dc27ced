"""The shell around the protocol: what threads and greenlets have in common. It holds no rules."""

import logging
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self
from typing import Protocol as Interface

import zmq

from services.sender.connections import Connection, CurveKeys
from services.sender.options import DEFAULT, OptionSet, encode_options
from services.sender.policies import Policy
from services.sender.protocol import Protocol, State
from services.sender.statistics import Statistics
from services.sender.tickets import Push, Question, Ticket
from shared.errors import SenderError
from shared.outcomes import Outcome
from shared.requests import FIND1, KICK1, NAME_MAX_BYTES, STAT1

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "tcp://127.0.0.1:6700"
#: Tokens in one FIND1 or KICK1.
QUESTION_TOKENS = 1000
_OPTION_SETS_MAX = 1000


class FanOut(NamedTuple):
    """What became of a push to all: one outcome for it, and how many clients had which."""

    outcome: Outcome
    counts: dict[str, int]


class Event(Interface):
    """threading.Event, or gevent's."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> Any: ...


class Waker(Interface):
    """Lets the loop wait for its connection and for callers at once."""

    def wake(self) -> None:
        """Ends the present `wait`, or the next one. Called with the lock held."""

    def wait(self, connection: Connection | None, timeout: float | None) -> None:
        """Blocks until something is readable, `wake` was called or `timeout` seconds have passed."""

    def forget(self) -> None:
        """The connection that was waited for is about to be closed."""

    def close(self) -> None: ...


class Shell(ABC):
    """A sender. The loop owns the socket; callers only queue and wait. Every method may be called from anywhere.

    `endpoints`: the routers' sender endpoints; one is used at a time. `name`: 1-64 bytes that scope the ids of
    requests; random when empty. `settings`: fields of Policy. Raises SenderError.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        name: str = "",
        curve: CurveKeys | None = None,
        **settings: Any,
    ) -> None:
        self.policy = Policy(**settings)
        prefix = os.urandom(8).hex()
        encoded = name.encode() or f"sender-{prefix}".encode()
        if len(encoded) > NAME_MAX_BYTES:
            raise SenderError("bad_name", f"name of {len(encoded)} bytes exceeds the limit of {NAME_MAX_BYTES}")
        self._protocol = Protocol(_listed(endpoints), encoded, prefix.encode(), self.policy)
        self._curve = curve
        self._connection: Connection | None = None
        self._option_sets: dict[tuple[tuple[str, Any], ...], OptionSet] = {}
        self._lock = self._make_lock()
        self._room, self._ready, self._idle, self._ended = [self._make_event() for _ in range(4)]
        self._stopping = self._awake = False
        self._waker = self._make_waker()
        self._start(self._run)

    # --- what threads and greenlets do differently

    @abstractmethod
    def _make_lock(self) -> AbstractContextManager[Any]: ...

    @abstractmethod
    def _make_event(self) -> Event: ...

    @abstractmethod
    def _make_waker(self) -> Waker: ...

    @abstractmethod
    def _start(self, loop: Callable[[], None]) -> None: ...

    # --- pushes

    def push(self, token: str | bytes, payload: str | bytes, **options: Any) -> Outcome:
        """Pushes and waits for the outcome. Options as in PUSH1: ttl, timeout_ms, signal, ...; raises SenderError."""
        return self._put(token, payload, self._options(options), wait=True).result()

    def push_nowait(self, token: str | bytes, payload: str | bytes, **options: Any) -> Push:
        """Pushes; the ticket's `result()` is the Outcome. Raises SenderError `queue_full` rather than wait."""
        return self._put(token, payload, self._options(options), wait=False)

    def push_many(self, pushes: Iterable[tuple[str | bytes, str | bytes]], **options: Any) -> Iterator[Outcome]:
        """Pushes (token, payload) pairs and yields their outcomes in the same order.

        Each goes as soon as it is read, together with what waits; memory is bounded by `queue_pushes`.
        """
        option_set = self._options(options)
        pending: deque[Push] = deque()
        for token, payload in pushes:
            pending.append(self._put(token, payload, option_set, wait=True))
            while pending and (len(pending) >= self.policy.queue_pushes or pending[0].done()):
                yield pending.popleft().result()
        for push in pending:
            yield push.result()

    def push_all(self, payload: str | bytes, **options: Any) -> FanOut:
        """Pushes to every client and waits for what became of it."""
        push = self._put(b"*", payload, self._options({**options, "to": "all"}), wait=True)
        return FanOut(push.result(), push.detail or {})

    # --- questions

    def find(self, tokens: Iterable[str | bytes]) -> list[dict[str, Any]]:
        """Where each token's client is: `online`, and worker, protocol, address, since (Unix ms), uid if it is."""
        return self._ask_in_parts(FIND1, tokens)

    def kick(self, tokens: Iterable[str | bytes]) -> list[bool]:
        """Closes the connection of each token; True where there was one."""
        return self._ask_in_parts(KICK1, tokens)

    def stat(self) -> dict[str, Any]:
        """The fleet's figures."""
        answer = self._ask(STAT1, []).result()
        return answer if isinstance(answer, dict) else {}

    # --- life

    def wait_ready(self, timeout: float) -> None:
        """Waits until a router has answered. Raises SenderError `unreachable` after `timeout` seconds."""
        self._ready.wait(timeout)
        if not self._ready.is_set():
            fault = self._protocol.last_fault
            where = ", ".join(self._protocol.endpoints)
            raise SenderError(
                "unreachable", f"no router answers at {where} within {timeout:g} s" + (f" ({fault})" if fault else "")
            )

    @property
    def statistics(self) -> Statistics:
        """A snapshot of the counters."""
        with self._lock:
            return self._protocol.statistics

    @property
    def endpoint(self) -> str:
        """The router in use."""
        return self._protocol.endpoint

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until everything is answered; False if `timeout` seconds were not enough."""
        with self._lock:
            if self._protocol.is_idle():
                return True
            self._idle.clear()
        self._idle.wait(timeout)
        return self._idle.is_set()

    def close(self, flush_s: float | None = None) -> None:
        """Waits up to `flush_s` seconds (None: as long as `give_up_s` lets it take) for answers, then ends."""
        if not self._ended.is_set():
            self.flush(flush_s)
            with self._lock:
                if not self._stopping:
                    self._stopping = True
                    self._wake()
            self._ended.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(0 if error else None)

    # --- for tickets

    def wait_for(self, ticket: Ticket[Any], timeout: float | None) -> bool:
        """Blocks until the ticket is answered; False when `timeout` seconds have passed."""
        with self._lock:
            if ticket.done():
                return True
            event = ticket.signal
            if event is None:
                event = ticket.signal = self._make_event()
        event.wait(timeout)  # type: ignore[attr-defined]
        return ticket.done()

    def call_when_done(self, ticket: Ticket[Any], callback: Callable[[Any], None]) -> None:
        """Calls back from the loop; at once if the ticket is answered already."""
        with self._lock:
            if not ticket.done():
                ticket.callbacks = [*(ticket.callbacks or []), callback]
                return
        callback(ticket)

    # --- inside

    def _options(self, options: Mapping[str, Any]) -> OptionSet:
        """One OptionSet for equal options, so that their pushes can share requests."""
        if not options:
            return DEFAULT
        key = tuple(sorted(options.items()))
        try:
            found = self._option_sets.get(key)
        except TypeError:
            return encode_options(options)
        if found is None:
            if len(self._option_sets) >= _OPTION_SETS_MAX:
                self._option_sets.clear()
            found = self._option_sets[key] = encode_options(options)
        return found

    def _put(self, token: str | bytes, payload: str | bytes, options: OptionSet, wait: bool) -> Push:
        push = Push(self, monotonic() + self.policy.give_up_s, _encoded(token), _encoded(payload), options)
        protocol = self._protocol
        while True:
            with self._lock:
                if not protocol.is_full():
                    protocol.put_push(push)
                    if not self._awake:
                        self._wake()
                    return push
                self._room.clear()
            if not wait:
                raise SenderError(
                    "queue_full", f"{protocol.pushes_open} pushes of {protocol.bytes_open} bytes are waiting"
                )
            self._room.wait()

    def _ask(self, command: bytes, arguments: list[bytes]) -> Question:
        question = Question(self, monotonic() + self.policy.give_up_s, command, arguments)
        with self._lock:
            self._protocol.put_question(question)
            self._wake()
        return question

    def _ask_in_parts(self, command: bytes, tokens: Iterable[str | bytes]) -> list[Any]:
        encoded = [_encoded(token) for token in tokens]
        parts = [encoded[start : start + QUESTION_TOKENS] for start in range(0, len(encoded), QUESTION_TOKENS)]
        return [answer for question in [self._ask(command, part) for part in parts] for answer in question.result()]

    def _wake(self) -> None:
        self._awake = True
        self._waker.wake()

    # --- the loop

    def _run(self) -> None:
        fault = SenderError("closed", "this sender is closed")
        context: zmq.Context[Any] = zmq.Context.instance()
        try:
            while not self._stopping:
                self._turn(context)
        except Exception:
            logger.exception("the sender's loop has failed")
            fault = SenderError("internal", "the sender's loop has failed: see the log")
        finally:
            with self._lock:
                self._protocol.close(fault)
                answered = self._protocol.take_answered()
                for event in (self._room, self._idle, self._ended):
                    event.set()
            _announce(answered)
            self._waker.close()
            if self._connection:
                self._connection.close()

    def _turn(self, context: zmq.Context[Any]) -> None:
        self._reopen(context)
        connection, protocol = self._connection, self._protocol
        received = connection.receive() if connection else []
        fault = connection.fault() if connection else None
        with self._lock:
            self._awake = False
            now = monotonic()
            for frames in received:
                protocol.receive_message(frames, now)
            if fault:
                protocol.connection_lost(now, fault)
            messages = protocol.messages_to_send(now)
            answered = protocol.take_answered()
            self._tell()
            deadline = protocol.next_deadline(now)
        if connection and not connection.send(messages):
            with self._lock:
                protocol.connection_lost(monotonic(), "the connection ended")
                deadline = 0.0
        _announce(answered)
        timeout = None if deadline == float("inf") else max(0.0, deadline - monotonic())
        self._waker.wait(connection, timeout)

    def _reopen(self, context: zmq.Context[Any]) -> None:
        with self._lock:
            now = monotonic()
            endpoint = self._protocol.endpoint_to_open(now)
        if endpoint is None:
            return
        if self._connection:
            self._waker.forget()
            self._connection.close()
            self._connection = None
        fault = ""
        try:
            self._connection = Connection(context, endpoint, self.policy.window, self._curve)
        except zmq.ZMQError as error:
            fault = f"{endpoint}: {error}"
        with self._lock:
            self._protocol.connection_opened(now)
            if fault:
                self._protocol.connection_lost(now, fault)

    def _tell(self) -> None:
        """Lets callers go on that wait for room, for the first router or for the last answer. With the lock held."""
        protocol = self._protocol
        if not self._room.is_set() and not protocol.is_full():
            self._room.set()
        if not self._idle.is_set() and protocol.is_idle():
            self._idle.set()
        if protocol.state is State.READY:
            if not self._ready.is_set():
                self._ready.set()
        elif self._ready.is_set():
            self._ready.clear()


def _announce(answered: list[Ticket[Any]]) -> None:
    for ticket in answered:
        if ticket.signal is not None:
            ticket.signal.set()
        for callback in ticket.callbacks or ():
            try:
                callback(ticket)
            except Exception:
                logger.exception("a callback of a push has failed")


def _encoded(text: str | bytes) -> bytes:
    """UTF-8; half a surrogate pair stays what it is, no UTF-8, which the worker refuses for this push alone."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)


def _listed(endpoints: str | Sequence[str]) -> list[str]:
    listed = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    if not listed:
        raise SenderError("bad_endpoint", "no router endpoint is given")
    return listed
