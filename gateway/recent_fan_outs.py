"""The fan-outs that a worker has begun, kept for a moment: for clients on their way here, and for copies. Pure.

By target, so that a client which moves has only those looked at that may concern it.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.connections import Connection, FanOutsSeen
from gateway.fan_outs_seen import seen_of
from gateway.groups import Groups
from shared.bus import REPEATABLE, FanOut, Target
from shared.outcomes import Outcome

#: They are kept this long (ticks), so many, and so many bytes. A hand-over takes milliseconds.
KEEP_TICKS = 10
KEEP_MOST = 1000
KEEP_BYTES = 16 << 20

NAMES = {
    Outcome.SENT: "sent",
    Outcome.BUFFERED: "buffered",
    Outcome.OVERLOADED: "overloaded",
    Outcome.REFUSED: "refused",
    Outcome.TOO_LARGE: "too_large",
    Outcome.ACKED: "acked",
    Outcome.STORED: "stored",
    Outcome.OFFLINE: "offline",
}


@dataclass(slots=True, eq=False)
class Running:
    """A fan-out, from its arrival until it is forgotten."""

    router: int
    fan_out: FanOut
    tick: int
    came_at: float  # monotonic, s
    reports: list[tuple[int, int]]  # router and number: its own, and those of copies that came while it ran
    latest: FanOutsSeen  # what has been seen of all routers by who has seen this one
    #: What a record has seen behind it, by what it had seen before: shared objects.
    after: dict[FanOutsSeen, FanOutsSeen] = field(default_factory=dict)
    order: int = 0  # among all that came
    mark: int = 0  # 0: it has not begun
    at: int = 0  # next record to look at
    members: list[Connection] | None = None  # of its target, as they were when it began
    waiting: set[Connection] = field(default_factory=set)  # they may be members
    gone: int = 0  # those of whom nobody will know whether they are members, or have it
    blind: bool = False  # nobody could be asked who is a member
    done: bool = False
    told: bool = False
    counts: dict[str, int] = field(default_factory=lambda: {"matched": 0, **dict.fromkeys(NAMES.values(), 0)})
    encoded: dict[int, bytes | int] = field(default_factory=dict)

    def report(self) -> dict[str, int]:
        """What became of it, and how many may still get it, or may have missed it."""
        counts, unknown = dict(self.counts), len(self.waiting) + self.gone
        if unknown or self.blind:
            counts["unknown"] = unknown
        if self.blind:
            counts["blind"] = 1
        return counts


class RecentFanOuts:
    """In order of arrival."""

    def __init__(self) -> None:
        self._order: deque[Running] = deque()
        self._added = self._bytes = 0
        self._by_number: dict[tuple[int, int], Running] = {}
        self._by_prefix: dict[bytes, Running] = {}  # of those that may be repeated
        self._by_target: defaultdict[Target | None, dict[Running, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Running]:
        return iter(self._order)

    def add(self, running: Running) -> None:
        """One has come."""
        fan_out = running.fan_out
        self._added += 1
        running.order = self._added
        self._order.append(running)
        self._bytes += len(fan_out.payload)
        self._by_number[running.router, fan_out.number] = running
        if fan_out.segment.flags & REPEATABLE:
            self._by_prefix[fan_out.segment.id_prefix] = running
        self._by_target[fan_out.target][running] = None

    def numbered(self, router: int, number: int) -> Running | None:
        """The one of this number."""
        return self._by_number.get((router, number))

    def copied_by(self, fan_out: FanOut) -> Running | None:
        """The one of which this is a repeat."""
        return self._by_prefix.get(fan_out.segment.id_prefix) if fan_out.segment.flags & REPEATABLE else None

    def missed_by(self, connection: Connection, groups: Groups) -> list[Running]:
        """Those that a client has not seen and may have to get, in order."""
        targets: list[Target | None] = [None]
        if connection.uid is not None:
            targets.append(Target("uid", connection.uid))
        if connection in groups.unknown:
            targets += [target for target in self._by_target if target and target.kind == "group"]
        else:
            targets += [Target("group", group) for group in groups.groups_of(connection)]
        seen, found = connection.fan_out_seen, []
        for target in targets:
            for running in self._by_target.get(target, ()):
                if running.fan_out.number > seen_of(seen, running.router):
                    found.append(running)
        return found if len(targets) == 1 else sorted(found, key=lambda running: running.order)

    def forget(self, tick: int, running: Running | None, forgotten: Callable[[Running], None]) -> None:
        """Drop the oldest for their age, or to make room, up to the one that runs now."""
        while self._order and self._order[0] is not running:
            oldest = self._order[0]
            if tick - oldest.tick < KEEP_TICKS and self._bytes <= KEEP_BYTES and len(self._order) <= KEEP_MOST:
                return
            self._drop(self._order.popleft())
            forgotten(oldest)

    def _drop(self, oldest: Running) -> None:
        fan_out = oldest.fan_out
        self._bytes -= len(fan_out.payload)
        if self._by_number.get((oldest.router, fan_out.number)) is oldest:
            del self._by_number[oldest.router, fan_out.number]
        if self._by_prefix.get(fan_out.segment.id_prefix) is oldest:
            del self._by_prefix[fan_out.segment.id_prefix]
        same = self._by_target[fan_out.target]
        del same[oldest]
        if not same:
            del self._by_target[fan_out.target]
