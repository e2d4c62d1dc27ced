"""Pushes on their way to the application, one at a time, and what is acknowledged when. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from push_gateway_client.pushes import Push
from push_gateway_client.recent_ids import RecentIds


class Receipt(NamedTuple):
    """Where a push is to be acknowledged: on which connection, with which message_id (0: not at all)."""

    connection: int
    message_id: int


class Delivery:
    """A push that waits or is being handled; a copy that comes meanwhile moves its receipt."""

    __slots__ = ("push", "receipt")

    def __init__(self, push: Push, receipt: Receipt) -> None:
        self.push, self.receipt = push, receipt


class Deliveries:
    """Bounded by whoever feeds it: `full` says when to stop."""

    def __init__(self, limit: int, recent: RecentIds) -> None:
        self._limit, self.recent = limit, recent
        self._waiting: deque[Delivery] = deque()
        self._by_id: dict[str, Delivery] = {}
        self._running: Delivery | None = None
        self._stopped = False
        self.received = self.duplicates = self.failed = 0

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._limit

    def receive(self, push: Push, receipt: Receipt) -> Receipt | None:
        """Takes a push; a receipt: it was handled long ago, acknowledge it."""
        self.received += 1
        if push.id and push.id in self.recent:
            self.duplicates += 1
            self.recent.add(push.id)
            return receipt
        if push.id and push.id in self._by_id:
            self.duplicates += 1
            self._by_id[push.id].receipt = receipt
            return None
        delivery = Delivery(push, receipt)
        self._waiting.append(delivery)
        if push.id:
            self._by_id[push.id] = delivery
        return None

    def take(self) -> Push | None:
        """The next push to be handled; None: there is none, or one is being handled."""
        if self._running or self._stopped or not self._waiting:
            return None
        self._running = self._waiting.popleft()
        return self._running.push

    def handled(self, succeeded: bool) -> Receipt | None:
        """The one being handled is done: where to acknowledge it. A failed one is forgotten: its next copy counts."""
        delivery, self._running = self._running, None
        if delivery is None:
            return None
        self._by_id.pop(delivery.push.id, None)
        if not succeeded:
            self.failed += 1
            return None
        if delivery.push.id:
            self.recent.add(delivery.push.id)
        return delivery.receipt

    def stop(self) -> None:
        """The client closes: what waits is not handled, and not acknowledged."""
        self._stopped = True
        self._waiting.clear()
