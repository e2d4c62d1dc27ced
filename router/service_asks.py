"""ASK1 of workers and services: taken in, and answered by TOLD1 over the way that it came."""

from collections.abc import Callable, Sequence

import ujson

from router.counters import Counters
from router.membership import Membership
from router.outbox import Outbox
from router.service_calls import check_head
from router.services import Services
from shared.calls import TOLD1, decode_call, encode_answer
from shared.settings import Settings


class ServiceAsks:
    """Who asked, until the answer is there."""

    def __init__(
        self, settings: Settings, services: Services, membership: Membership, outbox: Outbox, counters: Counters
    ) -> None:
        self._longest_ms = settings.call_timeout_ms
        self._services, self._membership, self._outbox, self._counters = services, membership, outbox, counters

    def of_worker(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """ASK1 of a worker, also of one that is not known yet. Raises BusError.

        The answer to an incarnation that is gone is dropped.
        """
        asker = self._membership.workers.get(identity)
        incarnation = None if asker is None else asker.incarnation

        def tell(answer: list[bytes]) -> None:
            worker = self._membership.workers.get(identity)
            if worker is None or not worker.reached or incarnation not in (None, worker.incarnation):
                self._counters["service_answers_dropped"] += 1
            else:
                self._outbox.to_workers.append((identity, answer))

        self._take(frames, now, tell)

    def of_service(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """ASK1 of a service. Raises BusError."""

        def tell(answer: list[bytes]) -> None:
            self._outbox.to_services.append((identity, answer))

        self._take(frames, now, tell)

    def _take(self, frames: Sequence[bytes], now: float, tell: Callable[[list[bytes]], None]) -> None:
        call = decode_call(frames)
        key, asked_ms = check_head(call)
        timeout_ms = min(asked_ms or self._longest_ms, self._longest_ms)
        head = frames[2]
        if timeout_ms != asked_ms:
            head = ujson.dumps({**call.head, "timeout_ms": timeout_ms}, escape_forward_slashes=False).encode()

        def done(code: int, body: bytes, now: float) -> None:
            tell(encode_answer(TOLD1, call.number, code, body))

        self._services.put(call.topic, key, head, call.body, now + timeout_ms / 1000, now, done)
