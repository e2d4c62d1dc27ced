"""EXPLAIN1: what this router and every worker that it reaches know of a token, or of a message."""

from collections.abc import Sequence
from typing import Any

import ujson

from router.calls import Calls, PendingCall
from router.claims import Claims
from router.connections import Connection
from router.members import Worker
from router.membership import Membership
from router.pushes import Pushes
from router.repeats import Repeats
from router.traces import Traces
from shared.errors import BusError, RequestError
from shared.push_ids import id_prefix
from shared.tokens import slot_of, token_fault
from shared.traces import MESSAGE_MAX, PushKey, Wanted, key_of_push_id, wanted_fields, wanted_of

#: After so long, workers that have not answered are null.
TIMEOUT_S = 2.0


class PendingExplanation(PendingCall):
    """An EXPLAIN1. `answers`: one for each of `asked`; `view`: what the router itself says."""

    __slots__ = ("asked", "view")
    routed = False

    def __init__(
        self, calls: Calls, connection: Connection, frames: Sequence[bytes], view: dict[str, Any], asked: list[Worker]
    ) -> None:
        super().__init__(calls, connection, frames, [b""] * len(asked))
        self.call = "explain"
        self.view, self.asked = view, asked

    def body(self) -> dict[str, Any]:
        for worker, answer in zip(self.asked, self.answers, strict=True):
            self.view["workers"][worker.name]["said"] = answer if isinstance(answer, dict) else None
        return self.view


class Explanations:
    """Takes EXPLAIN1 in."""

    def __init__(
        self,
        host: str,
        calls: Calls,
        membership: Membership,
        claims: Claims,
        pushes: Pushes,
        repeats: Repeats,
        traces: Traces,
    ) -> None:
        self._calls, self._membership, self._claims = calls, membership, claims
        self._pushes, self._repeats, self._traces, self._host = pushes, repeats, traces, host

    def accept(self, connection: Connection, frames: Sequence[bytes], wanted: Wanted, now: float) -> None:
        """Ask every worker that is reached and knows the question."""
        asked = [worker for worker in self._membership.workers.values() if worker.reached and worker.explains]
        pending = PendingExplanation(self._calls, connection, frames, self._view(wanted, now), asked)
        self._calls.open(pending, now + TIMEOUT_S)
        question = {"call": "explain", "tokens": [], **wanted_fields(wanted)}
        for position, worker in enumerate(asked):
            self._calls.ask_worker(pending, worker, [position], question)
        self._calls.finish_if_answered(pending)

    def wanted(self, frames: Sequence[bytes]) -> Wanted:
        """What an EXPLAIN1 asks about. Raises RequestError."""
        try:
            body = ujson.loads(frames[2].decode()) if len(frames) == 3 else None
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RequestError("malformed", "EXPLAIN1 without one JSON object")
        message = body.get("message", "")
        if not isinstance(message, str) or len(message) > MESSAGE_MAX:
            raise RequestError("malformed", f"EXPLAIN1 with a message that is no text of at most {MESSAGE_MAX}")
        try:
            wanted = wanted_of({"token": body.get("token")})
        except BusError as error:
            raise RequestError("malformed", f"EXPLAIN1: {error}") from None
        if wanted.token is not None and (fault := token_fault(wanted.token)):
            raise RequestError("malformed", f"EXPLAIN1: {fault}")
        if wanted.token is None and not message:
            raise RequestError("malformed", "EXPLAIN1 that names neither token nor message")
        return self._with_message(wanted, message) if message else wanted

    def _with_message(self, wanted: Wanted, message: str) -> Wanted:
        """By a push id, the `id` of a request that is remembered, with or without an index; what the client saw."""
        keys: list[PushKey] = []
        if key := key_of_push_id(message):
            keys.append(key)
        before, dash, place = message.rpartition("-")
        position = int(place) if dash and place.isascii() and place.isdecimal() and len(place) < 6 else None
        for name, id in self._repeats.named(message, before if position is not None else ""):
            keys.append((id_prefix(name, id.encode()), None if id == message else position))
        number = int(message) if message.isascii() and message.isdecimal() and len(message) < 6 else 0
        return Wanted(wanted.token, tuple(keys), message, number if wanted.token is not None else 0)

    def _view(self, wanted: Wanted, now: float) -> dict[str, Any]:
        membership = self._membership
        view: dict[str, Any] = {
            "router": membership.position,
            "host": self._host,
            "clock": now,
            "role": "decides" if membership.decides else "follows",
            "epoch": list(membership.epoch),
            "settled": membership.settled,
        }
        if wanted.token is not None:
            view |= self._way(wanted.token)
        view["messages"] = self._traces.find(wanted, self._pushes.lanes, now)
        view["workers"] = {worker.name: _worker(worker, now) for worker in membership.workers.values()}
        return view

    def _way(self, token: bytes) -> dict[str, Any]:
        """Where pushes to a token go."""
        owners, slot = self._membership.owners, slot_of(token)
        claimed = self._claims.by_token.get(token)
        owner = owners[slot] if owners else None
        target = claimed.worker if claimed else owner
        claim = claimed and {
            "worker": claimed.worker,
            "binding": claimed.claim.binding,
            "bound_by": claimed.claim.bound_by,
            "moves": claimed.claim.moves,
        }
        return {
            "slot": slot,
            "owner": owner,
            "claim": claim,
            "parked": self._pushes.is_parked(slot),
            "waiting": self._pushes.waiting().get(target or "", 0),
        }


def _worker(worker: Worker, now: float) -> dict[str, Any]:
    return {
        "state": worker.state.value,
        "version": worker.version,
        "explains": worker.explains,
        "heartbeat_age_s": round(now - worker.last_heard, 3),
        "batches_in_flight": len(worker.in_flight),
        "said": None,
    }
