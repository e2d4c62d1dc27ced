"""The list of all known tokens, in Redis: of devices, of who has come without a user, and of who is connected.

tokens:{number}: sorted sets by name, all tokens together. met:{token}: until when one is known that has come without a
user. device:{token}, presence:{token}: of redis_devices, redis_presences.

These are in several slots. So who makes one of the latter enters the token in the list before and after: a known token
always stands there, and an unknown one does no harm. It is taken out when it is met with, and entered again should it
have come back just then. Each token that comes has two others looked at; so at most about half the list is unknown.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.storage.redis_connections import Connection
from services.storage.redis_keys import BUCKETS, bucket_of

#: Commands that go together.
CHUNK = 500
_LOOKED_AT = 2


class RedisTokens:
    """Lists them. Times are Unix seconds."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys

    def enter(self, tokens: Iterable[str]) -> None:
        """Put them in the list."""
        self._all([("ZADD", self._bucket(bucket_of(token)), 0, token) for token in tokens])

    def met_until(self, token: str) -> float:
        """Until when one is known that has come without a user; 0: none has."""
        with self._connection.asking() as client:
            return float(client.get(self._keys.of("met", token)) or 0)

    def meet(self, token: str, until: float, left_s: int) -> None:
        """It has come without a user; is forgotten in so many seconds, by the server's clock too."""
        self.enter([token])
        with self._connection.asking() as client:
            client.set(self._keys.of("met", token), until, ex=left_s)
        self.enter([token])
        self.sweep([token])

    def known(self, tokens: Sequence[str], now: float) -> set[str]:
        """Those of them that are."""
        of = self._keys.of
        devices = self._all([("EXISTS", of("device", token)) for token in tokens])
        met = self._all([("GET", of("met", token)) for token in tokens])
        present = self._all([("HMGET", of("presence", token), "token", "ended") for token in tokens])
        return {
            token
            for token, device, until, (here, ended) in zip(tokens, devices, met, present, strict=True)
            if device or (until is not None and float(until) > now) or (here is not None and ended is None)
        }

    def take_out(self, tokens: Sequence[str]) -> None:
        """Of unknown ones."""
        self._all([("ZREM", self._bucket(bucket_of(token)), token) for token in tokens])
        self.enter(self.known(tokens, 0.0))

    def sweep(self, come: Sequence[str]) -> None:
        """Look at some that are listed where the first of these is, and take out the unknown ones."""
        with self._connection.asking() as client:
            count = min(CHUNK, _LOOKED_AT * len(come))
            listed = list(dict.fromkeys(client.zrandmember(self._bucket(bucket_of(come[0])), count)))
        known = self.known(listed, 0.0)
        self.take_out([token for token in listed if token not in known])

    def pages(self, after: str, most: int) -> Iterator[list[str]]:
        """Of one bucket after the other, whatever is entered there behind `after`."""
        for number in range(bucket_of(after) if after else 0, BUCKETS):
            least = f"({after}" if after and number == bucket_of(after) else "-"
            while page := self._page(number, least, most):
                yield page
                least = f"({page[-1]}"

    def _page(self, number: int, least: str, most: int) -> list[str]:
        with self._connection.asking() as client:
            return list(client.zrangebylex(self._bucket(number), least, "+", 0, most))

    def _bucket(self, number: int) -> str:
        return self._keys.of("tokens", str(number))

    def _all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers of so many commands on keys of any slot."""
        answers: list[Any] = []
        for start in range(0, len(commands), CHUNK):
            with self._connection.asking() as client:
                pipeline = client.pipeline(transaction=False)
                for command in commands[start : start + CHUNK]:
                    pipeline.execute_command(*command)
                answers += pipeline.execute()
        return answers
