"""Calls of this worker to services: by a router, answered once each, whatever becomes of router and service.

Whoever asks is told the answer by `done(code, body)`, never before `ask` has returned. Codes: those of the service, or
PublishError where the call went wrong on its way. Nothing here waits.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.client_loop import ClientLoop
from gateway.router_links import RouterLinks
from gateway.topics import Topics
from shared.bus import decode_control
from shared.calls import ASK1, Topic, decode_answer, encode_call
from shared.signals import PublishError

#: (code, body) of an answer.
Done = Callable[[int, bytes], None]

#: Time-outs are looked at so often (seconds). A router is given this much longer to tell its own.
_LOOK_S = 0.25


@dataclass(slots=True, eq=False)
class _Outstanding:
    topic: Topic
    head: dict[str, Any]
    body: bytes
    done: Done
    router: int
    repeated: bool = False


class Calls:
    """The outstanding calls of a worker, by number."""

    def __init__(
        self, clients: ClientLoop, routers: RouterLinks, *, worker: str, timeout_ms: int, most: int, first: int
    ) -> None:
        """`first`: number of the first call; no other run of this worker may have used those from there on."""
        self._clients = clients
        self._counters = clients.counters
        self._routers = routers
        self._worker = worker
        self._timeout_ms = timeout_ms
        self._most = most
        self._number = first
        self._topics = Topics()
        self._outstanding: dict[int, _Outstanding] = {}
        self._due: defaultdict[int, list[int]] = defaultdict(list)  # by the look at which they have timed out
        self._scheduled = False
        clients.each_tick(self._tick)

    @property
    def count(self) -> int:
        """Calls that await an answer."""
        return len(self._outstanding)

    def serves(self, topic: Topic) -> bool:
        """Whether any router that is heard has a service for a topic."""
        return self._topics.router_for(topic, self._routers.heard) is not None

    def ask(
        self, topic: Topic, key: str, fields: dict[str, Any], body: bytes, done: Done, timeout_ms: int | None = None
    ) -> None:
        """Ask the service of a topic; calls with one key stay in order. `fields` go into the head.

        No service: NOT_IMPLEMENTED. Too many calls outstanding, or no way to the router: QUEUE_FULL.
        """
        router = self._topics.router_for(topic, self._routers.heard)
        if router is None:
            self._clients.soon(done, int(PublishError.NOT_IMPLEMENTED), b"")
            return
        timeout_ms = timeout_ms or self._timeout_ms
        head = {**topic._asdict(), "key": key, "timeout_ms": timeout_ms, "worker": self._worker, **fields}
        call = _Outstanding(topic, head, body, done, router)
        self._number += 1
        if len(self._outstanding) >= self._most or not self._send(self._number, call):
            self._counters["calls_refused"] += 1
            self._clients.soon(done, int(PublishError.QUEUE_FULL), b"")
            return
        self._counters["calls_made"] += 1
        self._outstanding[self._number] = call
        self._due[_look_at(time.monotonic() + timeout_ms / 1000)].append(self._number)
        self._schedule()

    def _send(self, number: int, call: _Outstanding) -> bool:
        return self._routers.send(call.router, encode_call(ASK1, number, call.head, call.body))

    # --- what routers say

    def told_topics(self, router: int, frames: list[bytes]) -> None:
        """TOPICS1. Raises BusError."""
        self._topics.told(router, decode_control(frames).get("topics"))

    def told(self, router: int, frames: list[bytes]) -> None:
        """TOLD1. Raises BusError."""
        number, code, body = decode_answer(frames)
        call = self._outstanding.pop(number, None)
        if call is None:
            self._counters["calls_late"] += 1
        else:
            call.done(code, body)

    def lost(self, router: int) -> None:
        """A router is gone, and what it knew of this worker's calls."""
        self._topics.forget(router)
        self._give_up([number for number, call in self._outstanding.items() if call.router == router])

    # --- what does not come

    def _tick(self, tick: int) -> None:
        """Calls by routers that are not heard any more are lost."""
        if self._outstanding:
            heard = self._routers.heard
            self._give_up([number for number, call in self._outstanding.items() if call.router not in heard])

    def _give_up(self, numbers: list[int]) -> None:
        """Nobody knows what became of these: they are made again, once, where that may be."""
        for number in numbers:
            call = self._outstanding[number]
            other = self._topics.router_for(call.topic, [one for one in self._routers.heard if one != call.router])
            if other is not None and not call.repeated and self._topics.is_idempotent(call.topic):
                call.router, call.repeated = other, True
                self._counters["calls_repeated"] += 1
                if self._send(number, call):
                    continue
            self._counters["calls_lost"] += 1
            self._end(number, PublishError.NOBODY_KNOWS)

    def _end(self, number: int, code: PublishError) -> None:
        self._clients.guarded(self._outstanding.pop(number).done, int(code), b"")

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clients.later(_LOOK_S, self._look)

    def _look(self) -> None:
        """End those that have timed out."""
        self._scheduled = False
        last = _look_at(time.monotonic()) - 2
        for look in [look for look in self._due if look <= last]:
            for number in self._due.pop(look):
                if number in self._outstanding:
                    self._counters["calls_timed_out"] += 1
                    self._end(number, PublishError.TIMED_OUT)
        if self._due:
            self._schedule()


def _look_at(seconds: float) -> int:
    return int(seconds / _LOOK_S)
