"""Operations for the message caches: what comes up in one turn goes to a cache in one call, answered in order.

A token's cache has the number `slot_of(token) % caches`. Nothing here waits: who asks is told by a callback, behind the
turn. An acknowledged push that could not be taken out is taken out later, and passed over by readers until then.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from gateway.client_loop import ClientLoop
from shared import cached_messages as cached
from shared.calls import Internal, Topic, internal
from shared.errors import BusError
from shared.signals import PublishError
from shared.tokens import slot_of

logger = logging.getLogger(__name__)

#: Calls to one cache that await their answers; the rest waits here and goes together.
_WINDOW = 4
#: One call has so many operations, and bytes, at most. What it reads must fit an answer.
_OPERATIONS_MAX, _BYTES_MAX, _READS_MAX = 512, 256 << 10, 16
#: What a store has beside its payload, what a number takes, about.
_STORE_BYTES, _SEQ_BYTES = 256, 9
#: A read brings so many messages and bytes, or one message.
READ_MESSAGES, READ_BYTES = 64, 16 << 10
#: Acknowledged pushes that are yet to be taken out, for all tokens.
_UNDROPPED_MAX = 100_000
#: A cache that has gone is expected back for so long (ticks): it or a router is restarted.
_EXPECTED_TICKS = 5

#: (result, 0), or (None, a PublishError).
Done = Callable[[cached.Result | None, int], None]


class Asking(Protocol):
    """`gateway.calls.Calls`, as far as it is needed here."""

    def serves(self, topic: Topic) -> bool: ...

    def ask(
        self, topic: Topic, key: str, fields: dict[str, Any], body: bytes, done: Callable[[int, bytes], None]
    ) -> None: ...


class NoCalls:
    """Of a worker without services."""

    def serves(self, topic: Topic) -> bool:
        return False

    def ask(
        self, topic: Topic, key: str, fields: dict[str, Any], body: bytes, done: Callable[[int, bytes], None]
    ) -> None:
        raise AssertionError("nothing is served")


class _Operation(NamedTuple):
    body: cached.Operation
    size: int  # of what it sends, or brings
    done: Done


class _Cache:
    """One message cache: what waits for it, and whether it is there."""

    def __init__(self, number: int) -> None:
        self.topic = internal(Internal.MESSAGES + number)
        self.served = False
        self.belongs = False  # it is one of this fleet's, there or not
        self.expected_until = 0  # tick
        self.under_way = 0  # calls
        self.waiting: deque[_Operation] = deque()
        self.scheduled = False
        self.reads_max = _READS_MAX


class Storing:
    """All message caches, as this worker sees them."""

    def __init__(self, clients: ClientLoop, *, caches: int, has_caches: bool, most: int, most_bytes: int) -> None:
        """`has_caches`: the fleet is to have some. `most`, `most_bytes`: what may wait and be under way in all."""
        self._clients = clients
        self._counters = clients.counters
        self.calls: Asking = NoCalls()
        self._caches = [_Cache(number) for number in range(caches)]
        self._most, self._most_bytes = most, most_bytes
        self._count = self._bytes = 0
        self.outstanding: dict[bytes, int] = {}  # by token, pushes that are being stored
        self._undropped: dict[bytes, set[int]] = {}
        self._undropped_count = 0
        self._to_drop: list[tuple[bytes, list[int], bool]] = []  # of these, those to be asked for again
        #: (token, key) of pushes that were acknowledged though the cache had not said that it has them. It may.
        self._acknowledged: dict[tuple[bytes, bytes], None] = {}
        #: The pushes to a token that are being stored have become so many.
        self.changed: Callable[[bytes, int], None] = lambda token, count: None
        #: A cache has come: there may be pushes that nobody has read. Told its number.
        self.arrived: Callable[[int], None] = lambda number: None
        known = clients.ledger.own.get("caches", ())  # to a predecessor
        for number, cache in enumerate(self._caches):
            if has_caches or number in known:
                cache.belongs, cache.expected_until = True, clients.wheel.tick + _EXPECTED_TICKS
        clients.each_tick(self._tick)

    def number_of(self, token: bytes) -> int:
        """Of the cache of a token."""
        return slot_of(token) % len(self._caches)

    def serves(self, token: bytes) -> bool:
        """Whether there is a cache for a token."""
        return self._caches[self.number_of(token)].served

    def expects(self, token: bytes) -> bool:
        """Whether there is a cache for a token, or there was just now."""
        cache = self._caches[self.number_of(token)]
        return cache.served or self._clients.wheel.tick < cache.expected_until

    def keeps(self, token: bytes) -> bool:
        """Whether what is to be kept for a token is kept, now or when its cache is back."""
        return self._caches[self.number_of(token)].belongs

    def look(self) -> None:
        """Which caches there are may have changed."""
        for number, cache in enumerate(self._caches):
            served = self.calls.serves(cache.topic)
            if served and not cache.served:
                cache.served = True
                if not cache.belongs:
                    cache.belongs = True
                    self._note()
                self.arrived(number)
            elif cache.served and not served:
                self._gone(cache)

    def _gone(self, cache: _Cache) -> None:
        cache.served = False
        cache.expected_until = self._clients.wheel.tick + _EXPECTED_TICKS

    def _note(self) -> None:
        """For a successor: it waits for these before it takes any client for live."""
        self._clients.ledger.note_own(caches=[number for number, cache in enumerate(self._caches) if cache.belongs])

    def _tick(self, tick: int) -> None:
        self.look()
        again, self._to_drop = self._to_drop, []
        for token, seqs, refused in again:
            if self.serves(token):
                self._drop(token, seqs, refused)
            else:
                self._to_drop.append((token, seqs, refused))

    # --- operations

    @property
    def waiting(self) -> int:
        """Operations that no cache has answered."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether another push can be stored."""
        return self._count < self._most and self._bytes < self._most_bytes

    def store(self, operation: cached.Store, done: Done) -> None:
        """Store a push. Who asks has looked whether there is room."""
        token = operation.token
        count = self.outstanding[token] = self.outstanding.get(token, 0) + 1
        self.changed(token, count)

        def stored(result: cached.Result | None, code: int) -> None:
            self._counters["stored"] += isinstance(result, cached.Stored)
            left = self.outstanding[token] - 1
            if left:
                self.outstanding[token] = left
            else:
                del self.outstanding[token]
            try:
                done(result, code)
            finally:
                self.changed(token, left)

        self._add(_Operation(operation, len(operation.payload) + _STORE_BYTES, stored))

    def read(self, token: bytes, after: int, most: int, done: Done) -> None:
        """Read what is stored behind `after`. Not bounded here: a connection has one read under way."""
        self._add(_Operation(cached.Read(token, after, min(most, READ_MESSAGES), READ_BYTES), READ_BYTES, done))

    def drop(self, token: bytes, seqs: list[int], *, refused: bool = False) -> None:
        """Take acknowledged pushes out, or `refused` ones; until that is done readers pass over them."""
        kept = self._undropped.setdefault(token, set())
        before = len(kept)
        kept.update(seqs)
        self._undropped_count += len(kept) - before
        self._drop(token, seqs, refused)

    def _drop(self, token: bytes, seqs: list[int], refused: bool) -> None:
        def dropped(result: cached.Result | None, code: int) -> None:
            if not isinstance(result, cached.Dropped) and self._undropped_count <= _UNDROPPED_MAX:
                self._to_drop.append((token, seqs, refused))
                return
            self._counters["drops_lost"] += 0 if isinstance(result, cached.Dropped) else len(seqs)
            self._forget_dropped(token, seqs)

        self._add(_Operation(cached.Drop(token, seqs, refused), _SEQ_BYTES * len(seqs), dropped))

    def _forget_dropped(self, token: bytes, seqs: list[int]) -> None:
        kept = self._undropped.get(token)
        if kept is not None:
            before = len(kept)
            kept.difference_update(seqs)
            self._undropped_count -= before - len(kept)
            if not kept:
                del self._undropped[token]

    def is_acknowledged(self, token: bytes, message: cached.Message) -> bool:
        """Whether a push that the cache still has is not to be delivered any more."""
        if self._acknowledged and (token, message.key) in self._acknowledged:
            del self._acknowledged[token, message.key]
            self.drop(token, [message.seq])
            return True
        return bool(self._undropped) and message.seq in self._undropped.get(token, ())

    def acknowledged(self, token: bytes, key: bytes) -> None:
        """A push was acknowledged of which nobody knows whether it is stored."""
        self._acknowledged[token, key] = None
        if len(self._acknowledged) > _UNDROPPED_MAX:
            del self._acknowledged[next(iter(self._acknowledged))]

    def is_known(self, token: bytes, key: bytes) -> None:
        """The number of such a push is known now."""
        self._acknowledged.pop((token, key), None)

    # --- calls

    def _add(self, operation: _Operation) -> None:
        cache = self._caches[self.number_of(operation.body.token)]
        cache.waiting.append(operation)
        self._count += 1
        self._bytes += operation.size
        if not cache.scheduled:
            cache.scheduled = True
            self._clients.soon(self._flush, cache)

    def _flush(self, cache: _Cache) -> None:
        cache.scheduled = False
        while cache.waiting and cache.under_way < _WINDOW:
            operations = _take(cache.waiting, cache.reads_max)
            cache.under_way += 1
            body = cached.encode_operations([operation.body for operation in operations])

            def done(code: int, answer: bytes, operations: list[_Operation] = operations) -> None:
                self._answered(cache, operations, code, answer)

            self.calls.ask(cache.topic, cached.call_key(cache.topic), {}, body, done)

    def _answered(self, cache: _Cache, operations: list[_Operation], code: int, answer: bytes) -> None:
        cache.under_way -= 1
        self._count -= len(operations)
        self._bytes -= sum([operation.size for operation in operations])
        results = self._results(answer, len(operations)) if code == 0 else None
        if results is None:
            self._counters["cache_failures"] += 1
            if cache.served and code == PublishError.NOT_IMPLEMENTED:
                self._gone(cache)
            code = code or PublishError.NOBODY_KNOWS
        reads = sum([isinstance(operation.body, cached.Read) for operation in operations])
        if reads:  # what they bring together may be too much for one answer, what one brings never is
            cache.reads_max = min(2 * cache.reads_max, _READS_MAX) if results else 1
        for index, operation in enumerate(operations):
            self._clients.guarded(operation.done, results[index] if results else None, code)
        self._flush(cache)

    def _results(self, answer: bytes, count: int) -> list[cached.Result] | None:
        """The results of an answer; None if it is not what was asked for."""
        try:
            results = cached.decode_results(answer)
        except BusError as error:
            logger.warning("message cache: %s", error)
            return None
        return results if len(results) == count else None


def _take(waiting: deque[_Operation], reads_max: int) -> list[_Operation]:
    """The first operations that fit one call."""
    taken: list[_Operation] = []
    size = reads = 0
    while waiting and len(taken) < _OPERATIONS_MAX:
        operation = waiting[0]
        size += operation.size
        reads += isinstance(operation.body, cached.Read)
        if taken and (size > _BYTES_MAX or reads > reads_max):
            break
        taken.append(waiting.popleft())
    return taken
