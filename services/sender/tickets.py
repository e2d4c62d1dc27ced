"""Tickets: what a caller holds until its push or question is answered. Pure: the shell lends the waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from shared.errors import SenderError
from shared.outcomes import Outcome

if TYPE_CHECKING:
    from services.sender.options import OptionSet

T = TypeVar("T")


class Signal(Protocol):
    """What a caller waits on: a threading.Event or a gevent one."""

    def set(self) -> None: ...


class Shell(Protocol):
    """The part of a Sender that its tickets need."""

    def wait_for(self, ticket: Ticket[Any], timeout: float | None) -> bool:
        """Blocks until the ticket is answered (True) or `timeout` seconds have passed (False)."""

    def call_when_done(self, ticket: Ticket[Any], callback: Callable[[Any], None]) -> None:
        """Has `callback(ticket)` called, at once if the ticket is answered already."""


class Ticket(Generic[T]):
    """One answer to come. Made by a Sender; like a Future, but a tenth of its price."""

    __slots__ = ("callbacks", "deadline", "error", "shell", "signal", "value")

    def __init__(self, shell: Shell | None, deadline: float) -> None:
        self.shell, self.deadline = shell, deadline
        self.value: T | None = None
        self.error: SenderError | None = None
        self.signal: Signal | None = None
        self.callbacks: list[Callable[[Any], None]] | None = None

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        return self.value is not None or self.error is not None

    def result(self, timeout: float | None = None) -> T:
        """The answer. Blocks up to `timeout` seconds; raises SenderError, `timed_out` among others."""
        if self.value is None and self.error is None:
            assert self.shell is not None
            if not self.shell.wait_for(self, timeout):
                raise SenderError("timed_out", f"no answer within {timeout:g} s")
        if self.error is not None:
            raise self.error
        assert self.value is not None
        return self.value

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Has `callback(ticket)` called from the sender's own thread or greenlet: it must not block."""
        assert self.shell is not None
        self.shell.call_when_done(self, callback)


class Push(Ticket[Outcome]):
    """One push on its way. `detail` holds the counts of a push to all, `place` its request's `id` and index."""

    __slots__ = ("detail", "options", "payload", "place", "target")

    def __init__(self, shell: Shell | None, deadline: float, target: bytes, payload: bytes, options: OptionSet) -> None:
        self.shell, self.deadline = shell, deadline
        self.target, self.payload, self.options = target, payload, options
        self.value = self.error = self.signal = self.callbacks = None
        self.detail: dict[str, int] | None = None
        self.place: tuple[str, int] | None = None

    @property
    def size(self) -> int:
        """Bytes that it takes in a request."""
        return len(self.target) + len(self.payload)


class Question(Ticket[Any]):
    """A FIND1, KICK1 or STAT1 on its way; the answer is INFO1's JSON."""

    __slots__ = ("arguments", "command")

    def __init__(self, shell: Shell | None, deadline: float, command: bytes, arguments: list[bytes]) -> None:
        super().__init__(shell, deadline)
        self.command, self.arguments = command, arguments
