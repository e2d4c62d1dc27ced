"""Simulated `gevent`: a hub for each process, with libev's order in a turn: callbacks, sockets, timers."""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

from greenlet import greenlet

from simulator.files import OpenFile
from simulator.processes import Process
from simulator.worlds import World, caller

#: gevent runs so many callbacks in a row before it looks at anything else.
_CALLBACKS = 50


class Hub:
    """Turns of one process: one is due soon after anything is ready."""

    def __init__(self, process: Process) -> None:
        self.process, self.world = process, process.world
        self._chance = self.world.network
        self._callbacks: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._sockets: dict[IoWatcher, None] = {}
        self._timers: list[tuple[float, int, Timer, int]] = []
        self._serial = 0
        self._due = False
        self._alarm = float("inf")
        process.hub = self

    # --- what is waited for

    def run_callback(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._callbacks.append((callback, arguments))
        self.wake()

    def io(self, number: int, events: int) -> "IoWatcher":
        return IoWatcher(self, number, events)

    def timer(self, after: float, repeat: float = 0.0) -> "Timer":
        return Timer(self, after, repeat)

    def watch(self, watcher: "IoWatcher") -> None:
        self._sockets[watcher] = None
        if watcher.ready():
            self.wake()

    def ignore(self, watcher: "IoWatcher") -> None:
        self._sockets.pop(watcher, None)

    def set_timer(self, timer: "Timer", when: float) -> None:
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, timer, timer.generation))
        if when < self._alarm:
            self._alarm = when
            self.world.at(when, self._ring)

    # --- turns

    def _ring(self) -> None:
        self._alarm = float("inf")
        self.wake()

    def wake(self) -> None:
        """Something may be ready: a turn is due."""
        if not self._due and self.process.runs:
            self._due = True
            self.world.after(self._chance.uniform(0.00002, 0.0003), self._turn)

    def _turn(self) -> None:
        self._due = False
        if self.process.runs:
            self.process.run(self._do_turn)
        if self.process.runs and self._more():
            self.wake()

    def _do_turn(self) -> None:
        for _ in range(_CALLBACKS):
            if not self._callbacks:
                break
            callback, arguments = self._callbacks.popleft()
            callback(*arguments)
        for watcher in [watcher for watcher in self._sockets if watcher.ready()]:
            if watcher in self._sockets:
                watcher.fire()
        now = self.world.now
        while self._timers and self._timers[0][0] <= now:
            _, _, timer, generation = heapq.heappop(self._timers)
            timer.fire(generation)
        if self._timers and self._alarm > self._timers[0][0]:
            self._alarm = self._timers[0][0]
            self.world.at(self._alarm, self._ring)

    def _more(self) -> bool:
        return bool(self._callbacks) or any(watcher.ready() for watcher in self._sockets)


class IoWatcher:
    """loop.io()."""

    def __init__(self, hub: Hub, number: int, events: int) -> None:
        self._hub, self._events, self._number = hub, events, number
        self._file: OpenFile | None = None
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = None

    def start(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._file = self._hub.process.descriptors.get(self._number)
        self._file.watchers[self] = self._hub.wake
        self._call = (callback, arguments)
        self._hub.watch(self)

    def stop(self) -> None:
        self._call = None
        self._hub.ignore(self)
        if self._file is not None:
            self._file.watchers.pop(self, None)

    def close(self) -> None:
        self.stop()

    @property
    def active(self) -> bool:
        return self._call is not None

    def ready(self) -> bool:
        file = self._file
        if file is None or self._call is None:
            return False
        return (bool(self._events & 1) and file.readable()) or (bool(self._events & 2) and file.writable())

    def fire(self) -> None:
        if self._call is not None and self.ready():
            callback, arguments = self._call
            callback(*arguments)


class Timer:
    """loop.timer()."""

    def __init__(self, hub: Hub, after: float, repeat: float) -> None:
        self._hub, self._after, self._repeat = hub, after, repeat
        self.generation = 0
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = None

    def start(self, callback: Callable[..., None], *arguments: Any) -> None:
        self.generation += 1
        self._call = (callback, arguments)
        self._hub.set_timer(self, self._hub.world.now + self._after)

    def again(self, callback: Callable[..., None], *arguments: Any) -> None:
        self.start(callback, *arguments)

    def stop(self) -> None:
        self.generation += 1
        self._call = None

    def close(self) -> None:
        self.stop()

    @property
    def active(self) -> bool:
        return self._call is not None

    def fire(self, generation: int) -> None:
        if generation != self.generation or self._call is None:
            return
        callback, arguments = self._call
        if self._repeat:
            self._hub.set_timer(self, self._hub.world.now + self._repeat)
        else:
            self._call = None
        callback(*arguments)


class HubEvent:
    """gevent.event.Event: a greenlet waits, the hub goes on."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[greenlet] = []
        self._hub: Hub = caller().hub

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._hub.run_callback(one.switch)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            present = greenlet.getcurrent()
            assert present.parent is not None, "the hub must not wait"
            self._waiting.append(present)
            if timeout is not None:
                self._hub.timer(timeout).start(self._time_out, present)
            present.parent.switch()
        return self._set

    def _time_out(self, waiting: greenlet) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            waiting.switch()


class _Events:
    Event = HubEvent


class _HubHandle:
    @property
    def loop(self) -> Hub:
        hub: Hub = caller().hub
        return hub


class Gevent:
    """The module."""

    event = _Events()

    def get_hub(self) -> _HubHandle:
        return _HubHandle()

    def signal_handler(self, number: int, handler: Callable[..., None], *arguments: Any) -> object:
        caller().signals[int(number)] = lambda: handler(*arguments)
        return handler

    def sleep(self, seconds: float = 0) -> None:
        HubEvent().wait(seconds)

    def spawn(self, function: Callable[..., None], *arguments: Any) -> greenlet:
        started = greenlet(function)
        caller().hub.run_callback(started.switch, *arguments)
        return started


def begin(world: World, process: Process, main: Callable[[], None]) -> None:
    """Start a process whose main function may wait."""
    hub = Hub(process)
    running = greenlet(main)
    process.main = running
    hub.run_callback(running.switch)
