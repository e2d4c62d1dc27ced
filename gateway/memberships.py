"""What this worker tells the routers of its users and groups (MEMBERS1): which have clients here.

Each router is told everything after READY1, in pieces, and then what changes, gathered for a turn of the hub. That a
user or group has no client here any more is told only when no client is on its way to another worker: it may come back.
"""

from collections import Counter
from collections.abc import Collection, Sized
from itertools import islice

from gateway.client_loop import ClientLoop
from gateway.groups import Groups
from gateway.ownership import Ownership
from gateway.router_links import RouterLinks
from shared.bus import MembersNews, Target, encode_members
from shared.rings import NO_EPOCH, Epoch

#: Names in one MEMBERS1.
PIECE = 2000


class _Told:
    """What one router is still to be told, and what it was told last."""

    __slots__ = ("due", "regrouped", "unknown", "whole")

    def __init__(self, due: Collection[Target] = ()) -> None:
        self.due = dict.fromkeys(due)
        self.regrouped: Counter[str] = Counter()
        self.unknown: bool | None = None
        self.whole: Epoch = NO_EPOCH


class Memberships:
    """Tells each router. `changed` is called when anything may have changed, `ready` behind READY1."""

    def __init__(
        self, clients: ClientLoop, ownership: Ownership, routers: RouterLinks, groups: Groups, away: Sized
    ) -> None:
        """`away`: bound clients given to another worker that has not confirmed them."""
        self._clients, self._ownership, self._routers = clients, ownership, routers
        self._groups, self._away = groups, away
        self._told: dict[int, _Told] = {}  # by router: those that want to be told
        self._scheduled = False
        clients.each_tick(lambda tick: self.changed())

    def ready(self, router: int) -> None:
        """A router that knows MEMBERS1 knows nothing of this worker: it is told everything."""
        self._told[router] = _Told(self._groups.targets())
        self.changed()

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
        """Something may have to be told now, unless clients are coming in crowds: then routers reckon with anybody."""
        if self._told and not self._ownership.awaited:
            self._turn()
        else:
            self.changed()

    def _turn(self) -> None:
        self._scheduled = False
        for target in self._groups.changed:
            for told in self._told.values():
                told.due[target] = None
        self._groups.changed.clear()
        more = [self._tell(router, told) for router, told in self._told.items()]
        if any(more) and not self._scheduled:
            self._scheduled = True
            self._clients.later(0, self._turn)

    def _tell(self, router: int, told: _Told) -> bool:
        """One message, if there is anything to tell; whether there is more."""
        taken = list(islice(told.due, PIECE))
        gone = [target for target in taken if not self._groups.has(target)]
        if gone and len(self._away):
            taken, gone = [target for target in told.due if self._groups.has(target)][:PIECE], []
        for target in taken:
            del told.due[target]
        there = set(taken).difference(gone)
        more = bool(told.due) and bool(taken)
        unknown = more or self._groups.blind or bool(self._groups.unknown)  # of what is still to be told, too
        whole = self._whole if not more else NO_EPOCH
        regrouped, told.regrouped = (told.regrouped, Counter()) if not more else (Counter[str](), told.regrouped)
        if not taken and not regrouped and unknown == told.unknown and whole <= told.whole:
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
        told.unknown, told.whole = unknown, max(whole, told.whole)
        if not self._routers.send(router, encode_members(news)):
            self._told[router] = _Told(self._groups.targets())  # everything anew, with the next tick
            return False
        return more

    @property
    def _whole(self) -> Epoch:
        """The ring of which all clients have come that it brings; NO_EPOCH: some may still come."""
        return self._ownership.epoch if not self._ownership.awaited else NO_EPOCH
