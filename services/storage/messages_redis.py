"""Cached messages in Redis, single or Cluster: a script call for each operation, those of a batch in one pipeline.

Each operation is whole or not done; a batch as a whole is not a transaction. Tokens are spread over shards, each of
which has all its keys on one node of a cluster. How safe what is stored is, is said by the server's own settings.
"""

from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from services.storage.messages import IDLE_MS, OVERHEAD_BYTES, RECENT_MAX, RECENT_MS, Bounds, Swept, Totals
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
from shared.tokens import slot_of

SHARDS = 64
_SCRIPT = (Path(__file__).parent / "messages.lua").read_text()
#: Key, expiry, signal, sub-signal, bytes of sender and collapse key; then these two and the payload.
_HEADER = Struct(">18sQBBBH")
_NO_COLLAPSE = 0xFFFF
_COMMON = (RECENT_MS, RECENT_MAX // SHARDS, OVERHEAD_BYTES)

#: How long Redis may take for a batch, in seconds; its callers wait five.
_TIMEOUT_S = 2.0

Call = list[Any]


def open_redis(url: str, bounds: Bounds) -> "RedisMessages":
    """On what the setting `storage` names. It connects when there is something to do. Raises StorageError."""
    scheme, _, rest = url.partition("://")
    options: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    try:
        if not scheme.endswith("-cluster"):
            return RedisMessages(Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options), bounds)
        nodes = [ClusterNode(*_host_and_port(node)) for node in rest.split(",")]  # type: ignore[no-untyped-call]
        return RedisMessages(RedisCluster(startup_nodes=nodes, ssl=scheme.startswith("rediss"), **options), bounds)
    except (RedisError, ValueError, OSError) as error:
        raise StorageError(f"redis at {rest.rpartition('@')[2]}: {_said(error)}") from None


def _host_and_port(node: str) -> tuple[str, int]:
    host, _, port = node.rpartition(":")
    return host.strip("[]"), int(port)


class RedisMessages:
    """A MessageStore on a connection whose answers are bytes. It connects when there is something to do."""

    def __init__(self, client: "Redis | RedisCluster", bounds: Bounds) -> None:
        self._client, self._bounds = client, bounds
        self._sha = ""
        #: Bytes in each shard, as its last answer said; all are asked by the sweep.
        self._bytes = [0] * SHARDS

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
        except (RedisError, OSError) as error:
            return [Failed(_said(error))] * len(operations)
        return [_result(answer) for answer in answers]

    def sweep(self, now_ms: int, most: int) -> Swept:
        answers = self._run_all(["sweep", now_ms, *_COMMON, max(1, most // SHARDS), IDLE_MS])
        return Swept(sum([answer[1] for answer in answers]), any(answer[2] for answer in answers))

    def totals(self) -> Totals:
        answers = self._run_all(["totals", 0, *_COMMON])
        return Totals(sum([answer[1] for answer in answers]), sum(self._bytes))

    def close(self) -> None:
        self._client.close()

    def _call(self, operation: Operation, now_ms: int, room: int) -> Call:
        word, *arguments = _ARGUMENTS[type(operation)](operation)
        if isinstance(operation, Store):
            bounds = self._bounds
            arguments[3:3] = [bounds.messages, bounds.bytes, room, int(bounds.drops_oldest)]
        return [word, now_ms, *_COMMON, operation.token, *arguments]

    def _run_all(self, call: Call) -> list[Any]:
        """A call on every shard. Raises StorageError."""
        try:
            answers = self._run([(shard, call) for shard in range(SHARDS)])
        except (RedisError, OSError) as error:
            raise StorageError(f"redis: {_said(error)}") from None
        for answer in answers:
            if isinstance(answer, Exception):
                raise StorageError(f"redis: {_said(answer)}")
        return answers

    def _run(self, calls: Sequence[tuple[int, Call]]) -> list[Any]:
        """What the script says to each, or the exception. Raises RedisError."""
        if not self._sha:
            self._load()
        answers = self._pipeline(calls)
        missing = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:  # the server has been started anew, or another has taken its place
            self._load()
            again = self._pipeline([calls[index] for index in missing])
            for index, answer in zip(missing, again, strict=True):
                answers[index] = answer
        for (shard, _), index in zip(calls, range(len(answers)), strict=True):
            if not isinstance(answers[index], Exception):
                self._bytes[shard], answers[index] = answers[index]
        return answers

    def _load(self) -> None:
        loaded: Any = self._client.script_load(_SCRIPT)
        self._sha = loaded.decode() if isinstance(loaded, bytes) else str(loaded)

    def _pipeline(self, calls: Sequence[tuple[int, Call]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for shard, call in calls:
            pipeline.execute_command("EVALSHA", self._sha, 1, f"push:{{messages-{shard}}}", *call)
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


def _message(seq: int, packed: bytes) -> Message:
    key, expires, signal, sub_signal, sender_bytes, collapse_bytes = _HEADER.unpack_from(packed)
    behind = _HEADER.size + sender_bytes + (0 if collapse_bytes == _NO_COLLAPSE else collapse_bytes)
    return Message(seq, key, signal, sub_signal, expires, packed[behind:])


_ARGUMENTS: dict[type, Any] = {
    Store: lambda each: [
        "store",
        each.expires,
        "" if each.collapse is None else "c" + each.collapse,
        each.sender,
        _packed(each),
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
    return Messages([_message(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)], newest, bool(more))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
