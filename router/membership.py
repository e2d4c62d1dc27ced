"""Membership: which workers are live, leaving, restarting or lost, and the rings that follow from it.

A worker that is not reached for a moment keeps its slots: its successor is there soon, and its clients with it. Only
one that stays away, comes, or goes changes the ring. Whether this router or another decides is `router.epochs`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from router.epochs import Epochs
from router.members import Worker, WorkerState, checked_epoch, checked_name, checked_ring, checked_routers, epoch_said
from router.outbox import Outbox
from shared.bus import ALIVE1, WHO1, encode_control
from shared.bus_rings import RingNews, encode_ring
from shared.rings import NO_EPOCH, Epoch, owners_of_slots
from shared.settings import Settings, split


class Overdue(NamedTuple):
    """Workers that have been silent, away or lost for too long."""

    silent: list[Worker]
    away: list[Worker]
    forgotten: list[Worker]


class Membership:
    """Workers by identity (their name's bytes), and the ring. `changed`: `settle` and `renew` are due."""

    def __init__(self, settings: Settings, started_ms: int, position: int, now: float, outbox: Outbox) -> None:
        self.workers: dict[bytes, Worker] = {}
        self.started_ms, self.position = started_ms, position
        self.host_name = settings.host_name
        self.changed = False
        self.settled = False
        self.decides = True
        self._epochs = Epochs(started_ms, position, max(settings.routers, len(split(settings.router_list))))
        self._gone: set[str] = set()  # said that they have given all clients away
        self._returned: dict[bytes, bool] = {}  # said READY1 since the last `renew`: whether it is new, or was away
        self._settle_s = settings.ring_settle_ms / 1000
        self._settled_by = now + self._settle_s
        self._claims_by: float | None = None
        self._expected = settings.workers
        self._others_may_come = bool(settings.bus_port)  # of other hosts, nobody says how many
        self._timeout_s = settings.worker_timeout_ms / 1000
        self._forget_s = settings.move_timeout_s
        self._beat_s = settings.worker_heartbeat_ms / 1000
        self._outbox = outbox
        self._asked: dict[bytes, float] = {}  # who was asked when, within the last heartbeat
        self._next_look = self._next_alive = now
        self._owners: tuple[list[str], list[str]] = ([], [])  # of which live workers, owner of each slot

    @property
    def epoch(self) -> Epoch:
        """Of the ring told last."""
        return self._epochs.ring.epoch

    @property
    def owners(self) -> list[str]:
        """The owner of each slot by the last ring; empty: no worker is live."""
        return self._owners[1]

    def in_state(self, *states: WorkerState) -> list[Worker]:
        """Workers in one of these states."""
        return [worker for worker in self.workers.values() if worker.state in states]

    # what workers say

    def heard(self, identity: bytes, now: float) -> Worker | None:
        """The worker that just said something. One that is not known, or was away, is asked who it is."""
        worker = self.workers.get(identity)
        if worker is None:
            self._say_alive(identity)
            self.ask(identity, now)
            return None
        worker.last_heard = now
        if not worker.reached:
            self.ask(identity, now)
        return worker

    def ready(self, identity: bytes, body: dict[str, Any], now: float) -> Worker | None:
        """READY1. Returns a worker whose earlier incarnation is gone: nothing that it had will be answered.

        Raises BusError; then the worker is as it was.
        """
        name = checked_name(identity, body)
        news = checked_ring(body["ring"]) if isinstance(body.get("ring"), dict) else None
        worker, known = self.workers.get(identity), identity in self.workers
        if worker is None:
            worker = self.workers[identity] = Worker(identity, now)
        state, fresh = worker.state, worker.incarnation != body["incarnation"]
        restarted = known and fresh and worker.incarnation is not None
        worker.update(body, now)
        worker.routers = checked_routers(body)
        if news is not None:
            self._epochs.hear(news)
            if self.settled and not self._epochs.ring.live:  # nobody had come in time, so nobody has told of the others
                self._expect(news, now)
        elif not fresh:
            self._epochs.pass_epoch(epoch_said(worker))
        if fresh or state is not worker.state:
            self._outbox.notices.append(f"worker {name} {_news_of(worker, state, known, restarted)}")
            self._say_alive(identity)
        self._gone.discard(name)
        was_away = state not in (WorkerState.LIVE, WorkerState.LEAVING)
        self._returned[identity] = fresh or was_away or self._returned.get(identity, False)
        self.changed = True
        return worker if restarted else None

    def beat(self, worker: Worker, body: dict[str, Any], now: float) -> None:
        """BEAT1. A worker that missed a RING1 is told again; one that knows a greater epoch is asked for its ring."""
        epoch = checked_epoch(body)
        worker.figures = body
        routers = checked_routers(body)
        if routers != worker.routers:
            worker.routers = routers
            self.changed = True
        if epoch > self._epochs.greatest:
            self.ask(worker.identity, now)
        elif epoch < self.epoch and self.settled and now - worker.ring_told_at > self._beat_s:
            self._tell_ring(worker, now)

    def news(self, worker: Worker, body: dict[str, Any], now: float) -> None:
        """NEWS1: a ring that another router told. Raises BusError."""
        ring = checked_ring(body)
        if self._epochs.hear(ring):
            self.changed = True
        elif ring.epoch < self.epoch:
            self._tell_ring(worker, now)

    # how workers go

    def leave(self, worker: Worker) -> None:
        """BYE1 `leaving`: no new pushes; it stays known until it has given its clients away."""
        if not worker.leaving:
            worker.leaving = True
            if worker.state is WorkerState.LIVE:
                worker.state = WorkerState.LEAVING
            self._change(f"worker {worker.name} is leaving")

    def suspend(self, worker: Worker, why: str, now: float) -> bool:
        """It is not reached for now; False if that was known. `why` ends the log line."""
        if not worker.reached:
            return False
        worker.state, worker.since = WorkerState.RESTARTING, now
        self._change(f"worker {worker.name} is away: {why}")
        return True

    def lose(self, worker: Worker, now: float) -> None:
        """It was away for too long."""
        worker.state, worker.since = WorkerState.LOST, now
        self._change(f"worker {worker.name} lost")

    def remove(self, worker: Worker) -> None:
        """BYE1 `gone`: it has nothing left that anybody waits for."""
        del self.workers[worker.identity]
        self._returned.pop(worker.identity, None)
        self._gone.add(worker.name)
        self._change(f"worker {worker.name} left")

    def forget(self, worker: Worker) -> None:
        """It was lost long ago: nobody waits for its clients any more."""
        del self.workers[worker.identity]
        self._returned.pop(worker.identity, None)

    # what time does

    def look(self, now: float) -> Overdue:
        """Who is overdue. Workers that are silent for two heartbeats are asked whether they are there; all hear of us.

        A pause of this process is not held against the workers: their heartbeats have not been read yet.
        """
        if now < self._next_look:
            return Overdue([], [], [])
        late = now - self._next_look
        if late > self._beat_s:
            for worker in self.workers.values():
                worker.last_heard = min(now, worker.last_heard + late)
                worker.since = min(now, worker.since + late)
        self._next_look = now + self._beat_s / 2
        self._asked = {identity: asked for identity, asked in self._asked.items() if now - asked < self._beat_s}
        for worker in self.workers.values():
            if now - worker.last_heard > 2 * self._beat_s:
                self.ask(worker.identity, now)
        if now >= self._next_alive:
            self._next_alive = now + self._beat_s
            for identity in self.workers:
                self._say_alive(identity)
        return self._overdue(now)

    def _overdue(self, now: float) -> Overdue:
        overdue, ring = Overdue([], [], []), self._epochs.ring
        for worker in self.workers.values():
            if worker.reached and now - worker.last_heard > self._timeout_s:
                overdue.silent.append(worker)
            elif worker.state is WorkerState.RESTARTING and now - worker.since > self._timeout_s:
                overdue.away.append(worker)
            elif (
                worker.state is WorkerState.LOST
                and now - worker.since > self._forget_s
                and worker.name not in ring.live  # a ring of another router may have it yet
            ):
                overdue.forgotten.append(worker)
        return overdue

    def next_look(self) -> float:
        """When `look` and `settle` must be called next, in monotonic seconds."""
        settled_by = self._settled_by if self._claims_by is None else self._claims_by
        return self._next_look if self.settled else min(self._next_look, settled_by)

    # rings

    def settle(self, now: float) -> bool:
        """Whether the router has gathered workers and their claims, or long enough, and knows a ring or begins one."""
        if self.settled:
            return True
        if self._claims_by is None:
            if now < self._settled_by and not self._all_there():
                return False
            self._claims_by = now + self._settle_s
        if now < self._claims_by and any(worker.claims_due for worker in self.workers.values()):
            return False
        if not self._is_decider() and self._epochs.heard is None:
            self._claims_by = now + self._beat_s / 2  # the one that decides has not told it yet
            return False
        self.settled = self.changed = True
        if self._epochs.heard is not None:
            self._expect(self._epochs.heard, now)
        return True

    def _all_there(self) -> bool:
        """All workers of this host, and of the ring that they follow; if they follow none, more may come."""
        live = {worker.name for worker in self.in_state(WorkerState.LIVE)}
        heard = self._epochs.heard
        if self._others_may_come if heard is None else not heard.live.keys() <= live:
            return False
        return sum(name.rpartition("/")[0] == self.host_name for name in live) >= self._expected

    def renew(self, now: float) -> bool:
        """Tell the ring of a new epoch to all workers, if one is due, else to those that said READY1; whether it was.

        To be called when `settle` is true.
        """
        self.changed = False
        self.decides = self._is_decider()
        first = self.epoch == NO_EPOCH
        ring = self._epochs.next(self.decides, self._live(), self._leaving(), self._gone)
        if ring is None:
            for identity in self._returned:
                self._tell_ring(self.workers[identity], now)
            return False
        self._expect(ring, now)
        self._gone.clear()
        for worker in self.workers.values():
            self._tell_ring(worker, now)
        live = sorted(ring.live)
        self._outbox.notices.append(
            f"ring {ring.epoch.started_ms}.{ring.epoch.counter} of {len(live)} workers: {', '.join(live) or 'none'}"
        )
        if self._owners[0] != live or first:
            self._owners = (live, owners_of_slots(live))
        return True

    def is_heard(self, worker: Worker, now: float) -> bool:
        """Whether it has said something within two heartbeats."""
        return now - worker.last_heard <= 2 * self._beat_s

    def fence(self, slots: Mapping[str, Sequence[int]], now: float) -> None:
        """Tell workers the present ring once more: all that was sent to them for these slots is resolved."""
        for name in sorted(slots):
            worker = self.workers.get(name.encode())
            if worker is not None:
                self._tell_ring(worker, now, slots[name])

    def take_returned(self) -> list[tuple[Worker, bool]]:
        """Workers that have said READY1 and been told the ring since; whether each is new, or was away."""
        returned, self._returned = self._returned, {}
        return [(self.workers[identity], fresh) for identity, fresh in returned.items()]

    def _expect(self, ring: RingNews, now: float) -> None:
        """Workers of a ring that this router has not met: they may yet come, or hold clients."""
        for state, named in ((WorkerState.RESTARTING, ring.live), (WorkerState.LOST, ring.leaving)):
            for name, hand_over in named.items():
                identity = name.encode()
                if identity not in self.workers and name not in self._gone:
                    self.workers[identity] = worker = Worker(identity, now, hand_over)
                    worker.state = state

    def _is_decider(self) -> bool:
        """Whether no worker hears a router of a smaller position."""
        position = self.position
        return not any(
            worker.reached and worker.routers and min(worker.routers) < position for worker in self.workers.values()
        )

    def _live(self) -> dict[str, str]:
        return {
            worker.name: worker.hand_over
            for worker in self.workers.values()
            if not worker.leaving and worker.state is not WorkerState.LOST
        }

    def _leaving(self) -> dict[str, str]:
        return {
            worker.name: worker.hand_over
            for worker in self.workers.values()
            if worker.leaving or worker.state is WorkerState.LOST
        }

    def _tell_ring(self, worker: Worker, now: float, fence: Sequence[int] = ()) -> None:
        if worker.reached:
            self._outbox.to_workers.append((worker.identity, encode_ring(self._epochs.ring, fence=fence)))
            worker.ring_told_at = now

    def ask(self, identity: bytes, now: float) -> None:
        """Ask a worker who it is, and for all its claims; once a heartbeat, since it answers every time."""
        if now - self._asked.get(identity, float("-inf")) >= self._beat_s:
            self._asked[identity] = now
            worker = self.workers.get(identity)
            known = worker is not None and worker.reached
            self._outbox.to_workers.append((identity, encode_control(WHO1, {"known": True} if known else {})))

    def not_asked(self, identity: bytes) -> None:
        """It was not reached."""
        self._asked.pop(identity, None)

    def _say_alive(self, identity: bytes) -> None:
        said = {"router": self.position, "members": True, "notes": True}
        self._outbox.to_workers.append((identity, encode_control(ALIVE1, said)))

    def _change(self, notice: str) -> None:
        self.changed = True
        self._outbox.notices.append(notice)


def _news_of(worker: Worker, before: WorkerState, known: bool, restarted: bool) -> str:
    """What READY1 has told of a worker, for the log."""
    if not known:
        return "joined"
    if restarted:
        return "restarted"
    return "is back" if before in (WorkerState.RESTARTING, WorkerState.LOST) else f"is {worker.state.value}"
