"""A service's own calls, until each has its answer."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from services.library.calls import Returned
from services.library.policies import Policy
from shared.calls import ASK1, encode_call
from shared.signals import PublishError


class Ask:
    """One of them. `told` is called with its answer, from the loop's thread and with no lock held.

    `again`: it may be done twice, so it goes over another link when that over which it went is lost.
    """

    __slots__ = ("again", "body", "head", "link", "told", "until")

    def __init__(
        self, head: dict[str, Any], body: bytes, until: float, told: Callable[[Returned], None], again: bool = False
    ) -> None:
        self.head, self.body, self.until, self.told, self.again = head, body, until, told, again
        self.link = -1  # over which it went; none yet


class Told(NamedTuple):
    """An answer to be passed on by `ask.told(answer)`."""

    ask: Ask
    answer: Returned


class Asks:
    """Open calls by number; they go over the first link that serves, in order."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._open: dict[int, Ask] = {}
        self._unsent: deque[int] = deque()
        self._told: list[Told] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._open)

    def put(self, ask: Ask) -> None:
        """Takes one, or tells QUEUE_FULL."""
        if len(self._open) >= self._policy.asks_max:
            self._told.append(Told(ask, Returned(PublishError.QUEUE_FULL)))
            return
        self._number += 1
        self._open[self._number] = ask
        self._unsent.append(self._number)

    def take_unsent(self, link: int) -> list[list[bytes]]:
        """ASK1 for what waits for a link."""
        messages = []
        while self._unsent:
            number = self._unsent.popleft()
            if ask := self._open.get(number):
                ask.link = link
                messages.append(encode_call(ASK1, number, ask.head, ask.body))
        return messages

    def answer(self, number: int, answer: Returned, link: int) -> bool:
        """TOLD1 of a router. False: it is not that router's to answer, or too late."""
        ask = self._open.get(number)
        if ask is None or ask.link != link:
            return False
        del self._open[number]
        self._told.append(Told(ask, answer))
        return True

    def lose(self, link: int) -> None:
        """A link is gone: nobody knows what became of what went over it. What may be done twice goes anew, in order."""
        lost = [number for number, ask in self._open.items() if ask.link == link]
        again = [number for number in lost if self._open[number].again]
        self._unsent.extendleft(reversed(again))
        for number in again:
            self._open[number].link = -1
        self._end([number for number in lost if number not in set(again)], PublishError.NOBODY_KNOWS)

    def sweep(self, now: float) -> None:
        """Whose time is over: TIMED_OUT."""
        self._end([number for number, ask in self._open.items() if ask.until <= now], PublishError.TIMED_OUT)

    def close(self) -> None:
        """The end."""
        self._end(list(self._open), PublishError.NOBODY_KNOWS)

    def _end(self, numbers: list[int], code: PublishError) -> None:
        for number in numbers:
            self._told.append(Told(self._open.pop(number), Returned(code)))

    def take_told(self) -> list[Told]:
        told, self._told = self._told, []
        return told
