"""Cached messages in Redis, single or Cluster: a script call for each operation, those of a batch in one pipeline.

Each operation is whole or not done; a batch as a whole is not a transaction. Tokens are spread over shards, each of
which has all its keys on one node of a cluster. How safe what is stored is, is said by the server's own settings.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Any

from redis.exceptions import NoScriptError

from services.storage.messages import (
    IDLE_MS,
    OVERHEAD_BYTES,
    RECENT_MAX,
    RECENT_MS,
    Bounds,
    Expiring,
    Swept,
    Totals,
    number_at,
)
from services.storage.redis_connections import ANSWER_S, Connection, translated
from services.storage.redis_keys import Keys
from services.storage.redis_schema import check_again, check_server, migrate
from shared.cached_messages import (
    Clear,
    Cleared,
    Copy,
    Count,
    Counted,
    Drop,
    Dropped,
    Failed,
    Full,
    Message,
    Messages,
    Operation,
    Read,
    Result,
    Store,
    Stored,
)
from shared.errors import StorageError
from shared.storage_locations import RedisLocation
from shared.tokens import slot_of

SHARDS = 64
_SCRIPT = (Path(__file__).parent / "messages.lua").read_text()
#: Key, expiry, signal, sub-signal, bytes of sender and collapse key; then these two and the payload.
_HEADER = Struct(">18sQBBBH")
_NO_COLLAPSE = 0xFFFF
_COMMON = (RECENT_MS, RECENT_MAX // SHARDS, OVERHEAD_BYTES)

Call = list[Any]


class RedisMessages:
    """A MessageStore on a server or in a cluster."""

    def __init__(self, location: RedisLocation, durability: str, bounds: Bounds, answer_s: float = ANSWER_S) -> None:
        """Raises StorageError for a newer version, or a server that cannot keep what `durability` promises; raises
        StorageUnavailable where it cannot be reached.
        """
        self._bounds, self._durability = bounds, durability
        self._opened = False
        self._connection = Connection(location, as_text=False, answer_s=answer_s, check=self._check)
        self._sha = ""
        #: Bytes in each shard, as its last answer said; all are asked by the sweep.
        self._bytes = [0] * SHARDS
        self._unswept: list[int] = []
        try:
            self.totals()
        except BaseException:
            self.close()
            raise

    def _check(self, client: Any, keys: Keys) -> None:
        if self._opened:
            check_again(client, keys)
            return
        check_server(client, self._durability)
        migrate(client, keys)
        self._opened = True

    def apply(self, operations: Sequence[Operation], now_ms: int) -> list[Result]:
        """Failed, if Redis is gone in the middle of a batch, does not mean that it was not done: a repeat will tell."""
        room = self._bounds.total_bytes - sum(self._bytes)
        calls = []
        for each in operations:
            calls.append(self._call(each, now_ms, room))
            if isinstance(each, Store):
                room -= len(each.payload) + OVERHEAD_BYTES
        try:
            answers = self._run([(shard_of(each.token), call) for each, call in zip(operations, calls, strict=True)])
        except StorageError as error:
            return [Failed(str(error))] * len(operations)
        return [_result(answer) for answer in answers]

    def sweep(self, now_ms: int, most: int) -> Swept:
        """The first step goes to all shards, further ones to those that were not done."""
        shards = self._unswept or list(range(SHARDS))
        answers = self._run_in(shards, ["sweep", now_ms, *_COMMON, max(1, most // len(shards)), IDLE_MS])
        self._unswept = [shard for shard, (_, _, more) in zip(shards, answers, strict=True) if more]
        return Swept(sum([expired for _, expired, _ in answers]), bool(self._unswept))

    def expiring(self, now_ms: int, most: int) -> list[Expiring]:
        shards = self._unswept or list(range(SHARDS))
        answers = self._run_in(shards, ["expiring", now_ms, *_COMMON, max(1, most // len(shards))])
        return [
            Expiring(token, key, request_id.decode())
            for _, *flat in answers
            for token, key, request_id in _in_threes(flat)
        ]

    def totals(self) -> Totals:
        answers = self._run_in(list(range(SHARDS)), ["totals", 0, *_COMMON])
        return Totals(sum([answer[1] for answer in answers]), sum(self._bytes))

    def close(self) -> None:
        self._connection.close()

    def _call(self, operation: Operation, now_ms: int, room: int) -> Call:
        word, *arguments = _ARGUMENTS[type(operation)](operation)
        if isinstance(operation, Store):
            bounds = self._bounds
            least = number_at(now_ms)
            arguments[3:3] = [bounds.messages, bounds.bytes, room, int(bounds.drops_oldest), least]
        return [word, now_ms, *_COMMON, operation.token, *arguments]

    def _run_in(self, shards: Sequence[int], call: Call) -> list[Any]:
        """A call on each of these shards. Raises StorageError."""
        answers = self._run([(shard, call) for shard in shards])
        with translated(self._connection.location):
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _run(self, calls: Sequence[tuple[int, Call]]) -> list[Any]:
        """What the script says to each, or the exception. Raises StorageError."""
        with self._connection.asking() as client:
            if not self._sha:
                self._load(client)
            answers = self._pipeline(client, calls)
            missing = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if missing:  # the server has been started anew, or another has taken its place
                self._load(client)
                again = self._pipeline(client, [calls[index] for index in missing])
                for index, answer in zip(missing, again, strict=True):
                    answers[index] = answer
        for index, (shard, _) in enumerate(calls):
            if not isinstance(answers[index], Exception):
                self._bytes[shard], answers[index] = answers[index]
        return answers

    def _load(self, client: Any) -> None:
        loaded = client.script_load(_SCRIPT)
        self._sha = loaded.decode() if isinstance(loaded, bytes) else str(loaded)

    def _pipeline(self, client: Any, calls: Sequence[tuple[int, Call]]) -> list[Any]:
        pipeline, keys = client.pipeline(transaction=False), self._connection.keys
        for shard, call in calls:
            pipeline.execute_command("EVALSHA", self._sha, 1, keys.of("messages", str(shard)), *call)
        return list(pipeline.execute(raise_on_error=False))


def shard_of(token: bytes) -> int:
    """In which shard a token is, whatever the number of caches."""
    return slot_of(token) % SHARDS


def _packed(store: Store) -> bytes:
    sender = store.sender.encode()
    collapse = b"" if store.collapse is None else store.collapse.encode()
    collapse_bytes = _NO_COLLAPSE if store.collapse is None else len(collapse)
    header = _HEADER.pack(store.key, store.expires, store.signal, store.sub_signal, len(sender), collapse_bytes)
    return header + sender + collapse + store.payload


def _message(seq: int, packed: bytes, request_id: bytes) -> Message:
    key, expires, signal, sub_signal, sender_bytes, collapse_bytes = _HEADER.unpack_from(packed)
    behind = _HEADER.size + sender_bytes + (0 if collapse_bytes == _NO_COLLAPSE else collapse_bytes)
    return Message(seq, key, signal, sub_signal, expires, packed[behind:], request_id.decode())


_ARGUMENTS: dict[type, Any] = {
    Store: lambda each: [
        "store",
        each.expires,
        "" if each.collapse is None else "c" + each.collapse,
        each.sender,
        _packed(each),
        each.request_id,
    ],
    Read: lambda each: ["read", *each[1:]],
    Drop: lambda each: ["drop", *each.seqs],
    Clear: lambda each: ["clear"],
    Count: lambda each: ["count"],
}
_RESULTS: dict[bytes, Any] = {
    b"stored": Stored,
    b"copy": Copy,
    b"full": Full,
    b"dropped": Dropped,
    b"cleared": Cleared,
    b"count": Counted,
}


def _result(answer: Any) -> Result:
    if isinstance(answer, Exception):
        return Failed(_said(answer))
    word, *values = answer
    if word != b"messages":
        result: Result = _RESULTS[word](*values)
        return result
    newest, more, *flat = values
    return Messages([_message(*each) for each in _in_threes(flat)], newest, bool(more))


def _in_threes(flat: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
