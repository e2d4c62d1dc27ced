"""Messages of workers: told apart, and given to the part of the router that they concern; and how workers end."""

from collections.abc import Callable, Sequence

from router.members import Worker
from router.outbox import Kill
from router.parts import Parts
from shared.bus import (
    ALL1,
    BEAT1,
    BYE1,
    CALL1,
    CLAIM1,
    COUNTS1,
    DETAIL1,
    LATE1,
    MEMBERS1,
    NEWS1,
    OUTCOMES1,
    PUSHES1,
    READY1,
    REPLY1,
    UNCLAIM1,
    decode_control,
    number_of,
)
from shared.calls import ASK1
from shared.errors import BusError
from shared.places import host_of

_Handler = Callable[[Worker, Sequence[bytes], float], None]


class WorkerMessages:
    """What to do with each kind of bus message."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        membership = parts.membership
        self._handlers: dict[bytes, _Handler] = {
            OUTCOMES1: parts.pushes.outcomes,
            LATE1: parts.pushes.late,
            DETAIL1: lambda worker, frames, now: parts.pushes.detail(worker, frames),
            COUNTS1: parts.fan_outs.counts,
            MEMBERS1: parts.memberships.tell,
            REPLY1: lambda worker, frames, now: parts.calls.reply(worker, frames),
            BEAT1: lambda worker, frames, now: membership.beat(worker, decode_control(frames), now),
            NEWS1: lambda worker, frames, now: membership.news(worker, decode_control(frames), now),
            CLAIM1: parts.claims.claim,
            UNCLAIM1: parts.claims.unclaim,
            BYE1: self._bye,
        }

    def receive(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """A message without the identity frame. Raises BusError."""
        kind = frames[0] if frames else b""
        if kind == READY1:
            self._ready(identity, frames, now)
            return
        if kind == ASK1:  # also of one that is not known yet
            self._parts.membership.heard(identity, now)
            self._parts.asks.of_worker(identity, frames, now)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            raise BusError(f"unknown kind {kind[:16]!r}")
        worker = self._parts.membership.heard(identity, now)
        if worker is not None:
            handler(worker, frames, now)

    def _ready(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        body = decode_control(frames)
        known = self._parts.membership.workers.get(identity)
        was_reached = known is not None and known.reached
        restarted = self._parts.membership.ready(identity, body, now)
        self._parts.memberships.begin(identity)
        self._parts.fan_outs.pass_number(body.get("fan_out"))
        if restarted is not None:
            self._parts.counters["workers_restarting"] += was_reached
            self._forget_work(restarted, now)
        self._parts.services.tell_topics(identity)
        self._parts.claims.begin(self._parts.membership.workers[identity], now)

    def _bye(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        body = decode_control(frames)
        if body.get("gone"):
            self._parts.membership.remove(worker)
            self._parts.fan_outs.gone(worker, now)
            self._forget(worker, now)
        elif body.get("leaving"):
            self._parts.membership.leave(worker)
        else:
            raise BusError("BYE1 that says neither leaving nor gone")

    def unreachable(self, worker: Worker, unsent: Sequence[list[bytes]], now: float) -> None:
        """ZeroMQ has no link to it and did not take `unsent`: all messages to it from the first failure on."""
        parts = self._parts
        parts.pushes.unsent(worker, [number_of(frames) for frames in unsent if frames[0] == PUSHES1], now)
        for frames in unsent:
            if frames[0] == ALL1:
                parts.fan_outs.unsent(worker, number_of(frames), frames)
            elif frames[0] == CALL1:
                parts.calls.unsent(worker, frames)
        self._suspend(worker, "its link is gone", now)

    def look(self, now: float) -> None:
        """What becomes of workers that are silent, or stay away."""
        parts = self._parts
        silent, away, forgotten = parts.membership.look(now)
        for worker in silent:
            self._suspend(worker, "silent", now)
            if worker.started and worker.pid and host_of(worker.name) == parts.settings.host_name:
                parts.outbox.kills.append(Kill(worker.name, worker.pid, worker.started))
        for worker in away:
            parts.membership.lose(worker, now)
            parts.counters["workers_lost"] += 1
            parts.fan_outs.never_reached(worker, now)
            parts.claims.drop(worker)
        for worker in forgotten:
            parts.membership.forget(worker)
            self._forget(worker, now)

    def _suspend(self, worker: Worker, why: str, now: float) -> None:
        if self._parts.membership.suspend(worker, why, now):
            self._parts.counters["workers_restarting"] += 1
            self._forget_work(worker, now)

    def _forget_work(self, worker: Worker, now: float) -> None:
        """What this incarnation had will not be answered."""
        self._parts.pushes.lost(worker, now)
        self._parts.fan_outs.lost(worker)
        self._parts.calls.lost(worker)

    def _forget(self, worker: Worker, now: float) -> None:
        """Nothing more will be heard of it, and nothing sent."""
        self._forget_work(worker, now)
        self._parts.fan_outs.never_reached(worker, now)
        self._parts.memberships.forget(worker.identity)
        self._parts.calls.never_reached(worker)
        self._parts.claims.drop(worker)

    def welcome(self, worker: Worker, fresh: bool, now: float) -> None:
        """It has been told the ring: what waited for it goes. `fresh`: it has not heard all of others' claims."""
        if worker.reached:
            if fresh:
                self._parts.claims.tell_all(worker)
            self._parts.fan_outs.flow(worker, now)
            self._parts.calls.flow(worker)
