"""Memberships: which workers have clients of a user or a group, as the workers tell (MEMBERS1).

Pure. Soft state: it ends with the worker's incarnation, and is told again. While a worker may have members that it has
not told of, it is taken to have members of everything: one copy of a message too many costs little. It is so from its
READY1 on, and from each new ring on, which may bring it clients of others, until it says that it has told all; and from
where a message is missing, until it tells everything anew.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from router.members import Worker
from router.membership import Membership
from router.outbox import Outbox
from shared.bus import NOTED1, Target, encode_numbered
from shared.bus_members import MembersNews, decode_members
from shared.rings import NO_EPOCH, Epoch


class _Told:
    """What one worker has told. `whole`: all, with whoever the ring of that epoch brought.

    `unknown`: it has clients of whom it does not know the groups. `joining`: REGROUP1 that it has not seen to yet.
    `number`: of its last message; None: there was none, or something is missing.
    """

    __slots__ = ("joining", "names", "number", "unknown", "whole")

    def __init__(self, joining: Mapping[str, int] = {}) -> None:
        self.names: dict[str, set[str]] = {"group": set(), "uid": set()}
        self.whole: Epoch = NO_EPOCH
        self.unknown = False
        self.joining: Counter[str] = Counter(joining)
        self.number: int | None = None

    def is_missing(self, news: MembersNews) -> bool:
        """Whether anything is missing before this message."""
        return news.number is not None and not news.anew and (self.number is None or news.number != self.number + 1)

    def learn(self, news: MembersNews) -> None:
        """The next message."""
        for kind, added, removed in (("group", news.groups, news.groups_gone), ("uid", news.uids, news.uids_gone)):
            self.names[kind].update(added)
            self.names[kind].difference_update(removed)
        if news.whole is not None:
            self.whole = max(self.whole, news.whole)
        if news.unknown is not None:
            self.unknown = news.unknown
        self.number = news.number

    def may_have(self, target: Target) -> bool:
        """Whether it may have members, if it has told all."""
        if target.name in self.names[target.kind]:
            return True
        return target.kind == "group" and (self.unknown or target.name in self.joining)


class Memberships:
    """What each worker has told, by its identity."""

    def __init__(self, membership: Membership, outbox: Outbox) -> None:
        self._membership, self._outbox = membership, outbox
        self._told: dict[bytes, _Told] = {}

    def begin(self, identity: bytes) -> None:
        """READY1: it tells everything anew."""
        self._told[identity] = _Told()

    def forget(self, identity: bytes) -> None:
        """Nothing more will be heard of a worker."""
        self._told.pop(identity, None)

    def tell(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        """MEMBERS1, answered with NOTED1 if it has a number. Raises BusError."""
        news = decode_members(frames)
        told = self._told.setdefault(worker.identity, _Told())
        is_missing = told.is_missing(news)
        if is_missing or news.anew:
            told = self._told[worker.identity] = _Told(told.joining)
        if not is_missing:
            told.learn(news)
        told.joining = told.joining - Counter(news.regrouped)
        if news.number is not None:
            answer = encode_numbered(NOTED1, news.number, {"again": True} if is_missing else {})
            self._outbox.to_workers.append((worker.identity, answer))

    def joined(self, group: str, identities: Iterable[bytes]) -> None:
        """These workers are being told that somebody has joined a group: each may have the client.

        It is so until a worker says that it has seen to that.
        """
        for identity in identities:
            told = self._told.get(identity)
            if told is not None:
                told.joining[group] += 1

    def may_have(self, worker: Worker, target: Target) -> bool:
        """Whether a worker has members of a user or a group, for all that is known."""
        told = self._told.get(worker.identity)
        return told is None or told.whole < self._membership.epoch or told.may_have(target)
