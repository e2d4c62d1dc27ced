"""Pushes whose senders say where they come from: what is known of their way, for a line in the log and for traces.

Pure. Nothing of this exists for other pushes.
"""

from typing import NamedTuple

from shared.origins import Origin
from shared.outcomes import Outcome

#: Of one request; a push to many may take any number of batches.
HOPS_MAX = 64

#: Outcomes that are no reason for a second look.
_USUAL = bytes(
    [Outcome.SENT, Outcome.ACKED, Outcome.STORED, Outcome.OFFLINE, Outcome.BUFFERED],
)


class Hop(NamedTuple):
    """A batch on its way to a worker. Router's times in monotonic seconds, the worker's in Unix microseconds."""

    worker: str
    pushes: int  # of this request
    sent_at: float
    answered_at: float
    began_us: int
    ended_us: int


class Journey:
    """A request with an origin. `since`: monotonic seconds."""

    __slots__ = ("hops", "kind", "origin", "sender", "since")

    def __init__(self, origin: Origin, kind: str, sender: bytes | None, since: float) -> None:
        self.origin, self.kind, self.since = origin, kind, since
        self.sender = (sender or b"").decode(errors="backslashreplace")
        self.hops: list[Hop] = []

    def pass_worker(self, hop: Hop) -> None:
        """A worker has said what became of a batch."""
        if len(self.hops) < HOPS_MAX:
            self.hops.append(hop)


class Arrival(NamedTuple):
    """The end of a journey, at `now` (monotonic seconds): the outcomes, or why there are none."""

    journey: Journey
    now: float
    outcomes: bytes
    fault: str = ""  # code of a FAIL1
    repeat: str = ""  # its `id` was known

    @property
    def is_usual(self) -> bool:
        """Whether nothing is out of the ordinary."""
        return not self.fault and not self.outcomes.strip(_USUAL)

    def counts(self) -> dict[str, int]:
        """How many pushes have had which outcome."""
        found = {each.name: self.outcomes.count(each) for each in Outcome}
        return {name: count for name, count in found.items() if count}
