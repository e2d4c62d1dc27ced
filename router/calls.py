"""FIND1 and KICK1: asked of the owners of the tokens, the answers put together in order."""

from collections.abc import Sequence
from typing import Any

from router.answers import Answers
from router.connections import Connection
from router.counters import Counters
from router.membership import Membership, Worker
from router.outbox import Outbox
from router.pending import Pending
from shared.bus import CALL1, decode_numbered, encode_numbered
from shared.errors import BusError, RequestError
from shared.requests import FIND1
from shared.tokens import slot_of, token_fault

#: FIND1 and KICK1 have no options; after so long, what has not been answered is null.
TIMEOUT_S = 5.0


class PendingCall(Pending):
    """A FIND1 or KICK1. `answers`: one per token, None while (and if) nobody knows."""

    __slots__ = ("answers", "call", "tokens", "waiting")

    def __init__(self, desk: "Calls", connection: Connection, frames: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        super().__init__(desk, connection, frames[1], sum(map(len, frames)))
        self.call = "find" if frames[0] == FIND1 else "kick"
        self.tokens = tokens
        self.answers: list[Any] = [None] * len(tokens)
        self.waiting: dict[int, list[int]] = {}  # call number -> positions


class Calls:
    """Calls to workers by number."""

    def __init__(self, answers: Answers, membership: Membership, outbox: Outbox, counters: Counters) -> None:
        self._answers, self._membership, self._outbox, self._counters = answers, membership, outbox, counters
        self._unrouted: dict[PendingCall, None] = {}
        self._under_way: dict[int, PendingCall] = {}
        self._last_number = membership.epoch.started_ms << 20
        self.stopping = False

    def accept(self, pending: PendingCall, now: float) -> None:
        """Take a FIND1 or KICK1 in."""
        self._answers.open(pending, now + TIMEOUT_S)
        if self._membership.settled or self.stopping:
            self._start(pending)
        else:
            self._unrouted[pending] = None

    def change_ring(self) -> None:
        """There is a ring: start what waited for it."""
        unrouted, self._unrouted = self._unrouted, {}
        for pending in unrouted:
            self._start(pending)

    def _start(self, pending: PendingCall) -> None:
        owners = self._membership.owners
        if not owners or self.stopping:
            self._answers.fail(pending, RequestError("unavailable", "no worker is live"))
            return
        absent: Any = {"online": False} if pending.call == "find" else False
        asked: dict[str, list[int]] = {}
        for position, token in enumerate(pending.tokens):
            if token_fault(token):
                pending.answers[position] = absent
            else:
                asked.setdefault(owners[slot_of(token)], []).append(position)
        for owner, positions in asked.items():
            self._ask(pending, self._membership.workers[owner.encode()], positions)
        self._finish_if_answered(pending)

    def _ask(self, pending: PendingCall, worker: Worker, positions: list[int]) -> None:
        self._last_number += 1
        self._counters["calls"] += 1
        self._under_way[self._last_number] = pending
        pending.waiting[self._last_number] = positions
        worker.calls.add(self._last_number)
        tokens = [pending.tokens[position].decode() for position in positions]
        body = {"call": pending.call, "tokens": tokens}
        self._outbox.to_workers.append((worker.identity, encode_numbered(CALL1, self._last_number, body)))

    def reply(self, worker: Worker, frames: Sequence[bytes]) -> None:
        """REPLY1. Raises BusError; then its answers stay null."""
        number, body = decode_numbered(frames)
        if number not in worker.calls:
            self._counters["bus_strays"] += 1
            return
        worker.calls.discard(number)
        pending = self._under_way.pop(number)
        positions = pending.waiting.pop(number)
        answers = body.get("answers")
        good = isinstance(answers, list) and len(answers) == len(positions)
        if good:
            for position, answer in zip(positions, answers or (), strict=True):
                pending.answers[position] = answer
        self._finish_if_answered(pending)
        if not good:
            raise BusError("REPLY1 without an answer per token")

    def _finish_if_answered(self, pending: PendingCall) -> None:
        if not pending.waiting:
            self._answers.info(pending, pending.answers)

    def lost(self, worker: Worker) -> None:
        """This incarnation will not answer: nobody knows (null)."""
        numbers, worker.calls = worker.calls, set()
        for number in numbers:
            pending = self._under_way.pop(number)
            del pending.waiting[number]
            self._finish_if_answered(pending)

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: what is not known is null."""
        assert isinstance(pending, PendingCall)
        self._unrouted.pop(pending, None)
        for number in pending.waiting:
            self._under_way.pop(number, None)
            for worker in self._membership.workers.values():
                worker.calls.discard(number)
        self._answers.info(pending, pending.answers)
