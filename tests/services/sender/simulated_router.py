"""Routers and a fleet as values: frames in, frames out, nothing but the sender protocol and a fake clock.

What goes wrong comes from `draw`, so Hypothesis decides it and shrinks it.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, NamedTuple

import ujson

from services.sender.protocol import Protocol
from shared.errors import RequestError
from shared.outcomes import RETRYABLE, Outcome
from shared.requests import (
    DONE1,
    HELLO1,
    INFO1,
    PUSH2,
    decode_push,
    encode_done,
    encode_fail,
    encode_hello_answer,
    unpack_targets,
)

Frames = list[bytes]
Draw = Callable[[str, list[Any]], Any]


class PushKey(NamedTuple):
    """What a push id is made of."""

    name: bytes
    key: str
    position: int


class World:
    """What clients got: the holders' memory, which outlives every router."""

    def __init__(self) -> None:
        self.arrived: dict[bytes, list[bytes]] = {}
        self.seen: dict[PushKey, Outcome] = {}

    def deliver(self, push: PushKey, token: bytes, payload: bytes, outcome: Outcome) -> Outcome:
        """A copy is answered with the first outcome."""
        if push not in self.seen:
            self.seen[push] = outcome
            self.arrived.setdefault(token, []).append(payload)
        return self.seen[push]


class Router:
    """One router process and its one connection. Forgets everything with the process."""

    def __init__(self, world: World, draw: Draw) -> None:
        self.world, self.draw = world, draw
        self.finished: dict[str, bytes] = {}
        self.name = b""
        self.refused: bytes | None = None
        self.unanswered = 0
        self.most_unanswered = 0

    def connect(self) -> None:
        self.name, self.refused, self.unanswered = b"", None, 0

    def receive(self, frames: Frames) -> tuple[str, list[Frames]]:
        """(what happens to the connection: keep, end or silence; the answers)."""
        if frames[0] == HELLO1:
            if self.draw("hello", ["answer"] * 7 + ["silence"]) == "silence":
                return "keep", []
            self.name, self.refused = frames[1], None
            return "keep", [encode_hello_answer({"max_frame_bytes": 1 << 20, "max_targets": 7})]
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        if not self.name:
            return "keep", [encode_fail(frames[1], RequestError("hello_needed", ""))]
        if self.refused not in (None, frames[1]):
            return "keep", [self._overloaded(frames[1])]
        self.refused = None
        return self._serve(frames)

    def _overloaded(self, request_id: bytes) -> Frames:
        pause = self.draw("retry_after_ms", [0, 5, 200])
        return encode_fail(request_id, RequestError("overloaded", ""), retry_after_ms=pause)

    def _serve(self, frames: Frames) -> tuple[str, list[Frames]]:
        fate = self.draw("fate", ["done"] * 8 + ["overloaded", "forget_name", "end", "end_unserved", "silence", "fail"])
        if fate == "overloaded":
            self.refused = frames[1]
            return "keep", [self._overloaded(frames[1])]
        if fate == "forget_name":
            self.name = b""
            return "keep", [encode_fail(frames[1], RequestError("hello_needed", ""))]
        if fate == "fail":
            return "keep", [encode_fail(frames[1], RequestError("not_allowed", "no"))]
        if fate == "end_unserved":
            return "end", []
        answer = self._answer(frames)
        if fate == "end":
            return "end", []
        return "keep", [] if fate == "silence" else [answer]

    def _answer(self, frames: Frames) -> Frames:
        if frames[0] != PUSH2:
            return [INFO1, frames[1], ujson.dumps([True] * (len(frames) - 2)).encode()]
        request = decode_push(frames)
        key = request.options.id
        assert key is not None
        before = self.finished.get(key, bytes([Outcome.UNAVAILABLE]) * request.count)
        outcomes = [
            self._push(PushKey(self.name, key, position), token, payload, Outcome(before[position]))
            for position, (token, payload) in enumerate(unpack_targets(request.index, request.data))
        ]
        self.finished[key] = bytes(outcomes)
        return encode_done(frames[1], bytes(outcomes))

    def _push(self, push: PushKey, token: bytes, payload: bytes, before: Outcome) -> Outcome:
        if before not in RETRYABLE:
            return before
        drawn = self.draw(
            "outcome", ["SENT"] * 6 + ["BUFFERED", "OFFLINE", "OVERLOADED", "UNAVAILABLE", "UNKNOWN", "LOST"]
        )
        if drawn == "LOST":  # delivered, and the worker died before it could say so
            self.world.deliver(push, token, payload, Outcome.SENT)
            return Outcome.UNKNOWN
        outcome = Outcome[drawn]
        if outcome in (Outcome.SENT, Outcome.BUFFERED):
            return self.world.deliver(push, token, payload, outcome)
        return self.world.seen.get(push, outcome) if outcome is Outcome.OFFLINE else outcome


