"""A service as its author sees it: functions that answer topics, and what they may ask of the gateway."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any, TypeVar

import ujson

from services.library.asks import Ask
from services.library.calls import Returned
from services.library.loops import Loop
from services.library.policies import Policy
from services.library.protocol import Protocol, ask_head
from services.library.routers import Where, routers
from services.library.statistics import Statistics
from services.library.threads import start_threads
from services.library.topics import BatchHandler, Entry, Handler, Topics
from services.sender import Outcome, Push, Sender
from shared.calls import REGROUP1, Topic
from shared.errors import SenderError

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Handler)
B = TypeVar("B", bound=BatchHandler)

#: Seconds that calls which are there may take when the service is told to end; supervisord would kill it after 10.
LEAVE_S = 8.0
#: Tokens, and as many uids, in one REGROUP1.
_REGROUPED_MAX = 1000
#: Routers are given so long to read who has joined or left, in seconds.
_REGROUP_WAIT_S = 1.0


class Service:
    """Answers topics at each router, and may ask, push and look up. Every method may be called from any thread.

    `name`: 1 to 64 bytes, the same for all instances. `where`: the settings of a fleet on this host, or service
    endpoints of all routers. `threads`: that run handlers; calls of one topic and key come one after the other, others
    side by side if there is more than one thread. `policy`: fields of Policy. Raises SettingsError, ValueError.
    """

    def __init__(self, name: str, where: Where, *, threads: int = 1, **policy: Any) -> None:
        if not 1 <= len(name.encode()) <= 64:
            raise ValueError(f"name of {len(name.encode())} bytes: it must have 1 to 64")
        self.name, self.instance = name, os.urandom(8).hex()
        self._routers, self._threads, self._policy = routers(where), threads, Policy(**policy)
        self._topics = Topics()
        self._sender: Sender | None = None
        self._making_sender = threading.Lock()
        self._thread: threading.Thread | None = None
        endpoints = [router.endpoint for router in self._routers]
        protocol = Protocol(name, self.instance, self._topics, endpoints, self._policy)
        self._loop = Loop(protocol, [router.keys for router in self._routers])

    # --- topics

    def answers(self, signal: int, sub_signal: int, *, idempotent: bool = False) -> Callable[[H], H]:
        """Has a function answer a topic: a ClientCall in, bytes or Returned out; it may raise Refusal.

        `idempotent`: may be done twice, so that it is repeated when an instance dies; otherwise its client gets F3.
        """

        def register(handler: H) -> H:
            self._topics.add(Entry(Topic(signal, sub_signal), idempotent, handler))
            return handler

        return register

    def answers_batch(self, topic: Sequence[int], *, idempotent: bool = False, most: int = 256) -> Callable[[B], B]:
        """Has a function answer all calls of a topic that wait, up to `most`: a list in, as many answers out."""

        def register(handler: B) -> B:
            self._topics.add(Entry(Topic(*topic), idempotent, None, handler, most))
            return handler

        return register

    def tells(self, figures: Callable[[], Mapping[str, int]]) -> None:
        """Has routers show its figures in STAT1: whole numbers by name, up to 64. It is asked in the loop's thread,
        once in a heartbeat for each router, and must not block."""
        self._loop.protocol.figures = figures

    # --- life

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; the exit status. In the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._loop.leave(LEAVE_S))
        start_threads(self._loop, self._threads)
        return 0 if self._run_loop() else 1

    def start(self) -> None:
        """Serves in a thread of its own, until `stop`."""
        start_threads(self._loop, self._threads)
        self._thread = threading.Thread(target=self._run_loop, name=f"push-service-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = LEAVE_S) -> None:
        """Answers what it has, for so long at most, and ends."""
        self._loop.leave(seconds)
        if self._thread:
            self._thread.join()

    def _run_loop(self) -> bool:
        try:
            return self._loop.run()
        finally:
            if self._sender:
                self._sender.close(0)
            logger.info("service %s has left: %s", self.name, self.statistics)

    def wait_ready(self, seconds: float) -> bool:
        """Waits until every router has taken it up. False: not within so many seconds."""
        with self._loop.lock:
            return self._loop.changed.wait_for(lambda: self._loop.protocol.is_serving, seconds)

    @property
    def statistics(self) -> Statistics:
        """The counters, as they are just now."""
        return self._loop.protocol.statistics

    # --- what it may ask

    def ask(
        self,
        topic: Sequence[int],
        body: bytes,
        *,
        key: str | None = None,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        **head: Any,
    ) -> Returned:
        """Calls another service and waits: (code, body). Codes on the way are those of PublishError.

        Calls of one topic and key are answered in order. `idempotent`: it may be done twice, so that it goes by
        another router when one is lost; else that is F3. `head`: more to tell the other one.
        """
        return self.ask_nowait(topic, body, key=key, timeout_s=timeout_s, idempotent=idempotent, **head).result()

    def ask_nowait(
        self,
        topic: Sequence[int],
        body: bytes,
        *,
        key: str | None = None,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        **head: Any,
    ) -> "Future[Returned]":
        """The same, without waiting. A callback of the Future runs in the loop's thread and must not block."""
        future: Future[Returned] = Future()
        until = monotonic() + timeout_s + self._policy.ask_grace_s
        ask = Ask(ask_head(topic, key, int(timeout_s * 1000), head), body, until, future.set_result, idempotent)
        with self._loop.lock:
            if self._loop.ended:
                raise SenderError("closed", "this service has ended")
            self._loop.protocol.ask(ask)
        self._loop.wake()
        return future

    @property
    def sender(self) -> Sender:
        """A sender (docs/sender-protocol.md) at the same routers, made when it is first wanted."""
        with self._making_sender:
            if self._sender is None:
                endpoints = [router.endpoint for router in self._routers]
                name = f"{self.name[:32]}-{self.instance}"
                self._sender = Sender(endpoints, name=name, curve=self._routers[0].keys)
            return self._sender

    def push(self, token: str | bytes, payload: str | bytes, **options: Any) -> Outcome:
        """Pushes and waits for the outcome. Options as in PUSH1."""
        return self.sender.push(token, payload, **options)

    def push_nowait(self, token: str | bytes, payload: str | bytes, **options: Any) -> Push:
        """Pushes; the ticket's `result()` is the Outcome."""
        return self.sender.push_nowait(token, payload, **options)

    def find(self, tokens: Iterable[str | bytes]) -> list[dict[str, Any] | None]:
        """Where each token's client is; None: its worker did not answer."""
        return self.sender.find(tokens)

    def regroup(self, group: str, tokens: Sequence[str], uids: Sequence[str], joined: bool) -> int:
        """Tells all workers of members that have joined a group, or left it; how many routers were told.

        Many are told in pieces. Returns when the routers have read it, or after a second: what is pushed to the group
        from then on goes by it. Not from a callback of a Future.
        """
        told, most = len(self._routers), _REGROUPED_MAX
        with self._loop.lock:
            for first in range(0, max(len(tokens), len(uids)), most):
                some = {"tokens": list(tokens[first : first + most]), "uids": list(uids[first : first + most])}
                said = {"group": group, **some, "joined": joined}
                body = ujson.dumps(said, escape_forward_slashes=False).encode()
                told = min(told, self._loop.protocol.say([REGROUP1, body]))
            mark = self._loop.protocol.mark()
        self._loop.wake()
        with self._loop.changed:
            if not self._loop.changed.wait_for(lambda: self._loop.protocol.is_heard(mark), _REGROUP_WAIT_S):
                self.statistics.regroups_unheard += 1
        return told
