"""Simulated routers: the real core (`router.core`) with a shell that does what `router.shell` does, in its order."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from shared.settings import Settings
from simulator.bus import Exchange, Frames, Link, RouterSocket
from simulator.calls_os import unix_ms
from simulator.files import Descriptors
from simulator.hosts import Host
from simulator.loading import load
from simulator.processes import Process
from simulator.worlds import World

#: Names a worker's process, to be killed: (name, pid, started).
Kill = Callable[[str, int, int], None]


class Router:
    """One router: process, core and two sockets. It can be killed, stopped and started again."""

    def __init__(
        self,
        world: World,
        exchange: Exchange,
        host: Host,
        position: int,
        settings: Settings,
        endpoints: tuple[str, str],
    ) -> None:
        self.world, self.exchange, self.host, self.position, self.settings = world, exchange, host, position, settings
        self.name = f"router-{position}"
        self._bus_endpoint, self._sender_endpoint = endpoints
        self.kill_worker: Kill = lambda name, pid, started: None
        self.answered: Callable[[Frames], None] = lambda frames: None
        self.clock_back_ms = 0
        self.process: Process | None = None
        self.core: Any = None
        self.start()

    def start(self) -> None:
        """A new process on the same endpoints, unless one runs."""
        if self.alive:
            return
        world = self.world
        self.process = process = Process(world, self.name, self.host, Descriptors(), 1)
        process.hub = self
        process.on_death = self._died
        self._inboxes: tuple[deque[tuple[bytes, Frames]], deque[tuple[bytes, Frames]]] = (deque(), deque())
        self._due, self._alarm = False, float("inf")
        self._sockets = (
            RouterSocket(self.exchange, self._bus_endpoint, self.host.name, self.name),
            RouterSocket(self.exchange, self._sender_endpoint, self.host.name, self.name),
        )
        for socket, inbox in zip(self._sockets, self._inboxes, strict=True):
            socket.receive = partial(self._arrived, inbox)
        process.run(self._build)
        world.note(self.name, "started")
        self._set_alarm()

    def _build(self) -> None:
        started_ms = unix_ms() - self.clock_back_ms
        entropy = self.world.entropy.randbytes
        core = load("router.core").Core
        self.core = core(self.settings, started_ms, self.world.now, entropy, lambda: unix_ms() * 1000, self.position)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def links_of(self, name: str) -> list[Link]:
        """Its links to the worker of that name."""
        link = self._sockets[0].peers.get(name.encode())
        return [link] if link is not None else []

    def _died(self) -> None:
        for socket in self._sockets:
            socket.close()

    # --- turns

    def _arrived(self, inbox: deque[tuple[bytes, Frames]], identity: bytes, frames: Frames) -> None:
        inbox.append((identity, frames))
        self.wake()

    def wake(self) -> None:
        """A turn is due."""
        assert self.process is not None
        if not self._due and self.process.runs:
            self._due = True
            self.world.after(self.world.network.uniform(0.00002, 0.0003), self._turn, self.process)

    def _set_alarm(self) -> None:
        when = self.core.next_deadline()
        if when < self._alarm:
            self._alarm = when
            self.world.at(when, self._ring, self.process)

    def _ring(self, process: Process) -> None:
        if process is self.process:
            self._alarm = float("inf")
            self.wake()

    def _turn(self, process: Process) -> None:
        if process is not self.process:
            return
        self._due = False
        if process.runs:
            process.run(self._do_turn)
            self._set_alarm()

    def _do_turn(self) -> None:
        now = self.world.now
        from_workers, from_senders = self._inboxes
        while from_workers:
            self.core.from_worker(*from_workers.popleft(), now)
        while from_senders:
            self.core.from_sender(*from_senders.popleft(), now)
        if now >= self.core.next_deadline():
            self.core.tick(now)
        self._send(now)

    def _send(self, now: float) -> None:
        outbox, lost = self.core.outbox, True
        while lost:
            self.core.flush(now)
            lost = self._send_to_workers(now)
        for identity, frames in outbox.take_to_senders():
            self.answered(frames)
            if not self._sockets[1].send(identity, frames):
                self.core.sender_gone(identity)
        for notice in outbox.take_notices():
            self.world.note(self.name, "%s", notice)
        for name, pid, started in outbox.take_kills() if hasattr(outbox, "take_kills") else ():
            self.kill_worker(name, pid, started)

    def _send_to_workers(self, now: float) -> bool:
        unsent: dict[bytes, list[Frames]] = {}
        for identity, frames in self.core.outbox.take_to_workers():
            if identity in unsent:
                unsent[identity].append(frames)
            elif not self._sockets[0].send(identity, frames):
                unsent[identity] = [frames]
        for identity, messages in unsent.items():
            self.core.unreachable(identity, messages, now)
        return bool(unsent)