class Simulation:
    """A Protocol against routers, with a clock that jumps from event to event."""

    def __init__(self, protocol: Protocol, draw: Draw) -> None:
        self.protocol, self.draw, self.world = protocol, draw, World()
        self.routers = {endpoint: Router(self.world, draw) for endpoint in protocol.link.endpoints}
        self.router: Router | None = None
        self.now = 100.0
        self._connection = 0
        self._number = 0
        self._arrivals: list[tuple[float, int, int, Frames | None]] = []  # time, number, connection, frames or end
        self._last_arrival = 0.0

    def run_until_idle(self, steps: int = 5000) -> None:
        """Lets everything be answered. A sender that never finishes fails."""
        for _ in range(steps):
            self._turn()
            if self.protocol.is_idle():
                return
            arrival = self._arrivals[0][0] if self._arrivals else float("inf")
            self.now = max(self.now + 1e-6, min(arrival, self.protocol.next_deadline(self.now)))
            assert self.now < float("inf"), "pushes are open and nothing will ever happen"
        raise AssertionError(f"not idle after {steps} steps")

    def _turn(self) -> None:
        protocol = self.protocol
        if (endpoint := protocol.endpoint_to_open(self.now)) is not None:
            self._open(endpoint)
        while self._arrivals and self._arrivals[0][0] <= self.now:
            self._arrive(heappop(self._arrivals))
        for frames in protocol.messages_to_send(self.now):
            self._send(frames)

    def _open(self, endpoint: str) -> None:
        self._connection += 1
        self.router = self.routers[endpoint]
        if self.draw("process", ["same", "same", "restarted"]) == "restarted":
            self.router = self.routers[endpoint] = Router(self.world, self.draw)
        self.router.connect()
        self.protocol.connection_opened(self.now)
        if self.draw("connect", ["yes"] * 6 + ["refused"]) == "refused":
            self._post(None)

    def _arrive(self, arrival: tuple[float, int, int, Frames | None]) -> None:
        _, _, connection, frames = arrival
        if connection != self._connection:
            return
        if frames is None:
            self.protocol.connection_lost(self.now, "ended")
            self._connection += 1
            self.router = None
            return
        if self.router is not None:
            self.router.unanswered -= frames[0] != HELLO1
        self.protocol.receive_message(frames, self.now)

    def _send(self, frames: Frames) -> None:
        if self.router is None:
            return
        what, answers = self.router.receive(frames)
        for answer in answers:
            # DONE1 comes when it is ready; everything else is answered in order.
            self._post(answer, self.draw("delay", [0.0, 0.001, 0.3]) if answer[0] == DONE1 else 0.0)
        if what == "end":
            self._post(None)
            self.router = None

    def _post(self, frames: Frames | None, delay: float = 0.0) -> None:
        self._number += 1
        at = self.now + 0.0005 + delay
        if delay == 0.0:
            at = self._last_arrival = max(at, self._last_arrival)
        heappush(self._arrivals, (at, self._number, self._connection, frames))
