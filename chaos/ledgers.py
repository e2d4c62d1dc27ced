"""What was pushed against what was received. Pure: lists in, findings out."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from chaos.roles import Role, has_ids, role_of
from shared.outcomes import Outcome

DELIVERED = frozenset({Outcome.SENT, Outcome.BUFFERED, Outcome.ACKED})

#: As in ledger.h.
ENTRY = struct.Struct("=QIIII")
REASONS = (
    *("nothing said", "replaced", "shutdown", "worker_lost", "slow_consumer", "heartbeat_timeout", "hello_timeout"),
    *("unavailable", "kicked", "rejected", "bad_protocol", "bad_body", "too_large", "internal_error"),
)

#: Nanoseconds that the two ends of a connection may differ in when they see its end or beginning.
_APART_NS = 1_000_000_000
#: Whatever a fast client is sent has arrived after this.
_ARRIVAL_NS = 5_000_000_000


class What(IntEnum):
    """Kinds of entries."""

    PUSHED = 0
    BOUND = 1
    LOST = 2


class Entry(NamedTuple):
    """One line of a client's ledger."""

    ns: int
    client: int
    number: int
    id: int
    what: int


def entries(data: bytes) -> Iterable[Entry]:
    """Those of a ledger file."""
    return map(Entry._make, ENTRY.iter_unpack(data[: len(data) // ENTRY.size * ENTRY.size]))


@dataclass(slots=True)
class Pushed:
    """One push: who sent it to whom, when, and what the sender was told. `number` is its place in the log."""

    sender: int
    client: int
    sent_ns: int
    answered_ns: int = 0
    outcome: int = -1  # -1: none


@dataclass(slots=True)
class Finding:
    """Counts for the clients of one role, or for all."""

    clients: int = 0
    pushes: int = 0
    received: int = 0
    disconnects: int = 0
    unmarked: int = 0  # of these, neither amid a message, nor with an answer owed, nor slow
    disconnected_by: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: int = 0  # outcomes other than SENT, BUFFERED, ACKED, to a client that was connected
    failed_by: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    lost: int = 0
    duplicated: int = 0  # copies to clients that cannot tell, or with another id
    copies_left: int = 0  # of these, to clients that had asked for ids
    copies_dropped: int = 0  # by clients, which had asked for ids
    out_of_order: int = 0
    untrue: int = 0  # received, though the sender was told that it was not delivered
    slowest_ticket_ms: float = 0.0
    slowest_receipt_ms: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Finding") -> None:
        """Sums, and the worse of each time."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for key, value in theirs.items():
                    mine[key] = mine.get(key, 0) + value
            elif isinstance(mine, float):
                setattr(self, name, max(mine, theirs))
            elif isinstance(mine, list):
                mine += theirs[: max(0, 5 - len(mine))]
            else:
                setattr(self, name, mine + theirs)


#: Whether an outcome other than SENT, BUFFERED and ACKED is what it should be.
Excuse = Callable[[Pushed], bool]


def nothing_excused(push: Pushed) -> bool:
    """Every push must be delivered."""
    return False


class Comparison:
    """Every push's outcome against what its client saw. Times count of pushes sent at `timed_from_ns` or later."""

    def __init__(self, pushes: list[Pushed], excused: Excuse = nothing_excused, timed_from_ns: int = 0) -> None:
        self._pushes, self._excused, self._timed_from_ns = pushes, excused, timed_from_ns

    def by_role(self, seen: Iterable[Entry], clients: Iterable[int]) -> dict[Role, Finding]:
        """The findings. `seen` has what each client saw in its order."""
        findings = {role: Finding() for role in Role}
        sent: dict[int, list[int]] = {client: [] for client in clients}
        got: dict[int, list[Entry]] = {client: [] for client in sent}
        for number, push in enumerate(self._pushes):
            sent[push.client].append(number)
        for entry in seen:
            got[entry.client].append(entry)
        for client, numbers in sent.items():
            findings[role_of(client)].add(self._of_client(client, numbers, got[client]))
        return findings

    def _of_client(self, client: int, numbers: list[int], seen: list[Entry]) -> Finding:
        finding = Finding(clients=1, pushes=len(numbers))
        ends = [entry for entry in seen if entry.what == What.LOST]
        finding.disconnects = len(ends)
        finding.unmarked = sum(end.id == 0 for end in ends) if role_of(client) is not Role.SLOW else 0
        for end in ends:
            _count(finding.disconnected_by, REASONS[end.number])
        first = self._receipts(client, seen, finding)
        for number in numbers:
            self._look_at(number, first.get(number), seen, finding)
        return finding

    def _receipts(self, client: int, seen: list[Entry], finding: Finding) -> dict[int, Entry]:
        """The first receipt of each push; copies and order are looked at on the way."""
        first: dict[int, Entry] = {}
        newest: dict[int, int] = {}  # by sender
        for entry in seen:
            if entry.what != What.PUSHED:
                continue
            push = self._pushes[entry.number] if entry.number < len(self._pushes) else None
            if push is None or push.client != client:
                finding.untrue += 1
                finding.examples.append(f"client {client} got push {entry.number}, which is not its own")
            elif entry.number in first:
                _copy(entry, first[entry.number], finding)
            else:
                first[entry.number] = entry
                before = newest.get(push.sender, -1)
                if entry.number < before:
                    finding.out_of_order += 1
                    finding.examples.append(f"client {client} got push {entry.number} after {before}")
                newest[push.sender] = max(entry.number, before)
        finding.received = len(first)
        return first

    def _look_at(self, number: int, receipt: Entry | None, seen: list[Entry], finding: Finding) -> None:
        """One push: is what its sender was told true, and as it should be?"""
        push = self._pushes[number]
        if push.outcome < 0:
            finding.unanswered += 1
            finding.examples.append(f"push {number} to client {push.client} has no outcome")
            return
        name = Outcome(push.outcome).name
        about = f"push {number} to client {push.client} was {name}"
        _count(finding.outcomes, name)
        self._time(push, receipt, finding)
        if push.outcome in DELIVERED:
            if receipt is None and not _ended_meanwhile(push, seen):
                finding.lost += 1
                finding.examples.append(f"{about} and did not come")
            return
        if receipt and push.outcome != Outcome.UNKNOWN:
            finding.untrue += 1
            finding.examples.append(f"{about} and came")
        if not self._excused(push) and not (push.outcome == Outcome.OFFLINE and _was_away(push, seen)):
            finding.failures += 1
            _count(finding.failed_by, name)
            finding.examples.append(about)

    def _time(self, push: Pushed, receipt: Entry | None, finding: Finding) -> None:
        if push.sent_ns < self._timed_from_ns:
            return
        finding.slowest_ticket_ms = max(finding.slowest_ticket_ms, (push.answered_ns - push.sent_ns) / 1e6)
        if receipt:
            finding.slowest_receipt_ms = max(finding.slowest_receipt_ms, (receipt.ns - push.sent_ns) / 1e6)


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _copy(copy: Entry, first: Entry, finding: Finding) -> None:
    """A push that came before. A client that asked for ids knows a copy by them."""
    if has_ids(copy.client) and copy.id == first.id:
        finding.copies_dropped += 1
        return
    finding.duplicated += 1
    finding.copies_left += has_ids(copy.client)
    finding.examples.append(f"client {copy.client} got push {copy.number} twice")


def _ended_meanwhile(push: Pushed, seen: list[Entry]) -> bool:
    """Whether a connection that it can have been given to has ended before it had to be there."""
    deadline = float("inf") if role_of(push.client) is Role.SLOW else push.answered_ns + _ARRIVAL_NS
    return any(entry.what == What.LOST and push.sent_ns - _APART_NS <= entry.ns <= deadline for entry in seen)


def _was_away(push: Pushed, seen: list[Entry]) -> bool:
    """Whether the client was not connected at some moment while the push was under way.

    The end of a connection lies behind what a slow client has not read yet: it may be long past when it is seen.
    """
    is_slow = role_of(push.client) is Role.SLOW
    since = None
    for entry in seen:
        if entry.what == What.LOST:
            since = 0 if is_slow else entry.ns - _APART_NS
        elif entry.what == What.BOUND and since is not None:
            if since <= push.answered_ns and entry.ns + _APART_NS >= push.sent_ns:
                return True
            since = None
    return since is not None and since <= push.answered_ns
