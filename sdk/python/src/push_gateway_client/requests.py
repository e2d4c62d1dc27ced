"""Requests of the application: what waits, what awaits its answer, and for how long. Pure."""

from __future__ import annotations

from collections import deque

from push_gateway_client.exceptions import (
    ConnectionLostError,
    PushClientError,
    QueueFullError,
    RefusedError,
    RequestTimeoutError,
    publish_error,
)
from push_gateway_client.packets import Packet, Signal, decode_object
from push_gateway_client.pushes import Answer

_LAST_ID = 65_535


class Request:
    """One PUBLISH or CONTACT. `settled` when it has an answer or an error."""

    __slots__ = ("answer", "body", "deadline", "error", "repeat", "sent", "signal", "sub_signal", "timeout_s")

    def __init__(
        self, signal: int, sub_signal: int, body: bytes, *, now: float, timeout_s: float, repeat: bool
    ) -> None:
        self.signal, self.sub_signal, self.body = signal, sub_signal, body
        self.deadline, self.timeout_s, self.repeat = now + timeout_s, timeout_s, repeat
        self.sent = False
        self.answer: Answer | None = None
        self.error: PushClientError | None = None

    @property
    def settled(self) -> bool:
        return self.answer is not None or self.error is not None


class Requests:
    """At most `queue_max` wait, and `calls_max` await their answers: over that the gateway would stop reading."""

    def __init__(self, queue_max: int, calls_max: int) -> None:
        self._queue_max, self._calls_max = queue_max, calls_max
        self._waiting: deque[Request] = deque()
        self._in_flight: dict[int, Request] = {}
        self._last_id = 0
        self.refused = self.expired = 0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def add(self, request: Request) -> None:
        """Raises QueueFullError."""
        if len(self._waiting) >= self._queue_max:
            self.refused += 1
            raise QueueFullError(self._queue_max)
        self._waiting.append(request)

    def packets_to_send(self) -> list[Packet]:
        """What may go now, in the order of the calls."""
        packets = []
        while self._waiting and len(self._in_flight) < self._calls_max:
            request = self._waiting.popleft()
            request.sent = True
            message_id = self._next_id()
            self._in_flight[message_id] = request
            packets.append(Packet(request.signal, request.sub_signal, message_id, request.body))
        return packets

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % _LAST_ID + 1
            if self._last_id not in self._in_flight:
                return self._last_id

    def receive_answer(self, packet: Packet) -> list[Request]:
        """The request that PUB_ACK or CONTACT answers, settled; none if nobody waits for it any more."""
        request = self._in_flight.pop(packet.message_id, None)
        if request is None or request.settled:
            return []
        if packet.signal == Signal.CONTACT:
            said = decode_object(packet.body)
            if said.get("status") != 200:
                request.error = RefusedError("CONTACT", int(said.get("status", 0)), str(said.get("message", "")))
        elif packet.body[:1] not in (b"", b"\0"):
            request.error = publish_error(packet.body[0], packet.body[1:])
        if request.error is None:
            request.answer = Answer(packet.body[1:] if packet.signal == Signal.PUB_ACK else packet.body)
        return [request]

    def connection_lost(self) -> list[Request]:
        """Fails what was sent, but for what may be repeated: that goes first on the next connection."""
        lost, self._in_flight = self._in_flight.values(), {}
        open_ones = [request for request in lost if not request.settled]
        self._waiting.extendleft(request for request in reversed(open_ones) if request.repeat)
        failed = [request for request in open_ones if not request.repeat]
        for request in failed:
            request.error = ConnectionLostError()
        return failed

    def expire(self, now: float) -> list[Request]:
        """Fails what is over its time. The number of one that was sent stays taken until its answer comes."""
        late = [
            request
            for request in (*self._waiting, *self._in_flight.values())
            if not request.settled and request.deadline <= now
        ]
        for request in late:
            self.expired += 1
            request.error = RequestTimeoutError(request.timeout_s, request.sent)
        if late:
            self._waiting = deque(request for request in self._waiting if not request.settled)
        return late

    def next_deadline(self) -> float:
        requests = (*self._waiting, *self._in_flight.values())
        return min((request.deadline for request in requests if not request.settled), default=float("inf"))

    def fail_all(self, error: PushClientError) -> list[Request]:
        """Nothing is sent any more."""
        failed = [request for request in (*self._in_flight.values(), *self._waiting) if not request.settled]
        for request in failed:
            request.error = error
        self._in_flight, self._waiting = {}, deque()
        return failed
