"""Messages of senders: told apart, checked, and answered or taken in (docs/sender-protocol.md)."""

from collections.abc import Callable, Sequence

from router.calls import PendingCall
from router.connections import Connection
from router.journeys import Arrival, Journey
from router.parts import Parts
from router.push_requests import PushRequests
from router.statistics import figures
from shared import __version__
from shared.errors import RequestError
from shared.keys import ADMIN, PUSH
from shared.requests import (
    EXPLAIN1,
    FIND1,
    HELLO1,
    ID_MAX_BYTES,
    KICK1,
    NAME_MAX_BYTES,
    PUSH1,
    PUSH2,
    REQUEST_ID_MAX_BYTES,
    STAT1,
    TIMEOUT_MAX_MS,
    PushOptions,
    decode_hello,
    decode_tokens,
    encode_hello_answer,
    parse_options,
)
from shared.settings import Settings

EVERY_SCOPE = frozenset({PUSH, ADMIN})

#: Any one of these scopes is enough.
_ALLOWED = {
    HELLO1: EVERY_SCOPE,
    PUSH1: frozenset({PUSH}),
    PUSH2: frozenset({PUSH}),
    FIND1: EVERY_SCOPE,
    STAT1: EVERY_SCOPE,
    EXPLAIN1: EVERY_SCOPE,
    KICK1: frozenset({ADMIN}),
}

_ORIGIN = (b"request_id", b"traceparent")

#: These cost the sender one INFO line.
_LOGGED = frozenset({"malformed", "unknown_command", "bad_options", "not_allowed", "too_many_targets"})

_Handler = Callable[[Connection, Sequence[bytes], float], None]


class Requesters:
    """What to do with each command."""

    def __init__(self, parts: Parts, random_bytes: Callable[[int], bytes]) -> None:
        self._parts = parts
        pushes = PushRequests(parts, random_bytes)
        self._handlers: dict[bytes, _Handler] = {
            PUSH2: pushes.receive,
            PUSH1: pushes.receive,
            HELLO1: self._hello,
            FIND1: self._call,
            KICK1: self._call,
            STAT1: self._stat,
            EXPLAIN1: self._explain,
        }

    def receive(self, connection: Connection, frames: Sequence[bytes], now: float, scopes: frozenset[str]) -> None:
        """A message without the identity frame; what is wrong with it is told in a FAIL1."""
        try:
            self._checked(frames, scopes)(connection, frames, now)
        except RequestError as error:
            self._fail(connection, frames, error, now)

    def _checked(self, frames: Sequence[bytes], scopes: frozenset[str]) -> _Handler:
        """What handles this message. Raises RequestError if it has no such thing, or the sender may not."""
        command = frames[0] if frames else b""
        handler = self._handlers.get(command)
        if handler is None:
            raise RequestError("unknown_command", f"unknown command {command[:16].decode(errors='replace')!r}")
        if not scopes & _ALLOWED[command]:
            needed = " or ".join(sorted(_ALLOWED[command]))
            raise RequestError("not_allowed", f"{command.decode()} needs scope {needed}")
        if command != HELLO1 and not _request_id(frames):
            raise RequestError("malformed", f"request id is not of 1 to {REQUEST_ID_MAX_BYTES} bytes")
        return handler

    def _fail(self, connection: Connection, frames: Sequence[bytes], error: RequestError, now: float) -> None:
        self._parts.answers.say_fail(connection, _request_id(frames), error)
        options = _options(frames)
        if options is not None and options.origin is not None:
            journey = Journey(options.origin, options.to, connection.name, now)
            self._parts.outbox.arrivals.append(Arrival(journey, now, b"", fault=error.code))
        if error.code in _LOGGED and not connection.faulty:
            connection.faulty = True
            name = repr(connection.name) if connection.name else "without a name"
            self._parts.outbox.notices.append(f"sender {name} sent a bad request: {error.code}: {error}")

    def _hello(self, connection: Connection, frames: Sequence[bytes], now: float) -> None:
        connection.name = decode_hello(frames)
        connection.refused = None
        settings = self._parts.settings
        body = {
            "version": __version__,
            "max_frame_bytes": settings.max_frame_bytes,
            "limits": limits(settings),
            "origins": True,
            "sent_at": True,
        }
        self._parts.outbox.answer(connection, encode_hello_answer(body))

    def _stat(self, connection: Connection, frames: Sequence[bytes], now: float) -> None:
        if len(frames) != 2:
            raise RequestError("malformed", f"STAT1 of {len(frames)} frames: expected a request id alone")
        self._parts.counters["requests"] += 1
        self._parts.answers.say_info(connection, frames[1], figures(self._parts, now))

    def _call(self, connection: Connection, frames: Sequence[bytes], now: float) -> None:
        tokens = decode_tokens(frames, self._parts.settings.max_targets)
        pending = PendingCall(self._parts.calls, connection, frames, tokens)
        self._parts.admission.check(connection, pending.size)
        self._parts.counters["requests"] += 1
        self._parts.calls.accept(pending, now)

    def _explain(self, connection: Connection, frames: Sequence[bytes], now: float) -> None:
        wanted = self._parts.explanations.wanted(frames)
        self._parts.admission.check(connection, sum(map(len, frames)))
        self._parts.counters["requests"] += 1
        self._parts.explanations.accept(connection, frames, wanted, now)


def _options(frames: Sequence[bytes]) -> PushOptions | None:
    """Options of a push request that was turned down, if they are good and may say where it comes from."""
    if len(frames) < 3 or frames[0] not in (PUSH1, PUSH2) or not any(name in frames[2] for name in _ORIGIN):
        return None
    try:
        return parse_options(frames[2])
    except RequestError:
        return None


def _request_id(frames: Sequence[bytes]) -> bytes:
    """The request id to answer; empty where there is none."""
    if len(frames) < 2 or frames[0] == HELLO1 or len(frames[1]) > REQUEST_ID_MAX_BYTES:
        return b""
    return frames[1]


def limits(settings: Settings) -> dict[str, int]:
    """What a sender must keep to; the answer to HELLO1 has it."""
    return {
        "max_targets": settings.max_targets,
        "request_id_bytes": REQUEST_ID_MAX_BYTES,
        "name_bytes": NAME_MAX_BYTES,
        "id_bytes": ID_MAX_BYTES,
        "timeout_ms": TIMEOUT_MAX_MS,
        "unanswered_requests": settings.pending_requests_max,
        "unanswered_bytes": settings.pending_bytes_max,
    }
