"""Messages of services: told apart, and given to the part of the router that they concern."""

from collections.abc import Callable, Sequence

import ujson

from router.parts import Parts
from router.requesters import EVERY_SCOPE, Requesters
from router.service_members import checked_beat, checked_serve
from shared import __version__
from shared.bus import decode_control
from shared.calls import ASK1, BEAT1, LEAVE1, REGROUP1, RETURN1, SERVE1, SERVING1, TOLD1, decode_answer
from shared.errors import BusError, RequestError
from shared.requests import DONE1, FAIL1, INFO1

#: More instances than this are a mistake.
SERVICES_MAX = 1_024

_ANSWERS = frozenset({DONE1, INFO1, FAIL1})

_Handler = Callable[[bytes, Sequence[bytes], float], None]


class ServiceMessages:
    """What to do with each kind of message. What is a sender's is handled as a sender's, with every scope."""

    def __init__(self, parts: Parts, requesters: Requesters) -> None:
        self._parts, self._services, self._requesters = parts, parts.services, requesters
        self._handlers: dict[bytes, _Handler] = {
            RETURN1: self._return,
            ASK1: parts.asks.of_service,
            BEAT1: self._beat,
            SERVE1: self._serve,
            LEAVE1: self._leave,
            REGROUP1: self._regroup,
        }

    def receive(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """A message without the identity frame; what is wrong with it is told in a FAIL1."""
        connection = self._parts.service_connections.get(identity)
        self._services.heard(identity, now)
        handler = self._handlers.get(frames[0] if frames else b"")
        if handler is None:
            self._requesters.receive(connection, frames, now, EVERY_SCOPE)
            return
        try:
            handler(identity, frames, now)
        except (BusError, RequestError) as error:
            self._parts.counters["service_errors"] += 1
            refusal = error if isinstance(error, RequestError) else RequestError("malformed", str(error))
            self._parts.answers.say_fail(connection, b"", refusal)
            if not connection.faulty:
                connection.faulty = True
                self._parts.outbox.notices.append(f"message of a service passed over: {error}")

    def _serve(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        said = checked_serve(frames)
        if identity not in self._services.services and len(self._services.services) >= SERVICES_MAX:
            raise RequestError("overloaded", f"{SERVICES_MAX} services are known")
        service = self._services.serve(identity, said, now)
        settings = self._parts.settings
        body = {
            "version": __version__,
            "position": self._parts.membership.position,
            "heartbeat_ms": settings.service_heartbeat_ms,
            "timeout_ms": settings.service_timeout_ms,
            "window": service.window,
            "body_limit_bytes": settings.body_limit_bytes,
        }
        self._parts.outbox.to_services.append((identity, [SERVING1, ujson.dumps(body).encode()]))

    def _return(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        service, answer = self._services.services.get(identity), decode_answer(frames)
        if service is not None:
            self._services.returned(service, *answer, now)
            return
        self._parts.counters["service_answers_late"] += 1
        self._services.ask_who(identity, now)

    def _beat(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        service = self._services.services.get(identity)
        if service is None:
            self._services.ask_who(identity, now)
        else:
            service.statistics, service.figures = checked_beat(frames)

    def _leave(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        service = self._services.services.get(identity)
        if service is not None:
            self._services.leave(service, now)

    def _regroup(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """Passed on as it is, and answered by MEMBERS1. Who is not reached asks for all groups when it is back."""
        body, workers = decode_control(frames), list(self._parts.membership.workers.values())
        for worker in workers:
            if worker.reached:
                self._parts.outbox.to_workers.append((worker.identity, list(frames)))
        group = body.get("group")
        if body.get("joined") and isinstance(group, str):
            self._parts.memberships.joined(group, [worker.identity for worker in workers])

    def unreachable(self, identity: bytes, unsent: Sequence[list[bytes]], now: float) -> None:
        """ZeroMQ has no link to it, or it does not read; it did not take `unsent`, all from the first failure on."""
        self._parts.counters["answers_dropped"] += sum(frames[0] in _ANSWERS for frames in unsent)
        self._parts.counters["service_answers_dropped"] += sum(frames[0] == TOLD1 for frames in unsent)
        self._parts.service_connections.forget(identity)
        service = self._services.services.get(identity)
        if service is not None:
            self._services.lose(service, "its link is gone", now, unsent)
