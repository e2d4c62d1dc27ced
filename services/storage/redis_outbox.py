"""The outbox of events in Redis: all of it in one slot, so that a script can give numbers without gaps.

events:{outbox}: hash of the numbers `first` and `last`, and `dropped`. ...:rows: hash, by number, of a sequence and a
JSON list. ...:ids: hash, the numbers by id. ...:confirmed: hash, by consumer. ...:owner:CONSUMER: who serves it, as
long as its lease lives. ...:sequence:TOKEN: the last that was given.
"""

from collections.abc import Sequence

import ujson

from services.storage.events import CHUNK, SEQUENCE_MS, Event, Keeping, Kept, Outbox, Totals
from services.storage.redis_connections import Connection

_COMMON = """
local function whole(number) return string.format('%.0f', number) end
local function remove(numbers, least, most)
    local removed = 0
    for number = least, most do
        local row = redis.call('HGET', KEYS[2], whole(number))
        if row then
            redis.call('HDEL', KEYS[2], whole(number))
            redis.call('HDEL', KEYS[3], cjson.decode(string.match(row, ' (.*)'))[1])
            removed = removed + 1
        end
    end
    redis.call('HSET', numbers, 'first', whole(math.max(most + 1, least)))
    return removed
end
"""
# KEYS: numbers, rows, ids, then the sequence of each event's token. ARGV: now, bound, ms of a sequence, then of each
# event id, sequence or '', JSON list.
_PUT = (
    _COMMON
    + """
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or 0)
local first = tonumber(redis.call('HGET', KEYS[1], 'first') or 1)
for at = 4, #ARGV, 3 do
    local id, sequence, row = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if redis.call('HEXISTS', KEYS[3], id) == 0 then
        if sequence == '' then
            local key = KEYS[4 + (at - 4) / 3]
            local given = redis.call('GET', key)
            sequence = given and whole(tonumber(given) + 1) or ARGV[1]
            redis.call('SET', key, sequence, 'PX', ARGV[3])
        end
        last = last + 1
        redis.call('HSET', KEYS[3], id, whole(last))
        redis.call('HSET', KEYS[2], whole(last), sequence .. ' ' .. row)
    end
end
redis.call('HSET', KEYS[1], 'last', whole(last))
local most = tonumber(ARGV[2])
if last - first >= most then
    redis.call('HINCRBY', KEYS[1], 'dropped', remove(KEYS[1], first, last - most))
end
return 1
"""
)
# KEYS: numbers, rows, ids, confirmed. ARGV: most to remove, consumers.
_PRUNE = (
    _COMMON
    + """
local first = tonumber(redis.call('HGET', KEYS[1], 'first') or 1)
local until_number = first + tonumber(ARGV[1]) - 1
for at = 2, #ARGV do
    until_number = math.min(until_number, tonumber(redis.call('HGET', KEYS[4], ARGV[at]) or 0))
end
if until_number < first then return 0 end
return remove(KEYS[1], first, until_number)
"""
)
# KEYS: owner, confirmed. ARGV: owner, ms, consumer.
_TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('HGET', KEYS[2], ARGV[3]) or '0'
"""
# KEYS: owner, confirmed. ARGV: owner, consumer, number. With no owner at all its lease has lapsed: nobody else came.
_CONFIRM = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
if tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or 0) < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_PRUNED = 5000


class RedisOutbox(Outbox):
    """See Outbox. Leases are by the server's clock."""

    def __init__(self, connection: Connection, keeping: Keeping) -> None:
        self._connection, self.keeping = connection, keeping
        self._put, self._prune = connection.script(_PUT), connection.script(_PRUNE)
        self._take, self._confirm = connection.script(_TAKE), connection.script(_CONFIRM)
        self._release = connection.script(_RELEASE)
        self._numbers, self._rows, self._ids, self._confirmed = (
            connection.keys.of("events", "outbox", part) for part in ("", "rows", "ids", "confirmed")
        )

    def put(self, events: Sequence[Event], now: int) -> None:
        self.put_rows([(event.token, *row_of(event)) for event in self.keeping.of(events)], now)

    def put_rows(self, rows: Sequence[tuple[str, str, int | str, str]], now: int) -> None:
        """Events as (token, *row_of(event))."""
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            keys = [self._connection.keys.of("events", "outbox", f"sequence:{token}") for token, *_ in chunk]
            arguments = [part for _, *row in chunk for part in row]
            bases = [self._numbers, self._rows, self._ids]
            self._put([*bases, *keys], now, self.keeping.most, SEQUENCE_MS, *arguments)

    def read(self, after: int, most: int) -> list[Kept]:
        with self._connection.asking() as client:
            first, last = (int(number or 0) for number in client.hmget(self._numbers, "first", "last"))
            numbers = range(max(after + 1, first), min(max(after + 1, first) + most - 1, last) + 1)
            rows = client.hmget(self._rows, [str(number) for number in numbers]) if numbers else []
        return [_kept(number, row) for number, row in zip(numbers, rows, strict=True) if row]

    def take(self, consumer: str, owner: str, lease_ms: int, now: int) -> int | None:
        confirmed = self._take([self._owner(consumer), self._confirmed], owner, lease_ms, consumer)
        return int(confirmed) if confirmed else None

    def confirm(self, consumer: str, owner: str, number: int) -> bool:
        return bool(self._confirm([self._owner(consumer), self._confirmed], owner, consumer, number))

    def release(self, consumer: str, owner: str) -> None:
        self._release([self._owner(consumer)], owner)

    def prune(self, consumers: Sequence[str]) -> None:
        if consumers:
            self._prune([self._numbers, self._rows, self._ids, self._confirmed], _PRUNED, *consumers)

    def totals(self) -> Totals:
        with self._connection.asking() as client:
            waiting = client.hlen(self._rows)
            last, dropped = (int(number or 0) for number in client.hmget(self._numbers, "last", "dropped"))
        return Totals(waiting, last, dropped)

    def _owner(self, consumer: str) -> str:
        return self._connection.keys.of("events", "outbox", f"owner:{consumer}")


def row_of(event: Event) -> tuple[str, int | str, str]:
    """(id, sequence or "", JSON list) of an event."""
    row = [event.id, event.token, event.kind, event.text()]
    sequence = "" if event.sequence is None else event.sequence
    return event.id, sequence, ujson.dumps(row, ensure_ascii=False, escape_forward_slashes=False)


def _kept(number: int, row: str) -> Kept:
    sequence, _, said = row.partition(" ")
    _, token, kind, text = ujson.loads(said)
    return Kept(number, token, kind, int(sequence), text)
