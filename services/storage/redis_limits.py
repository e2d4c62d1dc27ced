"""Limits and codes in Redis. tries:{key}: hash of when its window began, and of the count. codes:{key}: JSON."""

import json
from math import ceil

from services.storage.redis_connections import Connection

#: What is left for clocks that differ, in seconds, before Redis itself forgets what has expired.
SLACK_S = 3600

# KEYS: tries. ARGV: window, now, slack. The window is over when its length has passed since it began, or when the clock
# was set back by as much.
_TRY = """
local began = tonumber(redis.call('HGET', KEYS[1], 'began'))
if not began or math.abs(ARGV[2] - began) >= tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], 'began', ARGV[2], 'count', 0)
    redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[1]) + ARGV[3])
end
return redis.call('HINCRBY', KEYS[1], 'count', 1)
"""


class RedisLimits:
    """See interfaces.Limits."""

    def __init__(self, connection: Connection) -> None:
        self._keys, self._try = connection.keys, connection.script(_TRY)

    def tries(self, key: str, window_s: float, now: float) -> int:
        return int(self._try([self._keys.of("tries", key)], window_s, now, SLACK_S))


class RedisCodes:
    """See interfaces.Codes."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys

    def put(self, key: str, code: str, expires: float, now: float) -> None:
        left_s = max(0, ceil(expires - now)) + SLACK_S
        with self._connection.asking() as client:
            client.set(self._keys.of("codes", key), json.dumps([code, expires]), ex=left_s)

    def get(self, key: str, now: float) -> str | None:
        with self._connection.asking() as client:
            text = client.get(self._keys.of("codes", key))
        code, expires = json.loads(text) if text else (None, 0)
        return code if expires > now else None

    def delete(self, key: str) -> bool:
        with self._connection.asking() as client:
            return bool(client.delete(self._keys.of("codes", key)))
