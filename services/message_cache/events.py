"""Events of messages: those that were acknowledged, that have expired, that have reached nobody.

Each is in the outbox before whoever asked is answered, and before its message goes. So a cache that is killed leaves a
message of which it is told again, under the same id, and none of which nobody is told.
"""

from collections.abc import Sequence

from services.storage.events import ACKNOWLEDGED, EXPIRED, UNREACHED, Event, Outbox, request_field
from services.storage.messages import MessageStore
from shared.cached_messages import (
    Copy,
    Drop,
    Message,
    Messages,
    Operation,
    Read,
    Result,
    Store,
    Stored,
    prefix_and_position,
)
from shared.push_ids import push_id


class MessageEvents:
    """Puts them into the outbox. Raises StorageError, and then nothing may be done, or said to be done."""

    def __init__(self, store: MessageStore, outbox: Outbox) -> None:
        self._store, self._outbox = store, outbox

    def before(self, operations: Sequence[Operation], now_ms: int) -> None:
        """What these will take out was acknowledged, or can never be delivered."""
        drops = [each for each in operations if isinstance(each, Drop)]
        events = []
        for refused, kind, more in ((False, ACKNOWLEDGED, {}), (True, UNREACHED, {"stored": False})):
            wanted = [Read(each.token, seq - 1, 1, 0) for each in drops if each.refused == refused for seq in each.seqs]
            events += [
                message_event(kind, token, one.key, one.request_id, now_ms, **more)
                for token, one in self._there(wanted, now_ms)
            ]
        self._outbox.put(events, now_ms)

    def behind(self, operations: Sequence[Operation], results: Sequence[Result], now_ms: int) -> None:
        """What these have stored for clients that are away has reached nobody.

        A copy may have: it has come before. It has not if it is still there.
        """
        pairs = [
            (each, result)
            for each, result in zip(operations, results, strict=True)
            if isinstance(each, Store) and each.absent and isinstance(result, Stored | Copy)
        ]
        reads = [Read(each.token, result.seq - 1, 1, 0) for each, result in pairs if isinstance(result, Copy)]
        there: list[tuple[bytes, Message | Store]] = [*self._there(reads, now_ms)]
        there += [(each.token, each) for each, result in pairs if isinstance(result, Stored)]
        events = [
            message_event(UNREACHED, token, one.key, one.request_id, now_ms, stored=True, expires=one.expires)
            for token, one in there
        ]
        self._outbox.put(events, now_ms)

    def expire(self, now_ms: int, most: int) -> None:
        """What the sweep with the same arguments will remove has expired."""
        gone = self._store.expiring(now_ms, most)
        self._outbox.put([message_event(EXPIRED, *each, now_ms) for each in gone], now_ms)

    def _there(self, reads: Sequence[Read], now_ms: int) -> list[tuple[bytes, Message]]:
        """(token, message) of the one message that each read is for, as far as it is there."""
        found = []
        results = self._store.apply(reads, now_ms) if reads else []
        for read, result in zip(reads, results, strict=True):
            if isinstance(result, Messages) and result.messages and result.messages[0].seq == read.after + 1:
                found.append((read.token, result.messages[0]))
        return found


def message_event(kind: str, token: bytes, key: bytes, request_id: str, now_ms: int, **more: bool | int) -> Event:
    """What is told of a message."""
    push = push_id(*prefix_and_position(key))
    fields = {"push_id": push, "at": now_ms, **more, **request_field(request_id)}
    return Event(f"{push}/{kind}", kind, token.decode(), fields)
