"""Sessions and users in Redis.

sessions:{uid}: hash, client identifier to JSON of the session. It alone says what there is.
owners:{token}: sorted set of the uids that have or had sessions with it, in the order in which they got it.

These are in two slots. So who puts a session enters the uid both before and after, and who ends one removes it before:
then a session that there is always has its uid there, and a uid without a session does no harm.
"""

import json
from collections.abc import Callable

from services.storage.interfaces import Session
from services.storage.redis_connections import Connection

#: What is left for clocks that differ, in seconds, before Redis itself forgets what has expired.
SLACK_S = 86_400

# KEYS: sessions. ARGV: client identifier, JSON, now, slack. Removes what has expired; the whole goes after its last.
_PUT = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local now, last, forever = tonumber(ARGV[3]), 0, false
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local expires = cjson.decode(all[i + 1])[6]
    if type(expires) ~= 'number' then
        forever = true
    elseif expires <= now and all[i] ~= ARGV[1] then
        redis.call('HDEL', KEYS[1], all[i])
    elseif expires > last then
        last = expires
    end
end
if forever then
    redis.call('PERSIST', KEYS[1])
else
    redis.call('EXPIRE', KEYS[1], math.max(math.ceil(last - now), 0) + ARGV[4])
end
"""
# KEYS: owners. ARGV: uid, whether it goes to the end, seconds until it may be forgotten or "".
_ENTER = """
local is_new = redis.call('EXISTS', KEYS[1]) == 0
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local present = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == '1' or not present then
    redis.call('ZADD', KEYS[1], (tonumber(last[2]) or 0) + 1, ARGV[1])
end
if ARGV[3] == '' then
    redis.call('PERSIST', KEYS[1])
elseif is_new then
    redis.call('EXPIRE', KEYS[1], ARGV[3])
elseif redis.call('TTL', KEYS[1]) >= 0 and redis.call('TTL', KEYS[1]) < tonumber(ARGV[3]) then
    redis.call('EXPIRE', KEYS[1], ARGV[3])
end
"""
_SET_ONCE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return ARGV[1] end
return redis.call('GET', KEYS[1])
"""


class RedisSessions:
    """See interfaces.Sessions."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys
        self._put, self._enter = connection.script(_PUT), connection.script(_ENTER)

    def put(self, session: Session, now: float) -> None:
        sessions = self._keys.of("sessions", session.uid)
        owners = self._keys.of("owners", session.client_identifier)
        before = self.get(session.uid, session.client_identifier)
        is_fresh = before is None or not before.lives(now)
        left_s = "" if session.expires is None else max(0, int(session.expires - now)) + SLACK_S
        self._enter([owners], session.uid, int(is_fresh), left_s)
        self._put([sessions], session.client_identifier, json.dumps(session), now, SLACK_S)
        self._enter([owners], session.uid, 0, left_s)

    def get(self, uid: str, client_identifier: str) -> Session | None:
        with self._connection.asking() as client:
            return _session(client.hget(self._keys.of("sessions", uid), client_identifier))

    def by_uid(self, uid: str) -> list[Session]:
        with self._connection.asking() as client:
            found = [_session(text) for text in client.hvals(self._keys.of("sessions", uid))]
        return [session for session in found if session]

    def delete(self, uid: str, client_identifier: str) -> bool:
        with self._connection.asking() as client:
            client.zrem(self._keys.of("owners", client_identifier), uid)
            return bool(client.hdel(self._keys.of("sessions", uid), client_identifier))

    def owner_of(self, token: str, now: float) -> str | None:
        with self._connection.asking() as client:
            uids = client.zrange(self._keys.of("owners", token), 0, -1)
            for uid in uids:
                session = _session(client.hget(self._keys.of("sessions", uid), token))
                if session and session.lives(now):
                    return str(uid)
        return None


def _session(text: str | None) -> Session | None:
    return Session(*json.loads(text)) if text else None


class RedisUsers:
    """See interfaces.Users. mobiles:{number} and blocked:{uid}: strings."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys
        self._set_once = connection.script(_SET_ONCE)

    def user_by_mobile(self, mobile: str, make: Callable[[], str]) -> tuple[str, bool]:
        key = self._keys.of("mobiles", mobile)
        with self._connection.asking() as client:
            if uid := client.get(key):
                return uid, False
        made = make()
        uid = self._set_once([key], made)
        return uid, uid == made

    def is_blocked(self, uid: str) -> bool:
        with self._connection.asking() as client:
            return bool(client.exists(self._keys.of("blocked", uid)))

    def block(self, uid: str, blocked: bool) -> None:
        key = self._keys.of("blocked", uid)
        with self._connection.asking() as client:
            client.set(key, 1) if blocked else client.delete(key)
