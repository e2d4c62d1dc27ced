"""The window: which requests are in flight, and which go next (docs/sender-protocol.md, section Going back)."""

from bisect import insort
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TypeVar

from services.sender.in_flight import Request

R = TypeVar("R", bound=Request)


class Window:
    """Requests without a final answer, in three places.

    `flying`: sent, unanswered, oldest first. `again`: to be sent again in their old order before anything new,
    because a router was lost or turned them away. `resting`: answered, to be repeated at their `due` time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.flying: dict[bytes, Request] = {}
        self._again: list[Request] = []
        self._resting: list[tuple[float, int, Request]] = []
        self._serial = 0
        # Going back after `overloaded`: from which request on, and not before when.
        self._refused: Request | None = None
        self._held_until = 0.0

    def __len__(self) -> int:
        return len(self.flying) + len(self._again) + len(self._resting)

    def __iter__(self) -> Iterator[Request]:
        yield from self.flying.values()
        yield from self._again
        for _, _, request in self._resting:
            yield request

    def has_room(self) -> bool:
        return len(self.flying) < self.limit

    def may_send(self, now: float) -> bool:
        """False while a router that turned a request away has not yet turned away all that was sent behind it."""
        if self._refused is None:
            return True
        serial = self._refused.serial
        if now < self._held_until or any(request.serial > serial for request in self.flying.values()):
            return False
        self._refused = None
        return True

    def next_again(self, now: float) -> Request | None:
        """The next request to be repeated, if one is."""
        if self._again:
            return self._again.pop(0)
        if self._resting and self._resting[0][0] <= now:
            return heappop(self._resting)[2]
        return None

    def send(self, request: Request, now: float) -> None:
        """The request goes out now."""
        self._serial += 1
        request.serial, request.sent_at = self._serial, now
        self.flying[request.request_id] = request

    def take_answered(self, request_id: bytes, kind: type[R]) -> R:
        """The request that an answer names, taken out. Raises KeyError if none of that kind is in flight so named."""
        request = self.flying[request_id]
        if not isinstance(request, kind):
            raise KeyError(request_id)
        del self.flying[request_id]
        return request

    def rest(self, request: Request, due: float) -> None:
        """An answered request is to be repeated at `due`."""
        heappush(self._resting, (due, request.number, request))

    def put_back(self, request: Request) -> None:
        """The request was not taken: it is sent again in its old place."""
        insort(self._again, request, key=lambda waiting: waiting.serial)

    def hold(self, request: Request, until: float) -> None:
        """The router turned a request away, and will turn away what came behind it: back to it, not before `until`."""
        self.put_back(request)
        if self._refused is None or request.serial <= self._refused.serial:
            self._refused, self._held_until = request, until

    def lose(self) -> None:
        """The connection is gone: everything unanswered goes again, in order."""
        for request in self.flying.values():
            request.mark_lost()
            self.put_back(request)
        self.flying.clear()
        self._refused = None

    def drop(self, request: Request) -> bool:
        """Forgets a request. True if the router still waits for it after `overloaded`: only a new HELLO1 ends that."""
        if self.flying.pop(request.request_id, None):
            request.mark_lost()
        self._again = [other for other in self._again if other is not request]
        self._resting = [entry for entry in self._resting if entry[2] is not request]
        if self._refused is not request:
            return False
        self._refused = None
        return True

    def longest_silence(self, now: float, grace: float) -> float | None:
        """How many seconds a request was allowed to stay unanswered, if one has."""
        for request in self.flying.values():
            if now >= request.sent_at + request.timeout_s + grace:
                return request.timeout_s + grace
        return None

    def next_deadline(self, now: float) -> float:
        """The next time after `now` that something becomes due."""
        resting = self._resting[0][0] if self._resting else float("inf")
        times = (resting, self._held_until if self._refused is not None else resting)
        return min([time for time in times if time > now], default=float("inf"))
