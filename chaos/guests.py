"""Clients that come and go, and know of each of their connections when it was bound and when it ended.

A thread has some tokens of its own, so that a token has one connection at a time; now and then it has a second one, by
which the first one ends. It ends connections by closing them, or the gateway does.
"""

import random
import select
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.clients.conversations import Conversation
from tests.clients.kinds import connect

KINDS = ("v2", "ws_snake", "v1")
TOKENS_OF_A_THREAD = 8
#: How long one stays, at least and at most, and the part of visits that another connection ends (seconds).
STAY_S, REPLACED = (0.05, 0.8), 0.1
_ANSWER_S = 20.0


@dataclass(slots=True)
class Visit:
    """One connection. Times are time.time(); `bound`: the answer to SUB was good, None: nobody knows."""

    token: str
    address: str
    bound: float | None = None
    ended: float | None = None
    by_gateway: bool = False


class Guests:
    """`threads` of them come and go, until the `with` block ends; `stayers` come first, and stay."""

    def __init__(self, address: tuple[str, int], threads: int, stayers: int, seed: int) -> None:
        self._address, self._seed = address, seed
        self.visits: list[Visit] = []
        self.staying: list[tuple[Visit, Conversation]] = []
        self._stayers = stayers
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for number in range(self._stayers):
            visit, client = self._come(f"stayer-{number}", KINDS[number % len(KINDS)])
            assert client is not None
            assert visit is not None
            self.staying.append((visit, client))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for _, client in self.staying:
            client.wire.close()

    def stop(self) -> None:
        """Who is there goes; the stayers stay."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def bound(self) -> int:
        """How many connections have been bound so far."""
        return sum(visit.bound is not None for visit in list(self.visits))

    def stayed(self) -> int:
        """How many of the stayers are still connected; the others have ended."""
        for visit, client in self.staying:
            if visit.ended is None and _is_readable([client], 0):
                self._end(visit, client, by_gateway=True)
        return sum(visit.ended is None for visit, _ in self.staying)

    def _run(self, number: int) -> None:
        chance = random.Random(self._seed * 1000 + number)
        tokens = [f"guest-{number}-{which}" for which in range(TOKENS_OF_A_THREAD)]
        while not self._ended.is_set():
            token = chance.choice(tokens)
            visit, client = self._come(token, chance.choice(KINDS))
            if visit is None or client is None:
                self._ended.wait(0.1)
            elif self._stay(visit, client, chance) and chance.random() < REPLACED:
                self._replace(visit, client, chance)
            elif visit.ended is None:
                self._end(visit, client, by_gateway=False)

    def _replace(self, visit: Visit, client: Conversation, chance: random.Random) -> None:
        second, other = self._come(visit.token, chance.choice(KINDS))
        self._end(visit, client, by_gateway=second is not None and second.bound is not None)
        if second is not None and other is not None and self._stay(second, other, chance):
            self._end(second, other, by_gateway=False)

    def _come(self, token: str, kind: str) -> tuple[Visit | None, Conversation | None]:
        """(None, None): there was no connection. (visit, None): nobody knows whether it was bound, and it is over."""
        try:
            client = connect(kind, self._address, deadline=_ANSWER_S)
        except (OSError, EOFError, AssertionError):
            return None, None
        visit = Visit(token, client.wire.local_address)
        self.visits.append(visit)
        try:
            client.subscribe(token)
        except (OSError, EOFError, AssertionError):
            self._end(visit, client, by_gateway=True)
            return visit, None
        visit.bound = time.time()
        return visit, client

    def _stay(self, visit: Visit, client: Conversation, chance: random.Random) -> bool:
        """Whether the connection is still there behind it."""
        if _is_readable([client], chance.uniform(*STAY_S)):
            self._end(visit, client, by_gateway=True)
        return visit.ended is None

    @staticmethod
    def _end(visit: Visit, client: Conversation, *, by_gateway: bool) -> None:
        visit.ended, visit.by_gateway = time.time(), by_gateway
        client.wire.close()


def _is_readable(clients: Sequence[Conversation], seconds: float) -> bool:
    """Nothing is pushed to them: whatever comes is the end."""
    return bool(select.select([client.wire.socket for client in clients], [], [], seconds)[0])
