"""Devices in Redis.

device:{token}: hash of its uid, protocol, added, seen. It alone says whose it is.
devices:{uid}: set of tokens that are or were this user's. The list of all tokens: redis_tokens.

These are in several slots. So who adds a device enters its token in both lists before and after, and who removes one
takes it out before: then a device that there is always stands in them, and a token without a device does no harm.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

from services.storage.interfaces import Device
from services.storage.redis_connections import Connection
from services.storage.redis_tokens import RedisTokens

#: Commands that go together.
CHUNK = 500

# KEYS: device. ARGV: uid, protocol, now. Gives the uid it had.
_SET = """
local before = redis.call('HGET', KEYS[1], 'uid')
if before ~= ARGV[1] then redis.call('HSET', KEYS[1], 'uid', ARGV[1], 'added', ARGV[3]) end
redis.call('HSET', KEYS[1], 'protocol', ARGV[2], 'seen', ARGV[3])
return before
"""
# KEYS: device. ARGV: uid.
_REMOVE = """
if redis.call('HGET', KEYS[1], 'uid') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisDevices:
    """See interfaces.Devices."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys, self._tokens = connection, connection.keys, RedisTokens(connection)
        self._set, self._remove = connection.script(_SET), connection.script(_REMOVE)

    def add(self, uid: str, token: str, protocol: str, now: float) -> None:
        self._enter(uid, token)
        before = self._set([self._device(token)], uid, protocol, now)
        self._enter(uid, token)
        if before and before != uid:
            with self._connection.asking() as client:
                client.srem(self._keys.of("devices", before), token)

    def of(self, uid: str) -> list[Device]:
        with self._connection.asking() as client:
            tokens = list(client.smembers(self._keys.of("devices", uid)))
        fields = ("uid", "protocol", "added", "seen")
        found = self._each(tokens, lambda pipeline, token: pipeline.hmget(self._device(token), fields))
        return [
            Device(token, protocol, float(added), float(seen))
            for token, (owner, protocol, added, seen) in zip(tokens, found, strict=True)
            if owner == uid
        ]

    def remove(self, uid: str, token: str) -> bool:
        if self.uid_of(token) != uid:
            return False
        with self._connection.asking() as client:
            client.srem(self._keys.of("devices", uid), token)
        removed = bool(self._remove([self._device(token)], uid))
        if not removed and (other := self.uid_of(token)):
            self._enter(other, token)  # somebody got it in between
        elif not self._tokens.known([token], 0.0):
            self._tokens.take_out([token])
        return removed

    def uid_of(self, token: str) -> str | None:
        with self._connection.asking() as client:
            uid: str | None = client.hget(self._device(token), "uid")
            return uid

    def meet(self, token: str, until: float, now: float) -> None:
        left_s = until - now
        if self._tokens.met_until(token) - now <= left_s / 2:  # who comes often is not written each time
            self._tokens.meet(token, until, max(1, ceil(left_s)))

    def all_tokens(self, after: str, most: int, now: float) -> list[str]:
        found: list[str] = []
        for page in self._tokens.pages(after, most):
            known = self._tokens.known(page, now)
            found += [token for token in page if token in known]
            self._tokens.take_out([token for token in page if token not in known])
            if len(found) >= most:
                break
        return found[:most]

    def _each(self, tokens: Sequence[str], command: Any) -> list[Any]:
        """Answers of one command for each token."""
        answers: list[Any] = []
        for start in range(0, len(tokens), CHUNK):
            with self._connection.asking() as client:
                pipeline = client.pipeline(transaction=False)
                for token in tokens[start : start + CHUNK]:
                    command(pipeline, token)
                answers += pipeline.execute()
        return answers

    def _enter(self, uid: str, token: str) -> None:
        with self._connection.asking() as client:
            client.sadd(self._keys.of("devices", uid), token)
        self._tokens.enter([token])

    def _device(self, token: str) -> str:
        return self._keys.of("device", token)
