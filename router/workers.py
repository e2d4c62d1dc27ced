"""Messages of workers: told apart, and given to the part of the router that they concern."""

from collections.abc import Callable, Sequence

from router.membership import Worker
from router.parts import Parts
from shared.bus import BEAT1, BYE1, COUNTS1, LATE1, OUTCOMES1, READY1, REPLY1, decode_control
from shared.errors import BusError

_Handler = Callable[[Worker, Sequence[bytes], float], None]


class WorkerMessages:
    """What to do with each kind of bus message."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._handlers: dict[bytes, _Handler] = {
            OUTCOMES1: parts.pushes.outcomes,
            LATE1: parts.pushes.late,
            COUNTS1: parts.fan_outs.counts,
            REPLY1: lambda worker, frames, now: parts.calls.reply(worker, frames),
            BEAT1: lambda worker, frames, now: parts.membership.beat(worker, decode_control(frames), now),
            BYE1: self._bye,
        }

    def receive(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        """A message without the identity frame. Raises BusError."""
        kind = frames[0] if frames else b""
        if kind == READY1:
            self._ready(identity, frames, now)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            raise BusError(f"unknown kind {kind[:16]!r}")
        worker = self._parts.membership.heard(identity, now)
        if worker is not None:
            handler(worker, frames, now)

    def _ready(self, identity: bytes, frames: Sequence[bytes], now: float) -> None:
        body = decode_control(frames)
        restarted = self._parts.membership.ready(identity, body, now)
        self._parts.fan_outs.pass_number(body.get("fan_out"))
        if restarted is not None:
            self._forget_work(restarted, now)

    def _bye(self, worker: Worker, frames: Sequence[bytes], now: float) -> None:
        body = decode_control(frames)
        if body.get("gone"):
            self.lose(worker, "left", now)
        elif body.get("leaving"):
            self._parts.membership.leave(worker)
        else:
            raise BusError("BYE1 that says neither leaving nor gone")

    def lose(self, worker: Worker, why: str, now: float) -> None:
        """The worker is no more; what it had is UNKNOWN. `why` ends the log line."""
        self._parts.membership.remove(worker, why)
        self._parts.counters["workers_lost"] += why != "left"
        self._forget_work(worker, now)

    def _forget_work(self, worker: Worker, now: float) -> None:
        self._parts.pushes.lost(worker, now)
        self._parts.fan_outs.lost(worker, now)
        self._parts.calls.lost(worker)
