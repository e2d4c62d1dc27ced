"""Finding out which groups this worker's clients are in: GROUPS_OF, asked for many at once, and REGROUP1.

A client's groups are asked for when it is bound, the newest first; when others may have changed them unheard, because
the service was away; and when a member leaves a group in which it may be by its uid, too. A client that moves carries
what is known of it in its record, and is asked for again by its new holder.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from gateway.client_loop import ClientLoop
from gateway.connections import Connection, State
from gateway.fan_outs import FanOuts
from gateway.groups import Groups
from gateway.memberships import Memberships
from gateway.recent_fan_outs import KEEP_TICKS
from shared.bus import Target, decode_control
from shared.calls import Internal, Topic, internal
from shared.errors import BusError

#: Clients in one call.
ASKED_MAX = 500
#: Without a service of the topic for so long (ticks) this worker is blind: nothing is kept for clients in no group.
PATIENCE_TICKS = 5
#: For so long (ticks) after REGROUP1 no record is trusted: a client may have been on its way when it came.
TRUST_TICKS = 10
#: Fields of a record: the groups, the time of the join of those that it has joined lately, and who has packed it, when.
CARRIED, JOINED, PACKED = "groups", "groups_joined", "groups_packed"

#: A push that came before a join is kept no longer.
_JOINED_S = KEEP_TICKS + 2

_TOPIC = Topic(*internal(Internal.GROUPS_OF))


class Asks(Protocol):
    """gateway.calls.Calls, as far as it is needed here."""

    def serves(self, topic: Topic) -> bool: ...
    def ask(
        self, topic: Topic, key: str, fields: dict[str, Any], body: bytes, done: Callable[[int, bytes], None]
    ) -> None: ...


class MembershipAsks:
    """Keeps `groups` right. `bound` and `released` are called as it happens."""

    def __init__(
        self,
        clients: ClientLoop,
        calls: Asks,
        groups: Groups,
        memberships: Memberships,
        fan_outs: FanOuts,
        *,
        worker: str,
    ) -> None:
        self._clients, self._calls, self._groups, self._worker = clients, calls, groups, worker
        self._memberships, self._fan_outs = memberships, fan_outs
        self._queue: list[tuple[Connection, int]] = []  # with its binding; the last one is asked for first
        self._asked: dict[Connection, int] = {}  # in the call under way
        #: Of these, what REGROUP1 has told meanwhile: the answer may be older.
        self._told: defaultdict[Connection, dict[str, bool]] = defaultdict(dict)
        self._served = self._scheduled = False
        self._unserved_since = clients.wheel.tick
        self._regrouped_at = clients.wheel.tick - TRUST_TICKS
        self._last_regroup = 0.0  # the same in monotonic seconds
        self._packer = f"{worker} {time.monotonic_ns()}"
        clients.each_tick(self._tick)

    # --- clients

    def bound(self, connection: Connection) -> None:
        """A client has a token here, or another uid. Routers are told before it is: it may be pushed to at once."""
        carried, joined = _take_carried(connection), _take_joined(connection)
        has_been_here = self._has_been_here(_take(connection, PACKED))
        if self._clients.wheel.tick - self._regrouped_at < TRUST_TICKS and not has_been_here:
            carried = None  # it may have been told of while it was on its way
        self._groups.bound(connection, carried or ())
        self._groups.joined(connection, joined)
        if not self._groups.blind:
            self._look_at(connection, known=carried is not None)
        self._memberships.tell()

    def released(self, connection: Connection) -> None:
        """It has gone, or has lost its token."""
        if connection in self._groups.unknown:
            self._fan_outs.gone(connection)
        self._groups.released(connection)
        self._memberships.changed()

    def pack(self, connection: Connection) -> None:
        """It is about to be given to another worker: what is known of it goes along."""
        groups = self._groups.groups_of(connection)
        if groups or not (self._groups.blind or connection in self._groups.unknown):
            connection.extra = {**(connection.extra or {}), CARRIED: list(groups)}
            connection.extra[PACKED] = [self._packer, time.monotonic()]
        joined = self._groups.joins_of(connection)
        if joined:
            connection.extra = {**(connection.extra or {}), JOINED: joined}

    def _has_been_here(self, packed: Any) -> bool:
        """Whether a client comes back that could not be given, and nothing was told of groups meanwhile."""
        return isinstance(packed, list) and packed[:1] == [self._packer] and self._last_regroup < packed[1]

    def _look_at(self, connection: Connection, known: bool = False) -> None:
        if not known:
            self._groups.unknown.add(connection)
        if self._served:  # else all are asked for when a service comes
            self._queue.append((connection, connection.binding))
            self._schedule()

    # --- asking

    def topics_changed(self) -> None:
        """Other topics may be answered now. A service that comes (back) may have changed groups unheard."""
        before, served = self._served, self._calls.serves(_TOPIC)
        self._served = served
        if served and not before:
            self._groups.blind = False
            self.ask_all()
        elif before and not served:
            self._unserved_since = self._clients.wheel.tick

    def ask_all(self) -> None:
        """Groups may have changed unheard: a REGROUP1 that comes while a router's link is down is lost."""
        if self._served:
            here = list(self._clients.table.by_token.values())
            self._groups.unknown.update(here)
            self._queue = [(connection, connection.binding) for connection in here]
            self._schedule()

    def _tick(self, tick: int) -> None:
        self.topics_changed()
        self._groups.forget_joins(time.monotonic() - _JOINED_S)
        if self._served:
            self._schedule()
        elif tick - self._unserved_since >= PATIENCE_TICKS and not self._groups.blind:
            self._groups.blind = True
            self._groups.unknown.clear()
            self._queue.clear()
            self._memberships.changed()

    def _schedule(self) -> None:
        if self._served and self._queue and not self._asked and not self._scheduled:
            self._scheduled = True
            self._clients.soon(self._ask)

    def _ask(self) -> None:
        self._scheduled = False
        if self._asked:
            return
        while self._queue and len(self._asked) < ASKED_MAX:
            connection, binding = self._queue.pop()
            if connection.binding == binding and self._is_here(connection):
                self._asked[connection] = binding
        if not self._asked:
            return
        clients = [[(one.token or b"").decode(), one.uid] for one in self._asked]
        self._clients.counters["group_asks"] += 1
        self._calls.ask(_TOPIC, self._worker, {}, msgpack.packb({"clients": clients}), self._answered)

    def _is_here(self, connection: Connection) -> bool:
        return connection.state == State.BOUND and self._clients.table.holds(connection)

    def _answered(self, code: int, body: bytes) -> None:
        asked, self._asked = self._asked, {}
        told, self._told = self._told, defaultdict(dict)
        answers = _answers(body, len(asked)) if code == 0 else None
        if answers is None:
            self._clients.counters["group_ask_failures"] += 1
            if self._served:  # else all are asked for when a service comes
                self._queue += asked.items()  # with the next tick
            return
        for (connection, binding), groups in zip(asked.items(), answers, strict=True):
            if connection.binding == binding and self._is_here(connection):
                self._learn(connection, groups, told.get(connection, {}))
        self._memberships.changed()
        self._schedule()

    def _learn(self, connection: Connection, groups: list[str], told: dict[str, bool]) -> None:
        joined = [group for group, is_in in told.items() if is_in]
        self._groups.set_groups(connection, [*(one for one in groups if told.get(one, True)), *joined])
        if connection in self._groups.unknown:
            self._groups.unknown.discard(connection)
            self._fan_outs.learnt(connection)

    # --- REGROUP1

    def regroup(self, router: int, frames: list[bytes]) -> None:
        """Members have joined a group, or have left it. Raises BusError."""
        body = decode_control(frames)
        group, joined = body.get("group"), body.get("joined")
        if not isinstance(group, str) or not isinstance(joined, bool):
            raise BusError("REGROUP1 of no group")
        self._regrouped_at, self._last_regroup = self._clients.wheel.tick, time.monotonic()
        for connection in self._clients_in(body):
            if connection in self._asked:
                self._told[connection][group] = joined
            if joined:
                self._groups.join(connection, group, time.monotonic())
            else:
                self._left(connection, group)
        if joined:
            self._memberships.regrouped(router, group)
        self._memberships.changed()

    def _left(self, connection: Connection, group: str) -> None:
        """By its token or by its uid; if it is a member by the other one, too, that is found out."""
        self._groups.leave(connection, group)
        if not self._groups.blind:
            self._look_at(connection)

    def _clients_in(self, body: dict[str, Any]) -> list[Connection]:
        by_token, found = self._clients.table.by_token, []
        for token in _names(body, "tokens"):
            connection = by_token.get(token.encode(errors="surrogatepass"))
            if connection is not None:
                found.append(connection)
        for uid in _names(body, "uids"):
            found += self._groups.clients_of(Target("uid", uid))
        return found


