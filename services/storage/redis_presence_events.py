"""Events of who comes and goes, on their way from a token's slot in Redis to the outbox, which is in another one.

presence:{token}:events is a list, put in by the script that changes the entry. Behind that its events go into the
outbox, and out of the list. presences-telling: sorted set of marks, by when they were made. Whoever changes entries
makes one for each token before, and takes it out when it has moved what is in the list; so whoever dies between the
two leaves nothing that the next one does not find. A mark is its maker's alone: another one would take it out too
early. One that is left over is first put into presence:{token}:fence, and the script changes nothing for it any more:
its maker may only have been slow. An event that is moved twice has one id.
"""

import secrets
from collections.abc import Mapping, Sequence

import ujson

from services.storage.events import presence_event
from services.storage.presences import Transition
from services.storage.redis_connections import Connection
from services.storage.redis_outbox import RedisOutbox, row_of

#: What was begun so long ago (ms) is left over, and how many of these are looked at together.
_LEFT_MS, _MOST = 5000, 500
#: Nobody is slower than this (ms).
_FENCE_MS = 3_600_000


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

    def fence(self, token: str) -> str:
        """Key of the marks for which nothing is put into a token's list any more."""
        return self._keys.of("presence", token, "fence")

    def begin(self, tokens: Sequence[str], at: int) -> Mapping[str, str]:
        """Before events are put into the lists of these: their marks, by token."""
        if not tokens or not self._is_on:
            return {}
        turn = secrets.token_hex(8)
        marks = {token: f"{token}\n{turn}" for token in tokens}  # no token has a line break
        with self._connection.asking() as client:
            client.zadd(self._telling, dict.fromkeys(marks.values(), at))
        return marks

    def left_over(self, now: int) -> list[str]:
        """Some marks whose makers have not moved their lists."""
        with self._connection.asking() as client:
            return list(client.zrangebyscore(self._telling, "-inf", now - _LEFT_MS, 0, _MOST))

    def finish(self, now: int) -> None:
        """Move what is left over."""
        marks = self.left_over(now) if self._is_on else []
        with self._connection.asking() as client:
            keys = [(self.fence(_token(mark)), mark) for mark in marks]
            _all(client, [part for key, mark in keys for part in (("SADD", key, mark), ("PEXPIRE", key, _FENCE_MS))])
        self.move(marks, now)

    def move(self, marks: Sequence[str], at: int) -> None:
        """Put what is in the lists of their tokens into the outbox, and take out the marks."""
        if not marks:
            return
        tokens = list(dict.fromkeys(map(_token, marks)))
        with self._connection.asking() as client:
            lists = _all(client, [("LRANGE", self.key(token), 0, -1) for token in tokens])
            self._outbox.put_rows([tuple(ujson.loads(row)) for rows in lists for row in rows], at)
            gone = [
                ("LREM", self.key(token), 1, row) for token, rows in zip(tokens, lists, strict=True) for row in rows
            ]
            _all(client, gone)
            client.zrem(self._telling, *marks)


def _token(mark: str) -> str:
    return mark.partition("\n")[0]


def _all(client: object, commands: Sequence[tuple[object, ...]]) -> list[list[str]]:
    pipeline = client.pipeline(transaction=False)  # type: ignore[attr-defined]
    for command in commands:
        pipeline.execute_command(*command)
    return list(pipeline.execute()) if commands else []
