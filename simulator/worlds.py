"""One simulated world: its clock, what is to happen and when, its chance, its trace, and what it found broken.

Nothing in a world comes from outside: time is `now`, chance comes from the seed. So a seed replays exactly.
"""

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from simulator.processes import Process

#: Monotonic seconds, and Unix milliseconds at that moment, when a world begins.
BEGINS_AT = 1000.0
UNIX_MS = 1_800_000_000_000
#: Last events shown with a violation.
_SHOWN = 60
#: Longest text of a line.
_LINE = 300


class Violation(NamedTuple):
    """A promise that was broken."""

    promise: str
    at: float
    what: str


class Event(NamedTuple):
    """One line of the trace; made into text only when it is shown."""

    at: float
    who: str
    what: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        text = (self.what % self.arguments if self.arguments else self.what)[:_LINE]
        return f"{self.at - BEGINS_AT:9.4f} {self.who:<12} {text}"


class World:
    """Clock, events to come, chance, trace. `trace_all`: keep the whole trace, not its end alone."""

    def __init__(self, seed: int, trace_all: bool = False) -> None:
        self.seed = seed
        self.now = BEGINS_AT
        self.shows_all = trace_all
        self.current: Process | None = None
        self.steps = 0
        self.violations: list[Violation] = []
        self.trace: deque[Event] = deque(maxlen=None if trace_all else 400)
        self.digest = 0
        self.network = self.chance("network")
        self.entropy = self.chance("entropy")
        self.exchange: Any = None  # simulator.bus.Exchange
        #: Hears why a process ends a connection.
        self.closing: Callable[[Process, Any, str], None] = lambda process, connection, reason: None
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._serial = 0

    def chance(self, purpose: str) -> random.Random:
        """A source of its own for each purpose, so that a change in one does not shift the others."""
        return random.Random(f"{self.seed} {purpose}")

    def at(self, when: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Call at that time; what is due at the same time comes in the order it was asked for."""
        self._serial += 1
        heappush(self._events, (max(when, self.now), self._serial, callback, arguments))

    def after(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> None:
        self.at(self.now + seconds, callback, *arguments)

    def run_until(self, when: float) -> None:
        """Let time go on; stops early at the first violation."""
        events = self._events
        while events and events[0][0] <= when and not self.violations:
            self.now, _, callback, arguments = heappop(events)
            self.steps += 1
            callback(*arguments)
        if not self.violations:
            self.now = max(self.now, when)

    # --- what is seen

    def note(self, who: str, what: str, *arguments: Any) -> None:
        """A line for the trace, in the style of logging."""
        self.trace.append(Event(self.now, who, what, arguments))
        self.digest = (self.digest * 31 + int(self.now * 1e6) + len(what) + self._serial) & 0xFFFFFFFFFFFF

    def detail(self, who: str, what: str, *arguments: Any) -> None:
        """The same for what is only shown when all is shown."""
        if self.shows_all:
            self.trace.append(Event(self.now, who, what, arguments))

    def broken(self, promise: str, what: str) -> None:
        """A promise is broken: the run ends."""
        self.violations.append(Violation(promise, self.now, what))
        self.note("PROMISE", "%s: %s", promise, what)

    def last_events(self) -> list[str]:
        return [str(event) for event in list(self.trace)[-_SHOWN:]]


class _Present:
    """Which world the simulated system calls belong to."""

    world: World


def enter(world: World) -> None:
    """From now on, system calls are made in this world."""
    _Present.world = world


def present() -> World:
    return _Present.world


def caller() -> "Process":
    """The process that runs now."""
    process = _Present.world.current
    assert process is not None, "a system call outside of any process"
    return process
