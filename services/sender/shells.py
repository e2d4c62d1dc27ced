"""What callers of a sender see; threads and greenlets have it in common. It holds no rules."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic, time_ns
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import ujson

from services.sender.connections import CurveKeys
from services.sender.loops import Concurrency, Loop, call_back
from services.sender.options import DEFAULT, ORIGIN, OptionSet, encode_options, split_origin
from services.sender.policies import Policy
from services.sender.protocol import Protocol
from services.sender.spans import traced
from services.sender.statistics import Statistics
from services.sender.tickets import Push, Question, Ticket
from shared.errors import SenderError
from shared.origins import Origin
from shared.outcomes import Outcome
from shared.push_ids import id_prefix, push_id
from shared.requests import EXPLAIN1, FIND1, KICK1, NAME_MAX_BYTES, STAT1
from shared.spans import Spans

DEFAULT_ENDPOINT = "tcp://127.0.0.1:6700"
#: Tokens in one FIND1 or KICK1.
QUESTION_TOKENS = 1000
_OPTION_SETS_MAX = 1000
#: Sets with an origin, which is mostly new each time.
_ORIGINS_MAX = 100


class FanOut(NamedTuple):
    """What became of a push to all, a user or a group: one outcome for it, and how many clients had which."""

    outcome: Outcome
    counts: dict[str, int]


class Shell:
    """A sender. Its loop owns the socket; callers only queue and wait. Every method may be called from anywhere.

    `endpoints`: the routers' sender endpoints; one is used at a time. `name`: 1-64 bytes that scope the ids of
    requests; random when empty. `spans`: where each request is told as a span (not those of `put` and `push_many`).
    `settings`: fields of Policy. Raises SenderError.
    """

    concurrency: ClassVar[Concurrency]

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        name: str = "",
        curve: CurveKeys | None = None,
        spans: Spans | None = None,
        **settings: Any,
    ) -> None:
        self._spans = spans
        self.policy = Policy(**settings)
        prefix = os.urandom(8).hex()
        encoded = name.encode() or f"sender-{prefix}".encode()
        if len(encoded) > NAME_MAX_BYTES:
            raise SenderError("bad_name", f"name of {len(encoded)} bytes exceeds the limit of {NAME_MAX_BYTES}")
        self._process = os.getpid()
        self._option_sets: dict[tuple[tuple[str, Any], ...], OptionSet] = {}
        self._with_origin: dict[tuple[OptionSet, Origin], OptionSet] = {}
        self._protocol = Protocol(_listed(endpoints), encoded, prefix.encode(), self.policy, _unix_us)
        self._loop = Loop(self._protocol, self.concurrency, curve)

    # --- pushes

    def push(self, token: str | bytes, payload: str | bytes, **options: Any) -> Outcome:
        """Pushes and waits for the outcome. Options as in PUSH1: ttl, timeout_ms, signal, ...; raises SenderError."""
        return self._put_traced(token, payload, options, wait=True).result()

    def push_nowait(self, token: str | bytes, payload: str | bytes, **options: Any) -> Push:
        """Pushes; the ticket's `result()` is the Outcome. Raises SenderError `queue_full` rather than wait."""
        return self._put_traced(token, payload, options, wait=False)

    def put(self, token: str | bytes, payload: str | bytes, **options: Any) -> Push:
        """The same, but waits until there is room."""
        return self._put(token, payload, self._options(options), wait=True)

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

    def push_request(
        self, pushes: Iterable[tuple[str | bytes, str | bytes]], *, id: str | None = None, **options: Any
    ) -> list[Push]:
        """Pushes (target, payload) pairs, all of them or none; their tickets. `to` among the options: see PUSH1.

        With `id` they are one request of that idempotency key: the same again, also by another sender of this name,
        pushes nothing twice. They are not held back for other pushes to their tokens that are repeated. Raises
        SenderError `queue_full` rather than wait; a ticket's `result()` may raise it too, `id_reused` among others.
        """
        if self._spans is not None:
            return traced(self._spans, options, lambda told: self._put_request(pushes, id, told))
        return self._put_request(pushes, id, options)

    def _put_request(
        self, pushes: Iterable[tuple[str | bytes, str | bytes]], id: str | None, options: Mapping[str, Any]
    ) -> list[Push]:
        option_set = self._options(options) if id is None else encode_options(options, id)
        until = monotonic() + self.policy.give_up_s
        tickets = [Push(self, until, _encoded(target), _encoded(payload), option_set) for target, payload in pushes]
        self._check_process()
        with self._loop.lock:
            self._check_room()
            if id is None:
                for ticket in tickets:
                    self._protocol.put_push(ticket)
            elif tickets:
                self._protocol.put_whole(tickets)
            self._loop.wake()
        return tickets

    def push_id(self, push: Push) -> str | None:
        """Its id as clients see it (docs/sender-protocol.md, section Push ids); None before it has been sent."""
        if push.place is None:
            return None
        key, index = push.place
        return push_id(id_prefix(self._protocol.name, key.encode()), index)

    def push_all(self, payload: str | bytes, **options: Any) -> FanOut:
        """Pushes to every client and waits for what became of it."""
        return self._push_to("all", "*", payload, options)

    def push_user(self, uid: str, payload: str | bytes, **options: Any) -> FanOut:
        """Pushes to all devices of a user and waits for what became of it."""
        return self._push_to("user", uid, payload, options)

    def push_group(self, group: str, payload: str | bytes, **options: Any) -> FanOut:
        """Pushes to all members of a group and waits for what became of it."""
        return self._push_to("group", group, payload, options)

    def _push_to(self, to: str, target: str, payload: str | bytes, options: Mapping[str, Any]) -> FanOut:
        push = self._put_traced(target, payload, {**options, "to": to}, wait=True)
        return FanOut(push.result(), push.detail or {})

    # --- questions

    def find(self, tokens: Iterable[str | bytes]) -> list[dict[str, Any] | None]:
        """Where each token's client is: `online`, and worker, protocol, address, since (Unix ms), uid if it is.

        None: its worker did not answer.
        """
        return self._ask_in_parts(FIND1, tokens)

    def kick(self, tokens: Iterable[str | bytes]) -> list[bool | None]:
        """Closes the connection of each token; True where there was one, None where the worker did not answer."""
        return self._ask_in_parts(KICK1, tokens)

    def stat(self) -> dict[str, Any]:
        """The fleet's figures."""
        answer = self._ask(STAT1, []).result()
        return answer if isinstance(answer, dict) else {}

    def explain(self, token: str | bytes | None = None, message: str = "") -> dict[str, Any]:
        """What its router, and every worker that it reaches, know of a token, a message, or a message of a token.

        `message`: a push id, the `id` of a request, a request id, or (with a token) the message id that its client saw.
        """
        question = {} if token is None else {"token": _encoded(token).decode()}
        body = ujson.dumps(question | ({"message": message} if message else {}))
        answer = self._ask(EXPLAIN1, [body.encode()]).result()
        return answer if isinstance(answer, dict) else {}

    # --- life

    def wait_ready(self, timeout: float) -> None:
        """Waits until a router has answered. Raises SenderError `unreachable` after `timeout` seconds."""
        self._loop.ready.wait(timeout)
        if not self._loop.ready.is_set():
            fault = self._protocol.link.last_fault
            where = ", ".join(self._protocol.link.endpoints)
            raise SenderError(
                "unreachable", f"no router answers at {where} within {timeout:g} s" + (f" ({fault})" if fault else "")
            )

    @property
    def statistics(self) -> Statistics:
        """A snapshot of the counters."""
        with self._loop.lock:
            return self._protocol.statistics

    @property
    def endpoint(self) -> str:
        """The router in use."""
        return self._protocol.link.endpoint

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until everything is answered; False if `timeout` seconds were not enough."""
        self._check_process()
        with self._loop.lock:
            if self._protocol.is_idle():
                return True
            self._loop.idle.clear()
        self._loop.idle.wait(timeout)
        return self._loop.idle.is_set()

    def close(self, flush_s: float | None = None) -> None:
        """Waits up to `flush_s` seconds (None: as long as `give_up_s` lets it take) for answers, then ends."""
        if os.getpid() == self._process and not self._loop.ended.is_set():
            self.flush(flush_s)
            self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(0 if error else None)

    # --- for tickets

    def wait_for(self, ticket: Ticket[Any], timeout: float | None) -> bool:
        """Blocks until the ticket is answered; False when `timeout` seconds have passed."""
        self._check_process()
        with self._loop.lock:
            if ticket.done():
                return True
            event = ticket.signal
            if event is None:
                event = ticket.signal = self.concurrency.event()
        event.wait(timeout)  # type: ignore[attr-defined]
        return ticket.done()

    def call_when_done(self, ticket: Ticket[Any], callback: Callable[[Any], None]) -> None:
        """Calls back from the loop; at once if the ticket is answered already."""
        with self._loop.lock:
            if not ticket.done():
                ticket.callbacks = [*(ticket.callbacks or []), callback]
                return
        call_back(callback, ticket)

    # --- inside

    def _check_process(self) -> None:
        """The loop does not come along into a forked process, and the lock may be held there for ever."""
        if os.getpid() != self._process:
            raise SenderError("forked", "this sender works in the process that made it: make another after the fork")

    def _options(self, options: Mapping[str, Any]) -> OptionSet:
        """One OptionSet for equal options, so that their pushes can share requests."""
        if not options:
            return DEFAULT
        if any(name in options for name in ORIGIN):
            origin, options = split_origin(options)
            return self._of(origin, self._options(options)) if origin else self._options(options)
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

    def _of(self, origin: Origin, options: OptionSet) -> OptionSet:
        found = self._with_origin.get((options, origin))
        if found is None:
            if len(self._with_origin) >= _ORIGINS_MAX:
                self._with_origin.clear()
            found = self._with_origin[options, origin] = options.of(origin)
        return found

    def _put_traced(self, token: str | bytes, payload: str | bytes, options: dict[str, Any], wait: bool) -> Push:
        if self._spans is None:
            return self._put(token, payload, self._options(options), wait)
        [push] = traced(self._spans, options, lambda told: [self._put(token, payload, self._options(told), wait)])
        return push

    def _put(self, token: str | bytes, payload: str | bytes, options: OptionSet, wait: bool) -> Push:
        self._check_process()
        push = Push(self, monotonic() + self.policy.give_up_s, _encoded(token), _encoded(payload), options)
        protocol = self._protocol
        while True:
            with self._loop.lock:
                if not protocol.is_full():
                    protocol.put_push(push)
                    self._loop.wake()
                    return push
                if not wait:
                    self._check_room()
                self._loop.room.clear()
            self._loop.room.wait()

    def _check_room(self) -> None:
        """With the lock held. Raises SenderError `queue_full`."""
        if self._protocol.is_full():
            opened = self._protocol.ledger
            waiting = f"{opened.pushes_open} pushes of {opened.bytes_open} bytes are waiting"
            raise SenderError("queue_full", waiting)

    def _ask(self, command: bytes, arguments: list[bytes]) -> Question:
        self._check_process()
        question = Question(self, monotonic() + self.policy.give_up_s, command, arguments)
        with self._loop.lock:
            self._protocol.put_question(question)
            self._loop.wake()
        return question

    def _ask_in_parts(self, command: bytes, tokens: Iterable[str | bytes]) -> list[Any]:
        encoded = [_encoded(token) for token in tokens]
        parts = [encoded[start : start + QUESTION_TOKENS] for start in range(0, len(encoded), QUESTION_TOKENS)]
        return [answer for question in [self._ask(command, part) for part in parts] for answer in question.result()]


def _unix_us() -> int:
    return time_ns() // 1000


def _encoded(text: str | bytes) -> bytes:
    """UTF-8; half a surrogate pair stays what it is, no UTF-8, which the worker refuses for this push alone."""
    # memoryview: what is neither text nor bytes is an error; bytes(3) would be three zero bytes.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(memoryview(text))


def _listed(endpoints: str | Sequence[str]) -> list[str]:
    listed = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    if not listed:
        raise SenderError("bad_endpoint", "no router endpoint is given")
    return listed
