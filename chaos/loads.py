"""Pushes at a steady rate through the sender library, each one's time and outcome kept."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from chaos.ledgers import DELIVERED, Pushed
from chaos.roles import Role, role_of, token_of
from services.sender import CurveKeys, Push, Sender, Statistics
from shared.outcomes import Outcome

_SENDERS = 2
_TURN_S = 0.01
#: Most pushes to one client in a row, so that some of them are under way together.
_ROW = 4
_PAYLOAD_BYTES = 128
#: To a slow client whose worker keeps output for it, and to one that has caught up.
_SLOW_BYTES, _FILLING_BYTES = 1024, 32 << 10
#: More of these under way at once would be a benchmark of queues.
_FILLING_AT_ONCE = 200
#: Rounds of one push to each slow client that must find output waiting.
_FULL_ROUNDS = 2


class Load:
    """`rate` pushes a second from several senders to clients drawn by `seed`. Ends with its `with` block.

    Each sender lists the routers beginning with another. Without `as_shipped` the library repeats nothing and does not
    wait for a client's push before the next one to it: then outcomes and order are the fleet's alone. `is_offline` is
    called with a slow client that was told to be OFFLINE, from another thread.
    """

    def __init__(
        self,
        endpoints: list[str],
        clients: Sequence[int],
        rate: int,
        seed: int,
        *,
        is_offline: Callable[[int], None],
        as_shipped: bool = False,
        timeout_ms: int = 5000,
        curve: CurveKeys | None = None,
    ) -> None:
        self.pushes: list[Pushed] = []
        self.started_ns = 0
        self.late = 0  # turns that began late by more than a second: the machine did not keep up
        self._clients, self._rate = clients, rate
        self._random = random.Random(seed)
        self._behind: dict[int, bool] = {client: False for client in clients if role_of(client) is Role.SLOW}
        self._settings: dict[str, Any] = {"queue_pushes": 200_000, "queue_bytes": 1 << 30}
        if not as_shipped:
            self._settings |= {"ordered": False, "retries": 0}
        self._curve, self._is_offline, self._timeout_ms = curve, is_offline, timeout_ms
        self._endpoints = endpoints
        self._senders: list[Sender] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for first in range(_SENDERS):
            first %= len(self._endpoints)
            endpoints = self._endpoints[first:] + self._endpoints[:first]
            sender = Sender(endpoints, curve=self._curve, **self._settings)
            self._stack.callback(sender.close, 0)
            self._senders.append(sender)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(30)
        self._stack.close()

    def fill(self, seconds: float = 60) -> float:
        """Pushes to the slow clients until the worker keeps output for nearly all; for which part it does."""
        deadline = time.monotonic() + seconds
        clients, rounds = list(self._behind), 0
        # More than one round: the kernel takes more the longer a connection has lasted.
        while rounds < _FULL_ROUNDS and time.monotonic() < deadline:
            for start in range(0, len(clients), _FILLING_AT_ONCE):
                under_way = [self._push(0, client) for client in clients[start : start + _FILLING_AT_ONCE]]
                for push in under_way:
                    push.result(30)
            rounds = rounds + 1 if self.kept_output() >= 0.95 else 0
        return self.kept_output()

    def kept_output(self) -> float:
        """The part of the slow clients that had output waiting at their last push."""
        return sum(self._behind.values()) / len(self._behind) if self._behind else 1.0

    def start(self) -> None:
        """From now on, at the rate."""
        self.started_ns = time.monotonic_ns()
        self._thread.start()

    def stop(self, seconds: float = 75) -> None:
        """No more pushes; returns when each one has its outcome, or none comes."""
        self._stopping.set()
        self._thread.join(30)
        for sender in self._senders:
            sender.flush(seconds)

    def delivered(self) -> int:
        """Pushes that were SENT, BUFFERED or ACKED so far."""
        return sum(push.outcome in DELIVERED for push in self.pushes)

    @property
    def statistics(self) -> list[Statistics]:
        """What each sender says of itself."""
        return [sender.statistics for sender in self._senders]

    def _run(self) -> None:
        started, done = time.monotonic(), 0
        while not self._stopping.is_set():
            now = time.monotonic()
            due = int((now - started) * self._rate)
            if due - done > self._rate:
                self.late += 1
                done = due - self._rate  # no burst to make up for what was missed
            while done < due:
                done += self._row(min(due - done, self._random.randint(1, _ROW)))
            self._stopping.wait(max(0.0, _TURN_S - (time.monotonic() - now)))

    def _row(self, count: int) -> int:
        client = self._random.choice(self._clients)
        sender = self._random.randrange(_SENDERS)
        # One that is behind shall stay so, not more; one that has caught up gets more than its kernel can take.
        for _ in range(1 if self._behind.get(client) else count if client not in self._behind else _ROW):
            self._push(sender, client)
        return count

    def _push(self, sender: int, client: int) -> Push:
        number = len(self.pushes)
        size = _PAYLOAD_BYTES
        if client in self._behind:
            size = _SLOW_BYTES if self._behind[client] else _FILLING_BYTES
        record = Pushed(sender, client, time.monotonic_ns())
        self.pushes.append(record)
        payload = (b"%08x." % number).ljust(size, b"x")
        push = self._senders[sender].push_nowait(token_of(client), payload, timeout_ms=self._timeout_ms)
        push.add_done_callback(lambda push: self._answered(record, push))
        return push

    def _answered(self, record: Pushed, push: Push) -> None:
        record.answered_ns = time.monotonic_ns()
        if push.error is not None or push.value is None:
            return  # a request that fails as a whole leaves its pushes without outcome
        record.outcome = int(push.value)
        if record.client in self._behind and record.outcome in DELIVERED:
            self._behind[record.client] = push.value is Outcome.BUFFERED
        elif record.client in self._behind:
            self._behind[record.client] = False
            if push.value is Outcome.OFFLINE:
                self._is_offline(record.client)
