"""Which of this worker's clients belong to a user or are in a group. Pure.

Nothing is kept of a client that has no uid and is in no group. `unknown` are clients whose groups are being asked for;
while `blind` nobody can be asked, and all may be in any group.
"""

from collections.abc import Collection, Iterable
from sys import intern

from gateway.connections import Connection
from shared.bus import Target

#: Most users have one client here: a set for each would cost more than all the rest.
_Clients = Connection | set[Connection]


class Groups:
    """Clients by uid and by group, and groups by client."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, _Clients]] = {"uid": {}, "group": {}}
        self._of: dict[Connection, tuple[str | None, tuple[str, ...]]] = {}  # uid, groups
        self._last: tuple[str, ...] = ()  # shared by clients that are alike
        self.unknown: set[Connection] = set()
        self.blind = False
        self._joined: dict[Connection, dict[str, float]] = {}  # who has joined what lately
        #: Users and groups that have got their first client, or lost their last one, since this was cleared.
        self.changed: dict[Target, None] = {}

    # --- who comes and goes

    def bound(self, connection: Connection, groups: Iterable[str] = ()) -> None:
        """A client has a token here, or another uid. `groups`: what is known of it."""
        self.released(connection)
        if connection.uid is not None:
            self._of[connection] = connection.uid, ()
            self._add(Target("uid", connection.uid), connection)
        self.set_groups(connection, groups)

    def released(self, connection: Connection) -> None:
        """It is here no more, or has another token."""
        self.unknown.discard(connection)
        self._joined.pop(connection, None)
        uid, groups = self._of.pop(connection, (None, ()))
        if uid is not None:
            self._remove(Target("uid", uid), connection)
        for group in groups:
            self._remove(Target("group", group), connection)

    def set_groups(self, connection: Connection, groups: Iterable[str]) -> None:
        """All the groups of a client."""
        uid, before = self._of.get(connection, (None, ()))
        after = tuple(sorted(map(intern, set(groups))))
        if after == before:
            return
        for group in set(before).difference(after):
            self._remove(Target("group", group), connection)
        for group in set(after).difference(before):
            self._add(Target("group", group), connection)
        if after == self._last:
            after = self._last
        self._last = after
        if after or uid is not None:
            self._of[connection] = uid, after
        else:
            del self._of[connection]

    def join(self, connection: Connection, group: str, now: float = 0) -> None:
        """It is in one group more, since `now`: monotonic seconds, which all workers of a host share."""
        self.joined(connection, {group: now})
        self.set_groups(connection, (*self.groups_of(connection), group))

    def joined(self, connection: Connection, groups: dict[str, float]) -> None:
        """Since when it is in groups that it has joined lately."""
        if groups:
            self._joined[connection] = {**groups, **self._joined.get(connection, {})}

    def leave(self, connection: Connection, group: str) -> None:
        """It is in a group no more."""
        self._joined.get(connection, {}).pop(group, None)
        self.set_groups(connection, [other for other in self.groups_of(connection) if other != group])

    def _add(self, target: Target, connection: Connection) -> None:
        by_name = self._by_name[target.kind]
        there = by_name.get(target.name)
        if there is None:
            by_name[target.name] = connection
            self.changed[target] = None
        elif isinstance(there, set):
            there.add(connection)
        elif there is not connection:
            by_name[target.name] = {there, connection}

    def _remove(self, target: Target, connection: Connection) -> None:
        by_name = self._by_name[target.kind]
        there = by_name.get(target.name)
        if isinstance(there, set):
            there.discard(connection)
        if there is connection or there == set():
            del by_name[target.name]
            self.changed[target] = None

    def forget_joins(self, before: float) -> None:
        """Whoever joined before that has long been a member."""
        for connection, groups in list(self._joined.items()):
            late = {group: joined for group, joined in groups.items() if joined >= before}
            if late:
                self._joined[connection] = late
            else:
                del self._joined[connection]

    # --- who is there

    def joined_at(self, connection: Connection, group: str) -> float:
        """Since when a client is in a group; 0: it has been for long."""
        return self._joined.get(connection, {}).get(group, 0)

    def joins_of(self, connection: Connection) -> dict[str, float]:
        """The groups that a client has joined lately, and when."""
        return self._joined.get(connection, {})

    def groups_of(self, connection: Connection) -> tuple[str, ...]:
        """The groups of a client, as far as they are known."""
        return self._of.get(connection, (None, ()))[1]

    def has(self, target: Target) -> bool:
        """Whether a user or a group has a client here."""
        return target.name in self._by_name[target.kind]

    def clients_of(self, target: Target) -> Collection[Connection]:
        """All clients of a user or a group. To be copied by whoever lets others have their turn."""
        there = self._by_name[target.kind].get(target.name)
        if there is None:
            return ()
        return there if isinstance(there, set) else (there,)

    def is_of(self, connection: Connection, target: Target) -> bool:
        """Whether a client is one of them."""
        there = self._by_name[target.kind].get(target.name)
        return connection in there if isinstance(there, set) else there is connection

    def targets(self) -> list[Target]:
        """All users and groups that have a client here."""
        return [Target(kind, name) for kind, names in self._by_name.items() for name in names]
