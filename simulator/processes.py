"""Simulated processes: what they are to the kernel, and how they are stopped, continued and killed."""

from collections.abc import Callable
from typing import Any

from simulator.files import Descriptors
from simulator.hosts import Host
from simulator.worlds import World


class Killed(BaseException):
    """The process is no more: unwinds what it was doing. No code of the product catches it."""


class Process:
    """One process on one host. Everything that it does, it does in `run`.

    It can be killed in the middle of what it does: `dies_in` counts its system calls down.
    """

    def __init__(self, world: World, name: str, host: Host, descriptors: Descriptors, pid: int) -> None:
        self.world, self.name, self.host, self.descriptors, self.pid = world, name, host, descriptors, pid
        self.started = int(world.now * 100)
        self.alive = True
        self.stopped = False
        self.dies_in: int | None = None
        #: The same, counted from the next hand-over that it sends ("give") or receives ("take").
        self.dies_after: dict[str, int] = {}
        self.signals: dict[int, Callable[[], None]] = {}
        self.hub: Any = None
        self.on_death: Callable[[], None] = lambda: None
        self.mappings: list[Any] = []  # memory files that it has mapped
        self.status = 0
        self.orphaned: Callable[[], None] | None = None  # to be called when its parent has died
        self.parent = pid - 1
        self.settings: Any = None
        self.worker: Any = None
        self.main: Any = None  # its greenlet, kept: to collect it would be to run its ends

    @property
    def runs(self) -> bool:
        """Whether it gets processor time."""
        return self.alive and not self.stopped

    def run(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Do something as this process, which may die of it."""
        before, self.world.current = self.world.current, self
        try:
            callback(*arguments)
        except Killed:
            pass
        finally:
            self.world.current = before

    def system_call(self) -> None:
        """To be called at the start of each system call: this may be its last moment."""
        if not self.alive:
            raise Killed
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.kill()
                raise Killed

    def hands_over(self, what: str) -> None:
        """It gives or takes clients: its last calls may be counted from here."""
        if what in self.dies_after:
            self.dies_in = self.dies_after.pop(what)

    def kill(self) -> None:
        """SIGKILL. Memory that it shared stays as it is now."""
        if not self.alive:
            return
        self.alive, self.dies_in, self.status = False, None, -9
        for memory in self.mappings:
            memory.detach()
        self.world.note(self.name, "killed")
        self.world.after(0.0005, self.on_death)

    def end(self, status: int) -> None:
        """Its main function has returned."""
        self.alive, self.status = False, status
        self.world.note(self.name, "ended with status %d", status)
        self.world.after(0.0005, self.on_death)

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True
        self.world.note(self.name, "stopped")

    def go_on(self) -> None:
        """SIGCONT."""
        if self.alive and self.stopped:
            self.stopped = False
            self.world.note(self.name, "goes on")
            if self.hub is not None:
                self.hub.wake()

    def signal(self, number: int) -> None:
        """A signal that it handles; one that it does not is ignored."""
        handler = self.signals.get(number)
        if self.alive and handler is not None:
            self.hub.run_callback(handler)
