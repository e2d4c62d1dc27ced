"""Who is connected, in Redis. docs/services.md tells others how to read it.

presence:{token}: hash of one entry; with `ended` it is a former one, and goes by itself. presence-worker:{worker}:
hash that lives as long as the worker's lease; who has none counts no more. presences-of:{worker}, presences-for:{uid}:
sorted sets, by name, of the tokens that are a worker's, a user's. presence-workers: set of all workers.

These are in several slots. Who makes an entry puts its token into both sets before and after; who ends or moves it
takes the token out, and looks whether it belongs there again. So a set may have too much, never too little: only the
entries say whose they are. A worker is put among all behind its lease; who takes it out looks whether it has one again.
Events are put beside their entry, and then moved (redis_presence_events).
"""

from collections.abc import Sequence
from typing import Any

from services.storage.presences import ENDED_MS, Entry, Presence, PresenceStore, Swap, Transition
from services.storage.redis_connections import Connection
from services.storage.redis_outbox import RedisOutbox
from services.storage.redis_presence_events import PresenceEvents
from services.storage.redis_tokens import RedisTokens

# KEYS: entry, events, fence. ARGV: version that must be there, or "" for none; ms that it stays, or 0; mark of who
# tells; number of events, and these; fields and values.
_SWAP = """
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
if ARGV[4] ~= '0' and redis.call('SISMEMBER', KEYS[3], ARGV[3]) == 1 then return 0 end
for at = 5, 4 + ARGV[4] do redis.call('RPUSH', KEYS[2], ARGV[at]) end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 5 + ARGV[4]))
if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
"""
# KEYS: worker. ARGV: begins the whole (1 or 0), term, number, ms of the lease.
_REPORT = """
if ARGV[1] == '1' then
    redis.call('DEL', KEYS[1])
else
    local was = redis.call('HMGET', KEYS[1], 'term', 'number')
    if was[1] ~= ARGV[2] then return 0 end
    if was[2] ~= ARGV[3] and tonumber(was[2]) + 1 ~= tonumber(ARGV[3]) then return 0 end
end
redis.call('HSET', KEYS[1], 'term', ARGV[2], 'number', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
# KEYS: worker. ARGV: term, ms or "": when the whole was told.
_WHOLE = """
if redis.call('HGET', KEYS[1], 'term') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('HDEL', KEYS[1], 'whole') end
return redis.call('HSET', KEYS[1], 'whole', ARGV[2])
"""
# KEYS: worker. ARGV: term and number of one that is not there, ms of the lease.
_RENEW = """
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], 'term', ARGV[1], 'number', ARGV[2]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
_NO_TERM = "-"


