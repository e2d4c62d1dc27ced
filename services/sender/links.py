"""The link to a router: which of those listed, how far it is, and when the next one is tried."""

from collections.abc import Sequence
from enum import Enum

from services.sender.policies import Policy


class State(Enum):
    """Of the link."""

    PAUSING = "pausing"  # no connection; one is opened when the pause is over
    OPENING = "opening"  # the shell is asked to open one
    GREETING = "greeting"  # HELLO1 said, not answered
    READY = "ready"
    CLOSED = "closed"


class Link:
    """One router at a time. Opening is tried at once on each router listed, then in rounds with growing pauses."""

    def __init__(self, endpoints: Sequence[str], policy: Policy) -> None:
        self.endpoints = list(endpoints)
        self.state = State.OPENING
        self.last_fault = ""
        #: When there is something to do, monotonic seconds; past as long as a connection is to be opened.
        self.deadline = 0.0
        self._policy = policy
        self._current = 0
        # Connections since a router last answered a request: one that only says HELLO1 is no good.
        self._failures = 0
        self._hello_due = False

    @property
    def endpoint(self) -> str:
        """The router in use, or tried."""
        return self.endpoints[self._current]

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY

    def greet(self, now: float) -> None:
        """HELLO1 is to be said: on a new connection, or because the router asked for it."""
        self.state, self._hello_due = State.GREETING, True
        self.deadline = now + self._policy.hello_timeout_s

    def take_hello_due(self) -> bool:
        """Whether HELLO1 is to be sent now."""
        due, self._hello_due = self._hello_due and self.state is State.GREETING, False
        return due

    def welcome(self) -> None:
        """HELLO1 was answered."""
        if self.state is State.GREETING:
            self.state, self.deadline, self.last_fault = State.READY, float("inf"), ""

    def praise(self) -> None:
        """The router has answered a request."""
        self._failures = 0

    def lose(self, now: float, fault: str) -> bool:
        """The connection has ended, or could not be made. False if there was none any more."""
        if self.state not in (State.GREETING, State.READY):
            return False
        self.last_fault = fault
        self._current = (self._current + 1) % len(self.endpoints)
        rounds, rest = divmod(self._failures, len(self.endpoints))
        self._failures += 1
        self.state = State.PAUSING
        self.deadline = now if rest or not rounds else now + self._policy.backoff(rounds)
        return True

    def look_at_deadline(self, now: float) -> str | None:
        """Ends a pause that is over; a router's fault if it owes the answer to HELLO1 for too long."""
        if now < self.deadline:
            return None
        if self.state is State.PAUSING:
            self.state = State.OPENING
        elif self.state is State.GREETING:
            return f"no answer to HELLO1 within {self._policy.hello_timeout_s:g} s"
        return None

    def close(self) -> None:
        """The end."""
        self.state, self.deadline = State.CLOSED, float("inf")
