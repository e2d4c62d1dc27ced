"""The link to one router: how far it is, when it is heard, what waits to be sent on it."""

from collections import deque
from collections.abc import Callable
from enum import Enum

from services.library.policies import Policy
from shared.calls import BEAT1


class State(Enum):
    """Of the link."""

    PAUSING = "pausing"  # no connection; one is opened when the pause is over
    OPENING = "opening"  # the shell is asked to open one
    GREETING = "greeting"  # SERVE1 said, not answered
    SERVING = "serving"
    CLOSED = "closed"


class Link:
    """A service has one to each router. A connection that is lost is followed by a new one: its next life."""

    def __init__(self, endpoint: str, policy: Policy, beat: Callable[[], list[bytes]] = lambda: [BEAT1]) -> None:
        """`beat` makes the message that is said once in a heartbeat."""
        self.endpoint = endpoint
        self.state = State.OPENING
        self.life = 0
        self.last_fault = ""
        #: Questions after which the router has said all that it had to say before, and has read all that was sent.
        self.echoes_awaited = 0
        #: How many of them need not be waited for any more, since the start.
        self.echoes_over = 0
        self.outbox: deque[list[bytes]] = deque()
        self._policy, self._beat = policy, beat
        self._heartbeat_s, self._timeout_s = policy.heartbeat_s, policy.timeout_s
        self._resume_at = self._heard_at = self._next_beat = 0.0
        self._failures = 0

    @property
    def is_serving(self) -> bool:
        return self.state is State.SERVING

    @property
    def is_connected(self) -> bool:
        return self.state in (State.GREETING, State.SERVING)

    def open(self, now: float, greeting: list[bytes]) -> None:
        """A new connection, perhaps not complete yet; `greeting` goes first."""
        self.state = State.GREETING
        self.life += 1
        self.outbox.append(greeting)
        self._heard_at, self._next_beat = now, now + self._heartbeat_s

    def welcome(self, heartbeat_s: float, timeout_s: float) -> bool:
        """SERVING1 has come. True: it is the first one."""
        was_serving, self.state = self.is_serving, State.SERVING
        self._heartbeat_s, self._timeout_s = heartbeat_s, timeout_s
        self._next_beat = min(self._next_beat, self._heard_at + heartbeat_s)
        self._failures, self.last_fault = 0, ""
        return not was_serving

    def hear(self, now: float) -> None:
        """Anything has come."""
        self._heard_at = now

    def lose(self, now: float, fault: str) -> bool:
        """The connection has ended, or could not be made. False: there was none any more."""
        if not self.is_connected:
            return False
        self._failures += 1
        self.state, self.last_fault = State.PAUSING, fault
        self._resume_at = now + self._policy.backoff(self._failures)
        self._end_echoes()
        self.outbox.clear()
        return True

    def close(self) -> None:
        """The end."""
        self.state = State.CLOSED
        self._end_echoes()
        self.outbox.clear()

    def await_echo(self, question: list[bytes]) -> int:
        """Ask one; when `echoes_over` has come to the number that is returned, it has been answered, or never will."""
        self.outbox.append(question)
        self.echoes_awaited += 1
        return self.echoes_over + self.echoes_awaited

    def hear_echo(self) -> None:
        """The answer to the oldest."""
        if self.echoes_awaited:
            self.echoes_awaited -= 1
            self.echoes_over += 1

    def _end_echoes(self) -> None:
        self.echoes_over += self.echoes_awaited
        self.echoes_awaited = 0

    def look(self, now: float) -> str | None:
        """Ends a pause that is over, says BEAT1 when it is time; the fault of a router that is silent for too long."""
        if self.state is State.PAUSING and now >= self._resume_at:
            self.state = State.OPENING
        elif self.is_connected:
            if now >= self._heard_at + self._timeout_s:
                return f"silent for {self._timeout_s:g} s"
            if now >= self._next_beat:
                self._next_beat = now + self._heartbeat_s
                self.outbox.append(self._beat())
        return None

    @property
    def deadline(self) -> float:
        """When there is something to do, monotonic seconds."""
        if self.is_connected:
            return min(self._next_beat, self._heard_at + self._timeout_s)
        return {State.PAUSING: self._resume_at, State.OPENING: 0.0}.get(self.state, float("inf"))
