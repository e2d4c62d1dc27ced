"""FIND1 and KICK1: asked of those that claim or own the tokens, the answers put together in order."""

from collections.abc import Iterable, Sequence
from typing import Any

from router.answers import Answers
from router.claims import Claims
from router.connections import Connection
from router.counters import Counters
from router.members import Worker
from router.membership import Membership
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
    #: Asked of whoever has the tokens by the newest ring.
    routed = True

    def __init__(self, desk: "Calls", connection: Connection, frames: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        super().__init__(desk, connection, frames[1], sum(map(len, frames)))
        self.call = "find" if frames[0] == FIND1 else "kick"
        self.tokens = tokens
        self.answers: list[Any] = [None] * len(tokens)
        self.waiting: dict[int, list[int]] = {}  # call number -> positions

    def body(self) -> Any:
        """What INFO1 says."""
        return self.answers


class Calls:
    """Calls to workers by number."""

    def __init__(
        self, answers: Answers, membership: Membership, claims: Claims, outbox: Outbox, counters: Counters
    ) -> None:
        self._answers, self._membership, self._outbox, self._counters = answers, membership, outbox, counters
        self._claims = claims
        self._unrouted: dict[PendingCall, None] = {}
        self._under_way: dict[int, PendingCall] = {}
        self._last_number = membership.started_ms << 20
        self.stopping = False

    def open(self, pending: PendingCall, deadline: float) -> None:
        """Take a call in; at `deadline` it is answered with what is known."""
        self._answers.open(pending, deadline)

    def accept(self, pending: PendingCall, now: float) -> None:
        """Take a FIND1 or KICK1 in."""
        self.open(pending, now + TIMEOUT_S)
        if self._membership.settled or self.stopping:
            self._start(pending)
        else:
            self._unrouted[pending] = None

    def change_ring(self) -> None:
        """There is a ring: start what waited for it; what waits for a worker may be another's now."""
        unrouted, self._unrouted = self._unrouted, {}
        for pending in unrouted:
            self._start(pending)
        for worker in self._membership.workers.values():
            queued, worker.queued_calls = worker.queued_calls, {}
            for number in queued:
                pending = self._under_way.pop(number)
                positions = pending.waiting.pop(number)
                if pending.routed:
                    self._route(pending, positions)
                self.finish_if_answered(pending)

    def _start(self, pending: PendingCall) -> None:
        if not self._membership.owners or self.stopping:
            self._answers.fail(pending, RequestError("unavailable", "no worker is live"))
            return
        absent: Any = {"online": False} if pending.call == "find" else False
        asked = []
        for position, token in enumerate(pending.tokens):
            if token_fault(token):
                pending.answers[position] = absent
            else:
                asked.append(position)
        self._route(pending, asked)
        self.finish_if_answered(pending)

    def _route(self, pending: PendingCall, positions: Sequence[int]) -> None:
        """Ask whoever has the tokens at these positions. Where nobody can be asked, the answer stays null."""
        owners, claims = self._membership.owners, self._claims.by_token
        asked: dict[str, list[int]] = {}
        for position in positions if owners else ():
            token = pending.tokens[position]
            claimed = claims.get(token)
            name = owners[slot_of(token)] if claimed is None else claimed.worker
            asked.setdefault(name, []).append(position)
        for name, its in asked.items():
            worker = self._membership.workers.get(name.encode())
            if worker is not None:
                self._ask(pending, worker, its)

    def _ask(self, pending: PendingCall, worker: Worker, positions: list[int]) -> None:
        tokens = [pending.tokens[position].decode() for position in positions]
        self.ask_worker(pending, worker, positions, {"call": pending.call, "tokens": tokens})

    def ask_worker(self, pending: PendingCall, worker: Worker, positions: list[int], body: dict[str, Any]) -> None:
        """Ask a worker for the answers at these positions."""
        self._last_number += 1
        self._counters["calls"] += 1
        self._under_way[self._last_number] = pending
        pending.waiting[self._last_number] = positions
        self._give(worker, self._last_number, encode_numbered(CALL1, self._last_number, body))

    def _give(self, worker: Worker, number: int, frames: list[bytes]) -> None:
        if worker.reached:
            worker.calls.add(number)
            self._outbox.to_workers.append((worker.identity, frames))
        else:
            worker.queued_calls[number] = frames

    def flow(self, worker: Worker) -> None:
        """It is reached again: what waited for it goes."""
        queued, worker.queued_calls = worker.queued_calls, {}
        for number, frames in queued.items():
            self._give(worker, number, frames)

    def unsent(self, worker: Worker, frames: list[bytes]) -> None:
        """ZeroMQ did not take the CALL1: it waits until the worker is reached again."""
        number, _ = decode_numbered(frames)
        if number in worker.calls:
            worker.calls.discard(number)
            worker.queued_calls[number] = frames

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
        self.finish_if_answered(pending)
        if not good:
            raise BusError("REPLY1 without an answer per token")

    def finish_if_answered(self, pending: PendingCall) -> None:
        """Answer it, if nobody is asked any more."""
        if not pending.waiting:
            self._answers.info(pending, pending.body())

    def lost(self, worker: Worker) -> None:
        """This incarnation will not answer: nobody knows (null)."""
        numbers, worker.calls = worker.calls, set()
        self._give_up(numbers)

    def never_reached(self, worker: Worker) -> None:
        """It will not be, and no ring gives its tokens to another: what waited for it stays null."""
        numbers, worker.queued_calls = worker.queued_calls, {}
        self._give_up(numbers)

    def _give_up(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            pending = self._under_way.pop(number)
            del pending.waiting[number]
            self.finish_if_answered(pending)

    def expire(self, pending: Pending, now: float) -> None:
        """Its time is over: what is not known is null."""
        assert isinstance(pending, PendingCall)
        self._unrouted.pop(pending, None)
        for number in pending.waiting:
            self._under_way.pop(number, None)
            for worker in self._membership.workers.values():
                worker.calls.discard(number)
                worker.queued_calls.pop(number, None)
        self._answers.info(pending, pending.body())
