"""Outcomes that come after OUTCOMES1: gathered for the rest of the turn, told together."""

from collections import defaultdict
from collections.abc import Callable

from gateway.client_loop import ClientLoop
from gateway.held_pushes import HeldPush

#: Tells a router: router, batch, how many older pushes each of its pushes has cost (by place).
SayDropped = Callable[[int, int, dict[int, int]], None]


class LateOutcomes:
    """One LATE1 for each batch and turn, behind a DETAIL1 if there is one."""

    def __init__(self, clients: ClientLoop) -> None:
        self._clients = clients
        self._late: list[tuple[HeldPush, int]] = []
        self._dropped: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        self.say: Callable[[list[tuple[HeldPush, int]]], None] = lambda late: None
        self.say_dropped: SayDropped = lambda router, batch, dropped: None

    def add(self, push: HeldPush, outcome: int, dropped: int = 0) -> None:
        """The outcome of a push, or KEPT; so many older ones were dropped to store it."""
        if not self._late:
            self._clients.soon(self._flush)
        self._late.append((push, outcome))
        if dropped:
            self._dropped[push.router, push.batch][push.place] = dropped

    def _flush(self) -> None:
        late, self._late = self._late, []
        dropped, self._dropped = self._dropped, defaultdict(dict)
        for (router, batch), counts in dropped.items():
            self.say_dropped(router, batch, counts)
        self.say(late)
