"""Idle clients of each worker that say PING when asked: how long until it serves them again."""

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from shared.rings import owners_of_slots
from shared.tokens import slot_of
from tests.clients.conversations import Conversation
from tests.clients.kinds import connect
from tests.clients.packets import PING

EACH = 8
_KIND = "v2"
_INTERVAL_S = 300


@dataclass(frozen=True, slots=True)
class Served:
    """What the probes of one worker saw."""

    seconds: float  # until the last of them had its answer
    dropped: int  # connections that ended instead
    silent: int  # no answer in time


class Probes:
    """EACH for every worker, whose tokens the ring gives to it. Ends with its `with` block."""

    def __init__(self, address: tuple[str, int], workers: list[str]) -> None:
        self._address = address
        owners = owners_of_slots(workers)
        self._tokens: dict[str, list[str]] = {worker: [] for worker in workers}
        number = 0
        while any(len(tokens) < EACH for tokens in self._tokens.values()):
            token = f"probe-{number}"
            tokens = self._tokens[owners[slot_of(token.encode())]]
            if len(tokens) < EACH:
                tokens.append(token)
            number += 1
        self._clients: dict[str, Conversation] = {}
        self._stack = ExitStack()
        self.dropped = 0

    def __enter__(self) -> Self:
        for tokens in self._tokens.values():
            for token in tokens:
                self._connect(token)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _connect(self, token: str) -> None:
        conversation = self._stack.enter_context(connect(_KIND, self._address))
        conversation.subscribe(token)
        self._clients[token] = conversation

    def ask(self, worker: str, since: float, seconds: float) -> Served:
        """PING from all clients of a worker that was just broken; `since` (monotonic) is when. At most `seconds`."""
        waiting, dropped, silent, last = self._tokens[worker], 0, 0, 0.0
        for token in waiting:
            with suppress(OSError):  # the read will tell
                self._clients[token].send(PING, {"interval": _INTERVAL_S})
        for token in waiting:
            client = self._clients[token]
            client.wire.deadline = max(0.1, since + seconds - time.monotonic())
            try:
                assert client.read().signal == PING
                last = time.monotonic() - since
            except TimeoutError:
                silent += 1
                last = seconds
            except (EOFError, OSError):
                dropped += 1
                client.wire.close()
                self._connect(token)
                last = time.monotonic() - since
        self.dropped += dropped
        return Served(last, dropped, silent)
