"""Events of who comes and goes, on their way from a token's slot in Redis to the outbox, which is in another one.

presence:{token}:events is a list, put in by the script that changes the entry. Behind that its events go into the
outbox, and out of the list. presences-telling: sorted set of tokens that may have such a list, by when that was begun;
so whoever dies between the two leaves nothing that the next one does not find. An event that is moved twice has one id.
"""

from collections.abc import Sequence

import ujson

from services.storage.events import presence_event
from services.storage.presences import Transition
from services.storage.redis_connections import Connection
from services.storage.redis_outbox import RedisOutbox, row_of

#: What was begun so long ago (ms) is left over, and how many of these are looked at together.
_LEFT_MS, _MOST = 5000, 500


class PresenceEvents:
    """Lists of events, by token. Does nothing where the outbox keeps none."""

    def __init__(self, connection: Connection, outbox: RedisOutbox) -> None:
        self._connection, self._keys, self._outbox = connection, connection.keys, outbox
        self._is_on = outbox.keeping.most > 0
        self._telling = connection.keys.alone("presences-telling")

    def key(self, token: str) -> str:
        """Of a token's list."""
        return self._keys.of("presence", token, "events")

    def rows(self, told: Sequence[Transition]) -> list[str]:
        """What goes into it."""
        events = self._outbox.keeping.of([presence_event(one) for one in told]) if self._is_on else []
        return [ujson.dumps([event.token, *row_of(event)]) for event in events]

    def begin(self, tokens: Sequence[str], at: int) -> None:
        """Before events are put into the lists of these."""
        if tokens and self._is_on:
            with self._connection.asking() as client:
                client.zadd(self._telling, dict.fromkeys(tokens, at))

    def left_over(self, now: int) -> list[str]:
        """Some tokens whose lists nobody has moved."""
        with self._connection.asking() as client:
            return list(client.zrangebyscore(self._telling, "-inf", now - _LEFT_MS, 0, _MOST))

    def move(self, tokens: Sequence[str], at: int) -> None:
        """Put what is in the lists of these into the outbox."""
        if not tokens or not self._is_on:
            return
        with self._connection.asking() as client:
            lists = _all(client, [("LRANGE", self.key(token), 0, -1) for token in tokens])
            self._outbox.put_rows([tuple(ujson.loads(row)) for rows in lists for row in rows], at)
            gone = [
                ("LREM", self.key(token), 1, row) for token, rows in zip(tokens, lists, strict=True) for row in rows
            ]
            _all(client, gone)
            client.zrem(self._telling, *tokens)
            there = _all(client, [("EXISTS", self.key(token)) for token in tokens])
        # Another process has put some in meanwhile.
        self.begin([token for token, is_there in zip(tokens, there, strict=True) if is_there], at)


def _all(client: object, commands: Sequence[tuple[object, ...]]) -> list[list[str]]:
    pipeline = client.pipeline(transaction=False)  # type: ignore[attr-defined]
    for command in commands:
        pipeline.execute_command(*command)
    return list(pipeline.execute()) if commands else []
