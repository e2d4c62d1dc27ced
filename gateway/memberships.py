"""What this worker tells the routers of its users and groups (MEMBERS1): which have clients here.

Each router is told everything after READY1, in pieces, and then what changes, gathered for a turn of the hub. That a
user or group has no client here any more is told with the next tick, if none has come until then, and only when no
client is on its way to another worker: it may come back.

The messages of a link are numbered, and a router notes each (NOTED1), so that whoever must know that it knows can wait
for it (`gateway.membership_waits`). One that misses a message says so, and is told everything anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sized
from itertools import islice

from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.groups import Groups
from gateway.ownership import Ownership
from gateway.router_links import RouterLinks
from shared.bus import Target
from shared.bus_members import MembersNews, encode_members
from shared.rings import NO_EPOCH, Epoch

#: Names in one MEMBERS1.
PIECE = 2000


class _Told:
    """What one router is still to be told, what it was told last, and up to which number it has noted that."""

    __slots__ = (
        "anew", "blocked", "due", "gone", "noted", "notes", "number", "number_before", "regrouped", "started",
        "unknown", "unknown_at", "whole",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = self.noted = self.number_before = number  # of the last message; before: a tick ago
        self.notes = False  # whether this router notes what it is told
        self.regrouped: Counter[str] = Counter()
        self.begin(())

    def begin(self, targets: Iterable[Target]) -> None:
        """It is to be told everything, and forget what it was told before."""
        self.due = dict.fromkeys(targets)
        self.gone: dict[Target, None] = {}
        self.unknown: bool | None = None
        self.unknown_at = self.started = self.number
        self.whole: Epoch = NO_EPOCH
        self.anew, self.blocked = True, False

    def changed(self, target: Target, is_here: bool) -> None:
        """A user or group has clients here, or none any more."""
        before, after = (self.gone, self.due) if is_here else (self.due, self.gone)
        if target in before:
            del before[target]
        else:
            after[target] = None

    def is_known(self, connection: Connection) -> bool:
        """Whether this router has noted all that concerns a client: its user, and that it may be in any group."""
        if not self.unknown or self.unknown_at > self.noted:
            return False
        return connection.uid is None or (
            self.noted == self.number and not self.anew and Target("uid", connection.uid) not in self.due
        )


class Memberships:
    """Tells each router. `changed` is called when anything may have changed, `ready` behind READY1."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        routers: RouterLinks,
        groups: Groups,
        away: Sized,
        *,
        first: int,
    ) -> None:
        """`away`: bound clients given to another worker that has not confirmed them.

        `first`: messages have greater numbers; unlike those of a predecessor.
        """
        self._clients, self._ownership, self._routers = clients, ownership, routers
        self._groups, self._away, self._first = groups, away, first
        self._told: dict[int, _Told] = {}  # by router: those that want to be told
        self._scheduled = False
        self._tells_gone = False
        #: What is due has been told, as far as it could be.
        self.turned: Callable[[], None] = lambda: None
        #: A router has noted everything up to a number, or knows that it misses something and reckons with anybody.
        self.has_noted: Callable[[int, int], None] = lambda router, number: None
        clients.each_tick(self._tick)

    # --- what routers say

    def ready(self, router: int) -> None:
        """A router that knows MEMBERS1 knows nothing of this worker: it is told everything."""
        told = self._told.setdefault(router, _Told(self._first))
        told.regrouped.clear()
        self._begin(told)

    def _begin(self, told: _Told) -> None:
        self._gather()
        told.begin(self._groups.targets())
        self.changed()

    def notes(self, router: int, does: bool) -> None:
        """Whether a router notes what it is told; one of an older version does not."""
        if router in self._told:
            self._told[router].notes = does

    def noted(self, router: int, number: int, again: bool) -> None:
        """NOTED1. `again`: it misses what came before that message."""
        told = self._told.get(router)
        if told is None or number > told.number:
            return  # of a predecessor
        told.noted = max(told.noted, number)
        if again and number > told.started and not told.anew:
            self._clients.counters["members_told_again"] += 1
            self._begin(told)
        self.has_noted(router, number)

    def freed(self, router: int) -> None:
        """The link takes messages again."""
        if router in self._told:
            self._told[router].blocked = False
            self.changed()

    # --- what changes here

    def regrouped(self, router: int, group: str) -> None:
        """A REGROUP1 of a router has been seen to: it goes again by what it is told of the group."""
        told = self._told.get(router)
        if told is not None:
            told.regrouped[group] += 1
        self.changed()

    def changed(self) -> None:
        """Something may have to be told, as soon as this turn is over."""
        if not self._scheduled and self._told:
            self._scheduled = True
            self._clients.soon(self._turn)

    def tell(self) -> None:
        """Something may have to be told, for a router that does not note it now, before the client is answered.

        But not while clients are coming in crowds: then routers reckon with anybody.
        """
        if self._ownership.awaited or all(told.notes for told in self._told.values()):
            self.changed()
        else:
            self._turn()

    def ignorant(self, connection: Connection) -> bool:
        """Whether any router that notes what it is told has yet to note what concerns a client that is bound here."""
        if self._groups.changed:
            self._gather()
        return any(told.notes and not told.is_known(connection) for told in self._told.values())

    def due_number(self, router: int) -> int | None:
        """When a router has noted this, it knows all that is here now; None: it is yet to be told."""
        told = self._told.get(router)
        return None if told is None or told.due or told.anew or told.blocked else told.number

    def has_all(self, router: int, number: int) -> bool:
        """Whether a router has noted this."""
        return self._told[router].noted >= number

    @property
    def noting(self) -> list[int]:
        """Routers that are heard, and note what they are told."""
        return [router for router in self._routers.heard if router in self._told and self._told[router].notes]

    # --- telling

    def _tick(self, tick: int) -> None:
        self._tells_gone = True
        for router in self.noting:
            told = self._told[router]
            if told.noted < told.number_before and not told.anew:
                self._send(router, told, MembersNews())  # if what it has not noted is lost, it sees the gap
            told.number_before = told.number
        for told in self._told.values():
            told.blocked = False
        self.changed()

    def _gather(self) -> None:
        for target in self._groups.changed:
            is_here = self._groups.has(target)
            for told in self._told.values():
                told.changed(target, is_here)
        self._groups.changed.clear()

    def _turn(self) -> None:
        self._scheduled = False
        self._gather()
        more = [self._tell(router, told) for router, told in self._told.items() if not told.blocked]
        self.turned()
        if not any(more):
            self._tells_gone = False
        elif not self._scheduled:
            self._scheduled = True
            self._clients.later(0, self._turn)

    def _tell(self, router: int, told: _Told) -> bool:
        """One message, if there is anything to tell; whether there is more."""
        there = list(islice(told.due, PIECE))
        more = len(there) < len(told.due)
        may_go = self._tells_gone and not more and not len(self._away)
        gone = list(islice(told.gone, PIECE - len(there))) if may_go else []
        unknown = more or self._groups.blind or bool(self._groups.unknown)  # of what is still to be told, too
        whole = self._whole if not more else NO_EPOCH
        regrouped = dict(told.regrouped) if not more else {}
        if not there and not gone and not regrouped and unknown == told.unknown and whole <= told.whole:
            return False
        news = MembersNews(
            [name for kind, name in there if kind == "group"],
            [name for kind, name in gone if kind == "group"],
            [name for kind, name in there if kind == "uid"],
            [name for kind, name in gone if kind == "uid"],
            whole if whole > told.whole else None,
            unknown if unknown != told.unknown else None,
            regrouped,
        )
        if not self._send(router, told, news):
            return False
        for target in there:
            del told.due[target]
        for target in gone:
            del told.gone[target]
        if unknown != told.unknown:
            told.unknown, told.unknown_at = unknown, told.number
        told.whole = max(whole, told.whole)
        told.regrouped -= Counter(regrouped)
        return more or (may_go and bool(told.gone))

    def _send(self, router: int, told: _Told, news: MembersNews) -> bool:
        """Send the next message; False if that cannot be: it goes when the link takes messages again, or next tick."""
        number = told.number + 1
        if not self._routers.send(router, encode_members(news._replace(number=number, anew=told.anew))):
            told.blocked = True
            return False
        told.number = number
        if told.anew:
            told.anew, told.started = False, number
        return True

    @property
    def _whole(self) -> Epoch:
        """The ring of which all clients have come that it brings; NO_EPOCH: some may still come."""
        return self._ownership.epoch if not self._ownership.awaited else NO_EPOCH