class RedisPresences(PresenceStore):
    """See PresenceStore. Leases are by the server's clock."""

    def __init__(self, connection: Connection, outbox: RedisOutbox) -> None:
        self._connection, self._keys = connection, connection.keys
        self._events = PresenceEvents(connection, outbox)
        self._report, self._whole = connection.script(_REPORT), connection.script(_WHOLE)
        self._renew, self._tokens = connection.script(_RENEW), RedisTokens(connection)

    def load(self, tokens: Sequence[str]) -> list[Entry | None]:
        rows = self._all([("HGETALL", self._keys.of("presence", token)) for token in tokens])
        return [_entry(_fields(row)) if row else None for row in rows]

    def swap(self, changes: Sequence[Swap], at: int) -> list[bool]:
        listed = [one for before, entry, _ in changes for one in self._lists(entry) - self._lists(before)]
        come = [entry.presence.token for before, entry, _ in changes if _comes(before, entry)]
        telling = [entry.presence.token for _, entry, told in changes if told]
        self._enter(listed)
        self._tokens.enter(come)
        marks = self._events.begin(telling, at)
        swaps = [self._swap(*change, marks.get(change[1].presence.token, "")) for change in changes]
        done = [bool(answer) for answer in self._all(swaps)]
        self._enter(listed)
        self._tokens.enter(come)
        self._events.move(list(marks.values()), at)
        if come:
            self._tokens.sweep(come)
        swapped = [change for change, is_done in zip(changes, done, strict=True) if is_done]
        self._take_out([one for before, entry, _ in swapped for one in self._lists(before) - self._lists(entry)])
        return done

    def finish(self, now: int) -> None:
        self._events.finish(now)

    def _lists(self, entry: Entry | None) -> set[tuple[str, str]]:
        """(key, token) of the sets in which an entry stands."""
        if entry is None or entry.ended is not None:
            return set()
        _, uid, worker, *_ = presence = entry.presence
        keys = [self._keys.of("presences-of", worker), *([self._keys.of("presences-for", uid)] if uid else [])]
        return {(key, presence.token) for key in keys}

    def _enter(self, listed: Sequence[tuple[str, str]]) -> None:
        self._all([("ZADD", key, 0, token) for key, token in listed])

    def _take_out(self, listed: Sequence[tuple[str, str]]) -> None:
        self._all([("ZREM", key, token) for key, token in listed])
        tokens = sorted({token for _, token in listed})
        again = {one for entry in self.load(tokens) for one in self._lists(entry)}
        self._enter([one for one in listed if one in again])

    def _swap(self, before: Entry | None, entry: Entry, told: Sequence[Transition], mark: str) -> tuple[Any, ...]:
        kept = ENDED_MS if entry.ended is not None else 0
        key, version = self._keys.of("presence", entry.presence.token), "" if before is None else before.version
        rows = self._events.rows(told)
        keys = (key, self._events.key(entry.presence.token), self._events.fence(entry.presence.token))
        return ("EVAL", _SWAP, len(keys), *keys, version, kept, mark, len(rows), *rows, *_texts(entry))

    def tokens_of(self, worker: str, after: str, most: int) -> list[str]:
        return self._page("presences-of", worker, after, most)

    def tokens_of_user(self, uid: str, after: str, most: int) -> list[str]:
        return self._page("presences-for", uid, after, most)

    def _page(self, kind: str, name: str, after: str, most: int) -> list[str]:
        with self._connection.asking() as client:
            least = f"({after}" if after else "-"
            return list(client.zrangebylex(self._keys.of(kind, name), least, "+", 0, most))

    def report(self, worker: str, term: str, number: int, lease_ms: int, now: int, *, begin: bool) -> bool:
        taken = bool(self._report([self._worker(worker)], int(begin), term, number, lease_ms))
        if begin:
            self._know(worker)
        return taken

    def _know(self, worker: str) -> None:
        with self._connection.asking() as client:
            client.sadd(self._keys.alone("presence-workers"), worker)

    def told_whole(self, worker: str, term: str, now: int) -> None:
        self._whole([self._worker(worker)], term, now)

    def workers(self, now: int) -> list[str]:
        names = self._names()
        there = self._all([("EXISTS", self._worker(worker)) for worker in names])
        return [worker for worker, found in zip(names, there, strict=True) if found]

    def term_of(self, worker: str, now: int) -> str | None:
        with self._connection.asking() as client:
            term: str | None = client.hget(self._worker(worker), "term")
            return term

    def ending(self, now: int, grace_ms: int) -> list[tuple[str, str | None]]:
        names = self._names()
        rows = self._all([("HGETALL", self._worker(worker)) for worker in names])
        found: list[tuple[str, str | None]] = []
        for worker, row in zip(names, rows, strict=True):
            fields = _fields(row)
            if not fields:
                found.append((worker, None))
            elif "whole" in fields and int(fields["whole"]) <= now - grace_ms:
                found.append((worker, fields["term"]))
        return found

    def forget(self, worker: str, term: str | None, now: int) -> None:
        if term is not None:
            self._whole([self._worker(worker)], term, "")
            return
        with self._connection.asking() as client:
            client.srem(self._keys.alone("presence-workers"), worker)
        if self.term_of(worker, now) is not None:
            self._know(worker)

    def renew(self, lease_ms: int, now: int) -> None:
        for worker in self._names():
            self._renew([self._worker(worker)], _NO_TERM, 0, lease_ms)

    def purge(self, now: int) -> None:
        """They go by themselves."""

    def _names(self) -> list[str]:
        with self._connection.asking() as client:
            return sorted(client.smembers(self._keys.alone("presence-workers")))

    def _worker(self, worker: str) -> str:
        return self._keys.of("presence-worker", worker)

    def _all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers of so many commands on keys of any slot."""
        if not commands:
            return []
        with self._connection.asking() as client:
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute())


def _comes(before: Entry | None, entry: Entry) -> bool:
    return entry.ended is None and (before is None or before.ended is not None)


def _fields(row: Any) -> dict[str, str]:
    """An answer to HGETALL, which in a pipeline of raw commands may be a list."""
    return dict(row) if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))


def _texts(entry: Entry) -> list[object]:
    fields = {**entry.presence._asdict(), "term": entry.term, "sequence": entry.sequence, "version": entry.version}
    if entry.ended is not None:
        fields |= {"ended": entry.ended, "lost": int(entry.lost)}
    return [part for name, value in fields.items() if value is not None for part in (name, value)]


def _entry(fields: dict[str, str]) -> Entry:
    presence = Presence(
        fields["token"],
        fields.get("uid"),
        fields["worker"],
        fields["protocol"],
        fields["address"],
        int(fields["binding"]),
        fields["bound_by"],
        int(fields["moves"]),
    )
    ended = int(fields["ended"]) if "ended" in fields else None
    lost = fields.get("lost") == "1"
    return Entry(presence, fields["term"], int(fields["sequence"]), int(fields["version"]), ended, lost)