def _names(body: dict[str, Any], key: str) -> list[str]:
    names = body.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BusError(f"REGROUP1 with {key} that are no names")
    return names


def _take(connection: Connection, field: str) -> Any:
    """A field of a record, which is not passed on; None: there is none."""
    if not connection.extra or field not in connection.extra:
        return None
    said = connection.extra.pop(field)
    connection.extra = connection.extra or None
    return said


def _take_carried(connection: Connection) -> list[str] | None:
    """What a record says of groups; None: nothing."""
    carried = _take(connection, CARRIED)
    good = isinstance(carried, list) and all(isinstance(name, str) for name in carried)
    return carried if good else None


def _take_joined(connection: Connection) -> dict[str, float]:
    """What a record says of joins."""
    joined = _take(connection, JOINED)
    good = isinstance(joined, dict) and all(
        isinstance(group, str) and isinstance(since, float) for group, since in joined.items()
    )
    return joined if good else {}


def _answers(body: bytes, count: int) -> list[list[str]] | None:
    """The groups of each client that was asked for; None: that is no answer."""
    try:
        groups = msgpack.unpackb(body)["groups"]
        good = len(groups) == count and all(isinstance(name, str) for names in groups for name in names)
    except Exception:  # msgpack raises whatever its input leads to
        return None
    return groups if good else None
