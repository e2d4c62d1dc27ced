"""Membership: which workers are live, leaving or lost, and the epochs of the ring that follow from it.

A worker's READY1, heartbeats, BYE1, silence and broken link change the set; each change begins an epoch, told to
every worker by RING1. A new router first gathers workers for a while, so that it does not begin with a ring of one.
"""

from enum import Enum
from typing import Any

from router.batches import Batch
from router.outbox import Outbox
from shared.bus import WHO1, RingNews, encode_control, encode_ring
from shared.errors import BusError
from shared.rings import Epoch, owners_of_slots
from shared.settings import Settings


class WorkerState(Enum):
    LIVE = "live"  # owns slots
    LEAVING = "leaving"  # owns none any more, and hands its clients over


class Worker:
    """One worker, by the incarnation (one run of its process) that said READY1 last."""

    __slots__ = (
        "calls", "fan_outs", "faulty", "figures", "hand_over", "held", "identity", "in_flight", "incarnation",
        "last_heard", "name", "pid", "ring_told_at", "state", "version",
    )  # fmt: skip

    def __init__(self, identity: bytes, body: dict[str, Any], now: float) -> None:
        self.identity = identity
        self.name = identity.decode()
        self.figures: dict[str, Any] = {}
        self.in_flight: dict[int, Batch] = {}  # unanswered batches
        self.held: dict[int, Batch] = {}  # answered, some pushes HELD
        self.fan_outs: set[int] = set()
        self.calls: set[int] = set()
        self.ring_told_at = now
        self.faulty = False  # its first message that does not decode was logged
        self.update(body, now)

    def update(self, body: dict[str, Any], now: float) -> None:
        """Take over what READY1 says."""
        self.incarnation = str(body["incarnation"])
        self.hand_over = str(body["hand_over"])
        self.pid = int(body.get("pid", 0))
        self.version = str(body.get("version", ""))
        self.state = WorkerState.LEAVING if body.get("leaving") else WorkerState.LIVE
        self.last_heard = now


