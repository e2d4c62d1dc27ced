"""Calls to services: each is answered once, whatever becomes of the service (docs/service-protocol.md)."""

from collections.abc import Callable, Iterable
from typing import Any

import ujson

from router.counters import Counters
from router.deadlines import Deadlines
from router.membership import Membership
from router.outbox import Outbox
from router.service_calls import Done, ServiceCall, number_of_call
from router.service_lanes import ServiceLanes
from router.service_members import Said, Service
from shared.bus import encode_control
from shared.calls import BEAT1, CALL1, TOPICS1, WHO1, Topic
from shared.settings import Settings
from shared.signals import PublishError

#: An instance that has not answered in time may be at work on the call still, so it counts in its window for so long.
LATE_S = 60.0


class Services:
    """Instances by identity, and their calls. `bytes`: of calls that are unanswered."""

    def __init__(
        self, settings: Settings, started_ms: int, outbox: Outbox, counters: Counters, membership: Membership
    ) -> None:
        self.services: dict[bytes, Service] = {}
        self.lanes = ServiceLanes()
        self.unanswered: dict[int, ServiceCall] = {}
        self.bytes = 0
        self.stopping = False
        self._settings, self._outbox, self._counters, self._membership = settings, outbox, counters, membership
        self._beat_s, self._timeout_s = settings.service_heartbeat_ms / 1000, settings.service_timeout_ms / 1000
        self._deadlines: Deadlines[ServiceCall] = Deadlines()
        self._last_number = started_ms << 20
        self._told: list[tuple[int, int, bool]] | None = None
        self._asked: dict[bytes, float] = {}  # who was asked when, within the last heartbeat
        self._next_look = self._next_beat = float("inf")

    # calls

    def ask(
        self,
        topic: Topic,
        key: str | None,
        body: bytes,
        timeout_s: float,
        now: float,
        done: Done,
    ) -> None:
        """A call of the router itself. `done(code, body, now)` is called once, maybe before this returns."""
        head: dict[str, Any] = {**topic._asdict(), "timeout_ms": max(1, round(timeout_s * 1000))}
        if key is not None:
            head["key"] = key
        self.put(topic, key, ujson.dumps(head, escape_forward_slashes=False).encode(), body, now + timeout_s, now, done)

    def put(
        self, topic: Topic, key: str | None, head: bytes, body: bytes, deadline: float, now: float, done: Done
    ) -> None:
        """A call; `head` is its JSON. Likewise."""
        refusal = self._refusal(topic, len(head) + len(body))
        if refusal is not None:
            done(refusal, b"", now)
            return
        self._last_number += 1
        call = ServiceCall(self._last_number, self.lanes.lane(topic, key), head, body, now, deadline, done)
        self.unanswered[call.number] = call
        self.bytes += call.size
        self._deadlines.add(call, deadline)
        self.lanes.put(call)
        self._send_given(now)

    def _refusal(self, topic: Topic, size: int) -> PublishError | None:
        """Why a call is not taken, if it is not."""
        if self.stopping or not self.lanes.serves(topic):
            self._counters["service_calls_unserved"] += 1
            return PublishError.NOT_IMPLEMENTED
        full = self.lanes.waiting(topic) >= self._settings.service_queue_max
        if full or self.bytes + size > self._settings.pending_bytes_max:
            self._counters["service_calls_refused"] += 1
            return PublishError.QUEUE_FULL
        return None

    def returned(self, service: Service, number: int, code: int, body: bytes, now: float) -> None:
        """RETURN1. One that comes late, twice, or for a call of another's is dropped."""
        call = service.calls.get(number)
        if call is None or call.late:
            self._counters["service_answers_late"] += 1
        else:
            self._counters["service_answers"] += 1
        if call is None:
            return
        self._deadlines.remove(call)
        self.lanes.free(call, service)
        self._send_given(now)
        if len(body) > self._settings.body_limit_bytes:
            self._counters["service_answers_too_large"] += 1
            code, body = PublishError.NOBODY_KNOWS, b""
        self._answer(call, code, body, now)

    def _answer(self, call: ServiceCall, code: int, body: bytes, now: float) -> None:
        """Tell whoever asked; nothing if that was done when its time was over."""
        if self.unanswered.pop(call.number, None) is not None:
            self.bytes -= call.size
            call.done(code, body, now)

    def expire(self, now: float) -> None:
        """Calls whose time is over, and those whose instance has had a minute more."""
        for call in self._deadlines.due(now):
            service = call.service
            if call.late:
                if service is not None:
                    self.lanes.free(call, service)
            else:
                call.late = True
                if service is None:
                    self.lanes.withdraw(call)
                else:
                    self._deadlines.add(call, now + LATE_S)
                self._counters["service_calls_timed_out"] += 1
                self._answer(call, PublishError.TIMED_OUT, b"", now)
        self._send_given(now)

    def _send_given(self, now: float) -> None:
        given, self.lanes.given = self.lanes.given, []
        for call in given:
            service = call.service
            assert service is not None
            call.again = service.topics[call.lane.topic] and not call.retry
            self._counters["service_calls"] += 1
            self._counters["service_retries"] += call.retry
            self._outbox.to_services.append((service.identity, call.frames(now)))
            if not call.again:
                call.body = b""  # it is not sent again

    # instances

    def serve(self, identity: bytes, said: Said, now: float) -> Service:
        """SERVE1. What an earlier instance on this connection, or an earlier connection of this one has, is lost."""
        for other in list(self.services.values()):
            if (other.identity == identity) != (other.instance == said.instance and other.name == said.name):
                self.lose(other, "it is there anew", now)
        service = self.services.get(identity)
        if service is None:
            service = self.services[identity] = Service(identity, said, now)
            self._outbox.notices.append(f"service {service.full_name} serves {len(said.topics)} topics")
            self._watch(now)
        if service.leaving or service.topics != said.topics or service.window != said.window:
            self.lanes.retire(service)
            service.leaving, service.window = False, said.window
            self.lanes.add(service, said.topics)
            self._send_given(now)
        self._asked.pop(identity, None)
        return service

    def _watch(self, now: float) -> None:
        if self._next_look == float("inf"):
            self._next_look, self._next_beat = now + self._beat_s / 2, now + self._beat_s

    def leave(self, service: Service, now: float) -> None:
        """LEAVE1."""
        if not service.leaving:
            service.leaving = True
            self._outbox.notices.append(f"service {service.full_name} is leaving")
            self.lanes.retire(service)
            self._send_given(now)

    def lose(self, service: Service, why: str, now: float, unsent: Iterable[list[bytes]] = ()) -> None:
        """It is dead. ZeroMQ did not take `unsent`: these calls it certainly does not have."""
        del self.services[service.identity]
        done = service.leaving and not service.calls
        self._counters["services_lost"] += not done
        self._outbox.notices.append(f"service {service.full_name} {'left' if done else f'lost: {why}'}")
        bodies = {number_of_call(frames): frames[3] for frames in unsent if frames[0] == CALL1}
        lost = self.lanes.drop(service, _may_go_again(bodies))
        self._send_given(now)
        for call in lost:
            self._deadlines.remove(call)
            self._counters["service_calls_lost"] += not call.late
            self._answer(call, PublishError.NOBODY_KNOWS, b"", now)

    def heard(self, identity: bytes, now: float) -> Service | None:
        """The instance that just said something. One that is not known is asked who it is, once a heartbeat."""
        service = self.services.get(identity)
        if service is not None:
            service.last_heard = now
        return service

    def ask_who(self, identity: bytes, now: float) -> None:
        """WHO1, once a heartbeat."""
        if now - self._asked.get(identity, float("-inf")) >= self._beat_s:
            self._asked[identity] = now
            self._watch(now)
            self._outbox.to_services.append((identity, [WHO1]))

    # what time does

    def look(self, now: float) -> None:
        """Say BEAT1 to all; who is silent for too long is dead. A pause of this process is not held against them."""
        if now < self._next_look:
            return
        late = now - self._next_look
        if late > self._beat_s:
            for service in self.services.values():
                service.last_heard = min(now, service.last_heard + late)
        self._asked = {identity: asked for identity, asked in self._asked.items() if now - asked < self._beat_s}
        for service in list(self.services.values()):
            if now - service.last_heard > self._timeout_s:
                self.lose(service, "silent", now)
        if now >= self._next_beat:
            self._next_beat = now + self._beat_s
            self._outbox.to_services += [(identity, [BEAT1]) for identity in self.services]
        self._next_look = now + self._beat_s / 2
        if not self.services and not self._asked:
            self._next_look = self._next_beat = float("inf")

    def next_deadline(self) -> float:
        """When `expire` and `look` must be called next, in monotonic seconds."""
        deadline = self._deadlines.next()
        return self._next_look if deadline is None else min(deadline, self._next_look)

    # topics

    def tell_topics(self, identity: bytes) -> None:
        """TOPICS1 to a worker that has said READY1; it expects nothing of a router that has had no service yet."""
        if self._told is not None:
            self._outbox.to_workers.append((identity, encode_control(TOPICS1, {"topics": self._told})))

    def flush(self) -> None:
        """TOPICS1 to all workers, if other topics are served than they were told."""
        if not self.lanes.changed:
            return
        self.lanes.changed = False
        topics = [] if self.stopping else self.lanes.topics()
        if topics != (self._told or []):
            self._told = topics
            for worker in self._membership.workers.values():
                if worker.reached:
                    self.tell_topics(worker.identity)

    # the end

    def stop(self) -> None:
        """Take on nothing more, and say so."""
        self.stopping = self.lanes.changed = True

    def end(self, now: float) -> None:
        """Answer what is unanswered: nobody knows."""
        for call in list(self.unanswered.values()):
            self._answer(call, PublishError.NOBODY_KNOWS, b"", now)


def _may_go_again(unsent: dict[int, bytes]) -> Callable[[ServiceCall], bool]:
    """Whether a call of a dead instance may go to another. `unsent`: bodies of calls that it never had."""

    def may(call: ServiceCall) -> bool:
        if call.late:
            return False
        if call.number in unsent:
            call.body = unsent[call.number]
            return True
        call.retry = call.again
        return call.again

    return may
