"""Requests under way: what was sent, what must be sent again, and when."""

from collections.abc import Collection, Sequence

from services.sender.tickets import Push, Question
from shared.outcomes import Outcome
from shared.requests import PUSH2, pack_targets

_OUTCOMES = tuple(Outcome)

#: A second try changes nothing: the holder, or the cache, knows the push.
_ARRIVED = frozenset({Outcome.SENT, Outcome.ACKED, Outcome.STORED, Outcome.BUFFERED})
#: True of one attempt; another one, that was lost, may have done better.
_OF_ONE_ATTEMPT = frozenset({Outcome.OFFLINE, Outcome.EXPIRED, Outcome.OVERLOADED, Outcome.UNAVAILABLE})


class Request:
    """A request that has no answer yet. `serial` is the place in the order of sending, 0 before it is sent."""

    __slots__ = ("attempts", "number", "sent_at", "serial", "timeout_s")

    def __init__(self, number: int, timeout_s: float) -> None:
        self.number, self.timeout_s = number, timeout_s
        self.attempts = 0  # answered attempts
        self.serial = 0
        self.sent_at = 0.0

    @property
    def request_id(self) -> bytes:
        """New for each attempt, so that a late answer to an earlier one is not mistaken; not new for a resending."""
        return b"%d.%d" % (self.number, self.attempts)

    def frames(self, tells_origin: bool = True, sent_at: int = 0) -> list[bytes]:
        """`tells_origin`: the router knows where pushes come from. `sent_at`: Unix us; 0: it does not want to know."""
        raise NotImplementedError

    def deadline(self) -> float:
        """When it is given up, in monotonic seconds."""
        raise NotImplementedError

    def mark_lost(self) -> None:
        """It was sent, and the answer will not come."""


class Inquiry(Request):
    """FIND1, KICK1 or STAT1."""

    __slots__ = ("question",)

    def __init__(self, number: int, question: Question, timeout_s: float) -> None:
        super().__init__(number, timeout_s)
        self.question = question

    def frames(self, tells_origin: bool = True, sent_at: int = 0) -> list[bytes]:
        return [self.question.command, self.request_id, *self.question.arguments]

    def deadline(self) -> float:
        return self.question.deadline


class Batch(Request):
    """A PUSH2 with the pushes in it. Content and `id` stay the same however often it is sent."""

    __slots__ = ("_body", "_doubts", "_last", "key", "pending", "pushes")

    def __init__(self, number: int, key: str, pushes: Sequence[Push]) -> None:
        options = pushes[0].options
        super().__init__(number, options.timeout_s)
        self.pushes = pushes
        for index, push in enumerate(pushes):
            push.place = (key, index)
        self.key = key
        self._body = pack_targets([(push.target, push.payload) for push in pushes])
        self.pending: Sequence[int] = range(len(pushes))
        # Positions that may have been delivered although nobody could say so.
        self._doubts: set[int] = set()
        self._last: Sequence[Outcome] = ()

    def frames(self, tells_origin: bool = True, sent_at: int = 0) -> list[bytes]:
        options = self.pushes[0].options.with_id(self.key, tells_origin, sent_at)
        return [PUSH2, self.request_id, options, *self._body]

    def deadline(self) -> float:
        # The latest of its pushes': they share its fate, and none is given up early.
        return max([self.pushes[position].deadline for position in self.pending])

    def mark_lost(self) -> None:
        self._doubts.update(self.pending)

    def settle(self, answer: bytes, repeat: Collection[Outcome]) -> list[tuple[Push, Outcome]]:
        """Takes one outcome byte per push; returns what is final.

        With an outcome of `repeat` among them, the whole request is to be sent again (`pending` is not empty). Then
        only pushes that have arrived are final: the router tries those with 5, 7 and 10 again, and another router,
        which does not know the request, all of them.
        """
        self.attempts += 1
        if not answer.strip(b"\0"):
            return self._finish(self.pending, [Outcome.SENT] * len(answer))
        outcomes = [_OUTCOMES[byte] if byte < len(_OUTCOMES) else Outcome.UNKNOWN for byte in answer]
        if not any(outcomes[position] in repeat for position in self.pending):
            return self._finish(self.pending, outcomes)
        again = [position for position in self.pending if outcomes[position] not in _ARRIVED]
        final = self._finish([position for position in self.pending if outcomes[position] in _ARRIVED], outcomes)
        self._doubts.update([position for position in again if outcomes[position] is Outcome.UNKNOWN])
        self.pending, self._last = again, outcomes
        return final

    def give_up(self) -> list[tuple[Push, Outcome]]:
        """What can be said of the pending pushes when nobody waits for the answer any longer."""
        return self._finish(self.pending, self._last or [Outcome.UNAVAILABLE] * len(self.pushes))

    def _finish(self, positions: Sequence[int], outcomes: Sequence[Outcome]) -> list[tuple[Push, Outcome]]:
        """Outcomes told as they are, except that 'not delivered' is not said of a push that an earlier attempt lost."""
        self.pending, pushes = (), self.pushes
        if not self._doubts:
            return [(pushes[position], outcomes[position]) for position in positions]
        return [(pushes[position], self._in_doubt(position, outcomes[position])) for position in positions]

    def _in_doubt(self, position: int, outcome: Outcome) -> Outcome:
        return Outcome.UNKNOWN if position in self._doubts and outcome in _OF_ONE_ATTEMPT else outcome