class Membership:
    """Workers by identity (their name's bytes), and the ring's epoch. `changed`: a new epoch is due."""

    def __init__(self, settings: Settings, started_ms: int, now: float, outbox: Outbox) -> None:
        self.workers: dict[bytes, Worker] = {}
        self.epoch = Epoch(started_ms, 0)
        self.changed = False
        self.settled = False
        self._settled_by = now + settings.ring_settle_ms / 1000
        self._expected = settings.workers
        self._timeout_s = settings.worker_timeout_ms / 1000
        self._beat_s = settings.worker_heartbeat_ms / 1000
        self._outbox = outbox
        self._next_look = now
        self._owners: tuple[list[str], list[str]] = ([], [])  # of which live workers, owner of each slot

    @property
    def owners(self) -> list[str]:
        """The owner of each slot by the last ring; empty: no worker is live."""
        return self._owners[1]

    @property
    def live(self) -> list[Worker]:
        """Workers that own slots."""
        return [worker for worker in self.workers.values() if worker.state is WorkerState.LIVE]

    def heard(self, identity: bytes, now: float) -> Worker | None:
        """The worker that just said something. One without READY1 is asked who it is."""
        worker = self.workers.get(identity)
        if worker is None:
            self._ask(identity)
        else:
            worker.last_heard = now
        return worker

    def ready(self, identity: bytes, body: dict[str, Any], now: float) -> Worker | None:
        """READY1. Returns a worker whose earlier incarnation is gone: nothing that it had will be answered."""
        name = _checked_name(identity, body)
        worker = self.workers.get(identity)
        if worker is None:
            self.workers[identity] = Worker(identity, body, now)
            self._change(f"worker {name} joined")
            return None
        if worker.incarnation != str(body["incarnation"]):
            worker.update(body, now)
            self._change(f"worker {name} restarted")
            return worker
        state = worker.state
        worker.update(body, now)
        if worker.state is not state:
            self._change(f"worker {name} is {worker.state.value}")
        elif self.settled:
            self.tell_ring(worker, now)
        return None

    def beat(self, worker: Worker, body: dict[str, Any], now: float) -> None:
        """BEAT1. A worker that missed a RING1 is told again; one that knows a greater epoch is followed."""
        epoch = _checked_epoch(body)
        worker.figures = body
        if epoch > self.epoch:
            self.epoch = epoch
            self._change(f"worker {worker.name} knows a greater epoch {epoch.started_ms}.{epoch.counter}")
        elif epoch < self.epoch and self.settled and now - worker.ring_told_at > self._beat_s:
            self.tell_ring(worker, now)

    def leave(self, worker: Worker) -> None:
        """BYE1 `leaving`: no new pushes; it stays known until it has given its clients away."""
        if worker.state is WorkerState.LIVE:
            worker.state = WorkerState.LEAVING
            self._change(f"worker {worker.name} is leaving")

    def remove(self, worker: Worker, why: str) -> bool:
        """Forget a worker; False if it was forgotten before. `why` ends the log line: left, lost: ..."""
        if self.workers.get(worker.identity) is not worker:
            return False
        del self.workers[worker.identity]
        self._change(f"worker {worker.name} {why}")
        return True

    def look(self, now: float) -> list[Worker]:
        """Workers that have been silent too long. Those silent for two heartbeats are asked whether they are there.

        A pause of this process is not held against the workers: their heartbeats have not been read yet.
        """
        if now < self._next_look:
            return []
        late = now - self._next_look
        if late > self._beat_s:
            for worker in self.workers.values():
                worker.last_heard = min(now, worker.last_heard + late)
        self._next_look = now + self._beat_s / 2
        for worker in self.workers.values():
            if now - worker.last_heard > 2 * self._beat_s:
                self._ask(worker.identity)
        return [worker for worker in self.workers.values() if now - worker.last_heard > self._timeout_s]

    def next_look(self) -> float:
        """When `look` and `settle` must be called next, in monotonic seconds."""
        return self._next_look if self.settled else min(self._next_look, self._settled_by)

    def settle(self, now: float) -> bool:
        """Whether the router has gathered workers long enough, or all of them."""
        if not self.settled and (now >= self._settled_by or len(self.live) >= self._expected):
            self.settled = True
            self.changed = True
        return self.settled

    def new_ring(self, now: float) -> list[str]:
        """Begin an epoch: tell every worker, and return the owner of each slot (empty: no worker is live)."""
        self.changed = False
        self.epoch = Epoch(self.epoch.started_ms, self.epoch.counter + 1)
        live = sorted(worker.name for worker in self.live)
        for worker in self.workers.values():
            self.tell_ring(worker, now)
        self._outbox.notices.append(
            f"ring {self.epoch.started_ms}.{self.epoch.counter} of {len(live)} workers: {', '.join(live) or 'none'}"
        )
        if self._owners[0] != live:
            self._owners = (live, owners_of_slots(live))
        return self._owners[1]

    def tell_ring(self, worker: Worker, now: float) -> None:
        """RING1 to one worker."""
        paths = {
            state: {w.name: w.hand_over for w in self.workers.values() if w.state is state} for state in WorkerState
        }
        news = RingNews(self.epoch, paths[WorkerState.LIVE], paths[WorkerState.LEAVING])
        self._outbox.to_workers.append((worker.identity, encode_ring(news)))
        worker.ring_told_at = now

    def _ask(self, identity: bytes) -> None:
        self._outbox.to_workers.append((identity, encode_control(WHO1, {})))

    def _change(self, notice: str) -> None:
        self.changed = True
        self._outbox.notices.append(notice)


def _checked_epoch(body: dict[str, Any]) -> Epoch:
    """The epoch in a BEAT1. Raises BusError if it does not fit a batch's header."""
    said = body.get("epoch", [0, 0])
    if not isinstance(said, list) or len(said) != 2 or not all(type(number) is int for number in said):
        raise BusError("BEAT1 whose epoch is not two whole numbers")
    epoch = Epoch(*said)
    if not (0 <= epoch.started_ms < 1 << 63 and 0 <= epoch.counter < 1 << 31):
        raise BusError("BEAT1 whose epoch is out of range")
    return epoch


def _checked_name(identity: bytes, body: dict[str, Any]) -> str:
    """The name in a READY1. Raises BusError if the message is not whole, or not the identity's."""
    name = body.get("worker")
    if not isinstance(name, str) or name.encode(errors="replace") != identity:
        raise BusError(f"READY1 of {identity[:64]!r} names another worker")
    for key in ("incarnation", "hand_over"):
        if not isinstance(body.get(key), str):
            raise BusError(f"READY1 of {name} without {key}")
    if not isinstance(body.get("pid", 0), int):
        raise BusError(f"READY1 of {name} with a pid that is no number")
    return name
