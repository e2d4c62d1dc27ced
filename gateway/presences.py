"""What this worker tells the presence service: who is bound here, and who no longer is.

Changes are gathered for a turn of the hub and told in one report; one report is under way at a time, so that they come
in order by whatever router. Where a report fails, too much has gathered, or the service was away, everything is told
anew under a new term: first who has gone meanwhile, who may have come back since; then the *whole*, in parts. What the
service has of earlier terms has ended then. A client that is given to another worker is not told of: its new holder
does that. Should that one die first, nobody would; so a lease later this one says that it has given it away, which
counts only if nobody else was heard of. Without a service of the topic nothing is gathered but who has ended, and that
only if a service may know of them: it has been told, by this worker or by one before it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgpack

from gateway.client_loop import ClientLoop
from gateway.connections import Connection, State
from gateway.forwarding import protocol_name
from shared.calls import Internal, Topic, internal
from shared.reasons import CloseReason

#: Entries of one report, and changes that may wait.
REPORT_MAX = 1000
WAITING_MAX = 50_000
#: A lease is renewed so many times in its length.
_BEATS = 3
#: A worker that ends waits so long (seconds) until all is told, and looks so often.
_FINISH_S, _LOOK_S = 1, 0.02
#: Reason of a client that stays connected, under another token; of one that another worker should have told of.
REBOUND, GIVEN = "rebound", "given"

_TOPIC = internal(Internal.PRESENCE)


class Asks(Protocol):
    """gateway.calls.Calls, as far as it is needed here."""

    def serves(self, topic: Topic) -> bool: ...
    def ask(
        self, topic: Topic, key: str, fields: dict[str, Any], body: bytes, done: Callable[[int, bytes], None]
    ) -> None: ...


class Presences:
    """The reports of one worker. `bound`, `ended` and `unbound` are called as it happens, `tick` once a second."""

    def __init__(
        self,
        clients: ClientLoop,
        calls: Asks,
        away: Mapping[bytes, Connection],
        *,
        worker: str,
        incarnation: str,
        lease_ms: int,
    ) -> None:
        """`away`: bound clients given to another worker that has not confirmed them, by token."""
        self._clients, self._calls, self._away = clients, calls, away
        self._worker, self._incarnation, self._lease_ms = worker, incarnation, lease_ms
        self._changes: list[list[Any]] = []  # [False, *entry] has come; [True, *entry, reason] has gone
        self._before: list[list[Any]] = []  # those that are told before what is left of the whole
        self._given: deque[tuple[int, list[Any]]] = deque()  # (tick from which on to tell it, entry)
        self._whole: list[tuple[Connection, int]] | None = None  # what is left to tell of it
        self._begun = False  # its first part has been said
        self._behind = True  # the whole is to be told, and before it who has gone meanwhile
        self._fresh = True  # nothing has been told yet
        self._known = True  # a service may have been told something
        self._asking = self._scheduled = False
        self._term = self._number = 0
        self._saying: list[list[Any]] = []  # of the report under way
        self._told = clients.wheel.tick  # of the last report, or the start
        self._heard = False  # a service has answered this worker
        clients.each_tick(self.tick)

    # --- what happens

    def bound(self, connection: Connection) -> None:
        """A client has a token here."""
        if not self._behind:
            self._add([False, *_entry(connection)])
        elif self._fresh and not self._scheduled and self._calls.serves(_TOPIC):
            self._scheduled = True  # at once: a worker that dies before its first tick has told nothing
            self._clients.soon(self._turn)

    def ended(self, connection: Connection, reason: CloseReason | str) -> None:
        """A connection has been closed here."""
        if self._known and connection.token is not None:
            self._add([True, *_entry(connection), str(reason)])

    def unbound(self, connection: Connection) -> None:
        """A client that stays connected loses its token."""
        self.ended(connection, REBOUND)

    def given(self, connection: Connection) -> None:
        """A client is another worker's now."""
        if not self._known or self._behind or connection.token is None:
            return
        if len(self._given) >= WAITING_MAX:
            self._fall_behind()  # the whole, without these, says the same
            return
        self._given.append((self._clients.wheel.tick + self._lease_ms // 1000 + 1, _entry(connection)))

    def _add(self, change: list[Any]) -> None:
        if len(self._changes) + len(self._before) >= WAITING_MAX:
            self._clients.counters["presence_overflows"] += 1
            self._forget_changes()
            self._fall_behind()
            return
        self._changes.append(change)
        if not self._behind and not self._scheduled and not self._asking:
            self._scheduled = True
            self._clients.soon(self._turn)

    def _fall_behind(self) -> None:
        self._behind, self._whole = True, None
        # who was given away is in the whole of another by now, or will not be: nothing need be said of it before that
        self._changes = [change for change in self._before + self._changes if change[0] and change[-1] != GIVEN]
        self._before = []

    def _forget_changes(self) -> None:
        self._changes, self._before = [], []

    # --- what is told

    def tick(self, tick: int) -> None:
        """Begin to tell the whole if that is due; renew the lease."""
        if self._asking:
            return
        if not self._heard and (tick - self._told) * 1000 > 2 * self._lease_ms:
            self._known = False  # what a worker before this one has told has lapsed
            self._forget_changes()
        while self._given and self._given[0][0] <= tick:
            self._changes.append([True, *self._given.popleft()[1], GIVEN])
        if self._behind or self._changes or tick - self._told >= max(1, self._lease_ms // _BEATS // 1000):
            self._turn()

    def finish(self, done: Callable[[], None]) -> None:
        """Before the worker ends: tell what is left to tell, as long as there is a service; then call `done`."""
        self._finish(done, self._clients.wheel.tick + _FINISH_S + 1)  # a tick may be near its end

    def _finish(self, done: Callable[[], None], until: int) -> None:
        if self._is_left() and not self._asking:
            self._turn()
        if (self._is_left() or self._asking) and self._calls.serves(_TOPIC) and self._clients.wheel.tick < until:
            self._clients.later(_LOOK_S, partial(self._finish, done, until))
        else:
            done()

    def _is_left(self) -> bool:
        return bool(self._before or self._changes)

    def _turn(self) -> None:
        self._scheduled = False
        if self._asking:
            return
        if not self._calls.serves(_TOPIC):
            self._fall_behind()
        elif self._whole is not None:
            self._say_part(self._whole)
        elif self._behind:
            self._begin()
        else:
            changes, self._changes = self._changes[:REPORT_MAX], self._changes[REPORT_MAX:]
            self._say({"changes": changes})

    def _begin(self) -> None:
        """From now on changes come behind the whole; those gathered so far come before it: they are older."""
        self._given.clear()
        self._before, self._changes = self._changes, []
        there = [*self._clients.table.by_token.values(), *self._away.values()]
        self._fresh = False
        self._behind, self._begun, self._whole = False, False, [(one, one.binding) for one in there]
        self._term += 1
        self._number = 0
        self._say_part(self._whole)

    def _say_part(self, left: list[tuple[Connection, int]]) -> None:
        changes, self._before = self._before[:REPORT_MAX], self._before[REPORT_MAX:]
        start = max(0, len(left) - (REPORT_MAX - len(changes)))
        part = left[start:]
        del left[start:]
        changes += [[False, *_entry(one)] for one, binding in part if one.binding == binding and self._is_here(one)]
        is_end = not left and not self._before
        fields = {"changes": changes, "begin": not self._begun, "end": is_end}
        self._begun = True
        if is_end:
            self._whole = None
        self._say(fields)

    def _is_here(self, connection: Connection) -> bool:
        if connection.state != State.BOUND or connection.token is None:
            return False
        return self._clients.table.holds(connection) or self._away.get(connection.token) is connection

    def _say(self, fields: dict[str, Any]) -> None:
        self._number += 1
        self._saying = fields["changes"]
        self._asking, self._told = True, self._clients.wheel.tick
        said = {"op": "report", "worker": self._worker, "number": self._number, "lease_ms": self._lease_ms}
        said |= {"term": f"{self._incarnation}.{self._term}", **fields}
        self._clients.counters["presence_reports"] += 1
        self._calls.ask(_TOPIC, self._worker, {}, msgpack.packb(said), self._done)

    def _done(self, code: int, body: bytes) -> None:
        self._asking = False
        if code:
            self._clients.counters["presence_failures"] += 1
            self._before = self._saying + self._before
            self._fall_behind()  # told with the next tick
            return
        self._known = self._heard = True
        if self._behind or self._whole is not None or self._changes:
            self._clients.later(0, self._turn)


def _entry(connection: Connection) -> list[Any]:
    return [
        (connection.token or b"").decode(),
        connection.uid,
        protocol_name(connection),
        connection.address,
        connection.binding,
        connection.bound_by,
        connection.moves,
    ]
