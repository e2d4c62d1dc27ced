"""Groups in Redis.

group:{name}: hash of its owner and its generation, chance digits that tell it from other groups of that name, earlier
or later. members:{name}:GENERATION:KIND: sets. These are in one slot, and say who is a member.
groups:{member}:KIND: set of GENERATION:NAME, the groups that a member is or was in.

The latter are in other slots. So who joins is entered there before and after, and who leaves is taken out before: then
a member always has the group there, and an entry without a membership does no harm.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from services.storage.interfaces import Members
from services.storage.redis_connections import Connection, Script
from shared.errors import NoGroupError

#: Members that go together.
CHUNK = 500
#: How long members of a dismissed group stay at most, if whoever removes them ends amid that, in seconds.
LEFTOVER_S = 86_400

TOKEN, UID = "token", "uid"

# KEYS: group. ARGV: owner, generation. If it is of this generation, this very call was made before.
_CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('HGET', KEYS[1], 'generation') == ARGV[2] and 1 or 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'generation', ARGV[2])
return 1
"""
# KEYS: group, members ... ARGV: generation, seconds.
_DISMISS = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return redis.call('DEL', KEYS[1])
"""
# KEYS: group, members. ARGV: generation, SADD or SREM, members ... Gives how many, or -1 for a group that is no more.
_CHANGE = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return -1 end
return redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
"""


class RedisGroups:
    """See interfaces.Groups."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys
        self._create, self._dismiss = connection.script(_CREATE), connection.script(_DISMISS)
        self._change: Script = connection.script(_CHANGE)

    def create(self, name: str, owner: str) -> bool:
        return bool(self._create([self._group(name)], owner, secrets.token_hex(8)))

    def dismiss(self, name: str) -> Iterator[None] | None:
        generation = self._generation(name)
        if generation is None:
            return None
        sets = [self._members(name, generation, kind) for kind in (TOKEN, UID)]
        dismissed = self._dismiss([self._group(name), *sets], generation, LEFTOVER_S)
        return self._sweep(name, generation, sets) if dismissed else None

    def _sweep(self, name: str, generation: str, sets: Sequence[str]) -> Iterator[None]:
        """Remove the members of a group that is no more, step by step."""
        for kind in (TOKEN, UID):
            for page in self._pages(name, generation, kind):
                self._enter("srem", name, generation, kind, page)
                yield
        with self._connection.asking() as client:
            client.unlink(*sets)

    def exists(self, name: str) -> bool:
        return self._generation(name) is not None

    def owner(self, name: str) -> str | None:
        with self._connection.asking() as client:
            owner: str | None = client.hget(self._group(name), "owner")
            return owner

    def join(self, name: str, tokens: Iterable[str], uids: Iterable[str]) -> int:
        generation = self._generation(name)
        if generation is None:
            raise NoGroupError(name)
        added = 0
        for kind, chunk in _chunks(tokens, uids):
            self._enter("sadd", name, generation, kind, chunk)
            new = self._forward("SADD", name, generation, kind, chunk)
            if new < 0:
                self._enter("srem", name, generation, kind, chunk)
                raise NoGroupError(name)
            self._enter("sadd", name, generation, kind, chunk)
            added += new
        return added

    def leave(self, name: str, tokens: Iterable[str], uids: Iterable[str]) -> int:
        generation = self._generation(name)
        if generation is None:
            return 0
        removed = 0
        for kind, chunk in _chunks(tokens, uids):
            self._enter("srem", name, generation, kind, chunk)
            removed += max(0, self._forward("SREM", name, generation, kind, chunk))
        return removed

    def members(self, name: str) -> Members:
        generation = self._generation(name)
        if generation is None:
            return Members([], [])
        # A page may have again what one before had.
        tokens, uids = (
            list(dict.fromkeys(member for page in self._pages(name, generation, kind) for member in page))
            for kind in (TOKEN, UID)
        )
        return Members(tokens, uids)

    def of(self, token: str | None, uid: str | None) -> list[str]:
        found: set[str] = set()
        for kind, member in ((TOKEN, token), (UID, uid)):
            if member is not None:
                found.update(self._of(kind, member))
        return list(found)

    def _of(self, kind: str, member: str) -> list[str]:
        with self._connection.asking() as client:
            entered = self._entered(kind, member)
            entries = [entry.split(":", 1) for entry in client.smembers(entered)]
            pipeline = client.pipeline(transaction=False)
            for generation, name in entries:
                pipeline.hget(self._group(name), "generation")
                pipeline.sismember(self._members(name, generation, kind), member)
            answers = pipeline.execute() if entries else []
            states = list(zip(entries, answers[::2], answers[1::2], strict=True))
            # A generation that is over never comes back, so this takes nothing from anybody who joins just now.
            if over := [f"{generation}:{name}" for (generation, name), now, _ in states if now != generation]:
                client.srem(entered, *over)
        return [name for (generation, name), now, is_member in states if is_member and now == generation]

    def _pages(self, name: str, generation: str, kind: str) -> Iterator[list[str]]:
        cursor = -1
        while cursor:
            with self._connection.asking() as client:
                cursor, page = client.sscan(self._members(name, generation, kind), max(cursor, 0), count=CHUNK)
            yield page

    def _enter(self, command: str, name: str, generation: str, kind: str, members: Sequence[str]) -> None:
        """`sadd` or `srem` of this group to the lists of these members."""
        with self._connection.asking() as client:
            pipeline = client.pipeline(transaction=False)
            for member in members:
                getattr(pipeline, command)(self._entered(kind, member), f"{generation}:{name}")
            pipeline.execute()

    def _forward(self, command: str, name: str, generation: str, kind: str, members: Sequence[str]) -> int:
        keys = [self._group(name), self._members(name, generation, kind)]
        return int(self._change(keys, generation, command, *members))

    def _generation(self, name: str) -> str | None:
        with self._connection.asking() as client:
            generation: str | None = client.hget(self._group(name), "generation")
            return generation

    def _group(self, name: str) -> str:
        return self._keys.of("group", name)

    def _members(self, name: str, generation: str, kind: str) -> str:
        return self._keys.of("members", name, f"{generation}:{kind}")

    def _entered(self, kind: str, member: str) -> str:
        return self._keys.of("groups", member, kind)


def _chunks(tokens: Iterable[str], uids: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for kind, members in ((TOKEN, iter(tokens)), (UID, iter(uids))):
        while chunk := list(islice(members, CHUNK)):
            yield kind, chunk
