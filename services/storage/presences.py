"""Who is connected, as it is kept: what follows from a report, and how it is put into a storage. Pure.

For each token there is one entry, of the client that has it, or had it last. Of two the greater rank stays, whichever
is told first; so it does not matter which of two workers between which a client moves is heard first. An entry that
has ended stays for a while, so that what is told late, of before its end, is known for that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

#: How long an entry that has ended stays, in ms.
ENDED_MS = 600_000
#: Entries that go together.
CHUNK = 500

Rank = tuple[int, str, int]

#: Reasons that no worker gives: another connection has the token; the worker is gone.
REPLACED, LOST = "replaced", "worker_lost"
#: What a worker says a lease after it has given a client to another one, which should have told of it by then.
GIVEN = "given"


class Presence(NamedTuple):
    """A client that is connected. Of one and the same connection `binding` and `bound_by` stay, `moves` grows."""

    token: str
    uid: str | None
    worker: str
    protocol: str
    address: str
    binding: int  # since when, Unix ms
    bound_by: str  # the worker that has bound it
    moves: int

    @property
    def rank(self) -> Rank:
        """What decides between two for one token."""
        return self.binding, self.bound_by, self.moves


class Entry(NamedTuple):
    """What is kept of a token."""

    presence: Presence
    term: str  # of the worker's report
    sequence: int  # of the last transition
    version: int  # one more with each change
    ended: int | None = None  # Unix ms
    lost: bool = False  # it was not told by its worker that it has ended


class Transition(NamedTuple):
    """A client has come, or has gone. `sequence` is one more with each of a token, as long as its entry stays; it
    begins with the time in Unix ms, so that it grows also behind an entry that has gone.
    """

    presence: Presence
    at: int  # Unix ms
    sequence: int
    reason: str | None = None  # why it has gone; None: it has come


class Ended(NamedTuple):
    """What a worker tells of a client that has gone."""

    presence: Presence
    reason: str


Change = tuple[Entry | None, list[Transition]]
#: What is kept, what is to be kept in its place, and what that means.
Swap = tuple[Entry | None, Entry, Sequence[Transition]]


def come(entry: Entry | None, presence: Presence, term: str, at: int) -> Change:
    """What is to be kept (None: all stays as it is) when a worker tells of a client, and what has happened."""
    if entry is None:
        sequence = at
        return Entry(presence, term, sequence, 1), [Transition(presence, at, sequence)]
    before = entry.presence.rank
    if presence.rank < before or (presence.rank == before and entry.ended is not None and not entry.lost):
        return None, []  # told late
    if entry.ended is None and presence.rank[:2] == before[:2]:
        return entry._replace(presence=presence, term=term, version=entry.version + 1), []
    told = []
    sequence = entry.sequence
    if entry.ended is None:
        sequence += 1
        told.append(Transition(entry.presence, at, sequence, REPLACED))
    sequence += 1
    told.append(Transition(presence, at, sequence))
    return Entry(presence, term, sequence, entry.version + 1), told


def gone(entry: Entry | None, ended: Ended, at: int) -> Change:
    """The same when a worker tells that a client has gone.

    It may be the first that is heard of it: then it has come, too, unless it was GIVEN away. Another worker that had it
    before may tell so later.
    """
    presence = ended.presence
    if ended.reason == GIVEN:
        here = presence.worker, presence.rank
        if entry is None or entry.ended is not None or (entry.presence.worker, entry.presence.rank) != here:
            return None, []
        return _end(entry, LOST, at, lost=True)
    if entry is not None:
        before = entry.presence.rank
        if before > presence.rank or (before == presence.rank and entry.ended is not None and not entry.lost):
            return None, []
    version = entry.version + 1 if entry is not None else 1
    told: list[Transition] = []
    if entry is None or entry.presence.rank[:2] != presence.rank[:2]:
        came, told = come(entry, presence, "", at)
        entry = came or entry
    assert entry is not None
    entry = entry._replace(presence=presence, version=version)
    if entry.ended is not None:
        return entry._replace(lost=False), told
    kept, went = _end(entry, ended.reason, at, lost=False)
    return kept._replace(version=version), told + went


def left_behind(entry: Entry | None, worker: str, but_term: str | None, at: int) -> Change:
    """The same when a worker is no more (`but_term` None), or has not told of it in its last whole report."""
    if entry is None or entry.ended is not None or entry.presence.worker != worker or entry.term == but_term:
        return None, []
    return _end(entry, LOST, at, lost=True)


def _end(entry: Entry, reason: str, at: int, *, lost: bool) -> tuple[Entry, list[Transition]]:
    sequence = entry.sequence + 1
    kept = entry._replace(sequence=sequence, version=entry.version + 1, ended=at, lost=lost)
    return kept, [Transition(entry.presence, at, sequence, reason)]


class PresenceStore(ABC):
    """The entries, and the workers that tell of them. May raise as every Storage does; from any thread.

    An entry counts while its worker's lease lives. Times are Unix ms.
    """

    # --- entries

    def come(self, presences: Iterable[Presence], term: str, at: int) -> list[Transition]:
        """These are connected."""
        by_token = {one.token: one for one in presences}
        return self._change(list(by_token), lambda token, entry: come(entry, by_token[token], term, at), at)

    def gone(self, ended: Iterable[Ended], at: int) -> list[Transition]:
        """These no longer are."""
        by_token = {one.presence.token: one for one in ended}
        return self._change(list(by_token), lambda token, entry: gone(entry, by_token[token], at), at)

    def end(self, worker: str, but_term: str | None, at: int) -> Iterator[list[Transition]]:
        """Nobody of this worker is there any more, but those of a term: as `ending` has named them, in parts.

        Stops as soon as the worker is heard of again, or begins another term.
        """

        def stands() -> bool:
            return self.term_of(worker, at) == but_term

        after = ""
        while stands() and (tokens := self.tokens_of(worker, after, CHUNK)):
            yield self._change(tokens, lambda _, entry: left_behind(entry, worker, but_term, at), at, stands)
            after = tokens[-1]

    def _change(
        self,
        tokens: Sequence[str],
        decide: Callable[[str, Entry | None], Change],
        at: int,
        stands: Callable[[], bool] = lambda: True,
    ) -> list[Transition]:
        """Compare and set: what another has changed meanwhile is decided anew, if that is still to be done."""
        told: list[Transition] = []
        for start in range(0, len(tokens), CHUNK):
            left = tokens[start : start + CHUNK]
            while left:
                entries = self.load(left)
                if not stands():
                    return told
                decided = [(token, entry, *decide(token, entry)) for token, entry in zip(left, entries, strict=True)]
                changed = [one for one in decided if one[2] is not None]
                swapped = self.swap([(entry, new, what) for _, entry, new, what in changed if new is not None], at)
                told += [
                    one for (*_, transitions), done in zip(changed, swapped, strict=True) if done for one in transitions
                ]
                left = [token for (token, *_), done in zip(changed, swapped, strict=True) if not done]
        return told

    def present(self, tokens: Sequence[str], now: int) -> list[Presence | None]:
        """Who of these is connected."""
        entries = [
            entry for start in range(0, len(tokens), CHUNK) for entry in self.load(tokens[start : start + CHUNK])
        ]
        live = set(self.workers(now))
        return [
            entry.presence if entry and entry.ended is None and entry.presence.worker in live else None
            for entry in entries
        ]

    @abstractmethod
    def load(self, tokens: Sequence[str]) -> list[Entry | None]:
        """What is kept of these."""

    @abstractmethod
    def swap(self, changes: Sequence[Swap], at: int) -> list[bool]:
        """Put the second where the first is still kept; whether it was. Then its transitions are events, too, which
        go into the outbox where events are kept: `finish` puts in what is missing if this is cut off.
        """

    @abstractmethod
    def finish(self, now: int) -> None:
        """Events of changes that were cut off a while ago go into the outbox."""

    @abstractmethod
    def tokens_of(self, worker: str, after: str, most: int) -> list[str]:
        """At most so many tokens of a worker, in order, behind `after`; some may have ended or be with another."""

    @abstractmethod
    def tokens_of_user(self, uid: str, after: str, most: int) -> list[str]:
        """The same of the clients that were bound for a user."""

    # --- workers

    @abstractmethod
    def report(self, worker: str, term: str, number: int, lease_ms: int, now: int, *, begin: bool) -> bool:
        """Renew the lease. False: this is not the report behind the last one, and the whole is wanted."""

    @abstractmethod
    def told_whole(self, worker: str, term: str, now: int) -> None:
        """The last part of the whole has been put in."""

    @abstractmethod
    def workers(self, now: int) -> list[str]:
        """Those whose lease lives."""

    @abstractmethod
    def term_of(self, worker: str, now: int) -> str | None:
        """Of its last report; None: its lease has lapsed."""

    @abstractmethod
    def ending(self, now: int, grace_ms: int) -> list[tuple[str, str | None]]:
        """(worker, None) of those whose lease has lapsed; (worker, term) where leftovers of other terms are due.

        They are due `grace_ms` after the whole: who was given to another worker has been told of by that one then.
        """

    @abstractmethod
    def forget(self, worker: str, term: str | None, now: int) -> None:
        """What `ending` named has been ended; does nothing where it would not name it any more."""

    @abstractmethod
    def renew(self, lease_ms: int, now: int) -> None:
        """All workers that are known live for a lease from now on: nobody could hear them meanwhile."""

    @abstractmethod
    def purge(self, now: int) -> None:
        """Entries that have ended long ago may go."""
