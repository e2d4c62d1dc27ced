"""Simulated workers, the real code of `gateway` in a process each, and their guardians, as `gateway.guardian` is."""

from collections import deque
from collections.abc import Callable
from typing import Any

from shared import places
from shared.settings import Settings
from simulator.files import Descriptors, LockFile, OpenFile
from simulator.hosts import Host
from simulator.hubs import begin
from simulator.loading import load
from simulator.processes import Process
from simulator.tcp import ListenerFile
from simulator.unix_sockets import UnixSocket
from simulator.worlds import World

#: As in gateway.guardian, which the simulator cannot run: it is system calls and nothing else.
_DEATHS_MAX, _DEATHS_WITHIN_S, _LOOK_S = 5, 10.0, 0.5
_BEAT_AT, _SLOTS_AT = 72, 8
_BAD_SETTINGS, _SIGTERM, _FETCH_S = 2, 15, 2.0
#: Slots of a ledger here; real ones have as many as there may be descriptors.
LEDGER_SLOTS = 256


class Seat:
    """One worker's place on its host: guardian, the descriptor table that both share, and the worker that runs now."""

    def __init__(self, world: World, host: Host, index: int, settings: Settings) -> None:
        self.world, self.host, self.index, self.settings = world, host, index, settings
        self.name = f"{host.name}/{index}"
        self.process: Process
        self.crashed: Callable[[Seat], None] = lambda seat: None
        self.ended: Callable[[Seat], None] = lambda seat: None
        self.pids = 100 * (index + 1)
        self._ledger: Any = None
        self.listener: Any = None
        self.guarded = False
        self.open()

    def open(self) -> None:
        """A new guardian: it takes lock and ledger, fetches the listeners that a neighbour has kept, and starts."""
        self.descriptors = Descriptors()
        lock = LockFile(str(places.pid_path(self.settings, self.index)), self.host.locks)
        self.descriptors.install(lock)
        lock.lock()
        self._own = {"lock": 3, "ledger": self._create_ledger()}
        self.told: list[int] = []
        self._deaths: deque[float] = deque(maxlen=_DEATHS_MAX)
        self.guarded, self.opening = True, True
        kept = self.host.sockets.get(str(places.listener_path(self.settings, self.index)))
        asker = UnixSocket()
        if kept is None or not kept.references:
            self._open_listeners(self._new_listeners())
        else:
            asker.connect(kept)
            self.world.after(0.001, self._fetch, asker, self.world.now + _FETCH_S)

    def _new_listeners(self) -> list[OpenFile]:
        return [ListenerFile(self.host.listeners), ListenerFile([])]

    def _fetch(self, asker: UnixSocket, until: float) -> None:
        """`gateway.listeners.fetch_listeners`, which waits for its answer."""
        files: list[OpenFile] = []
        try:
            files = asker.receive()[1]
        except BlockingIOError:
            if self.world.now < until:
                self.world.after(0.001, self._fetch, asker, until)
                return
        except OSError:
            pass
        asker.released()
        self._open_listeners(files or self._new_listeners())

    def _open_listeners(self, files: list[OpenFile]) -> None:
        for name, file in zip(("client", "nginx"), files, strict=True):
            self._own[name] = self.descriptors.install(file)
            file.references -= file.references > 1  # that of the message
        self.listener = files[0]
        self.opening = False
        self.start()

    def _create_ledger(self) -> int:
        """Made by the product's code, in a process of the guardian's."""
        guardian = Process(self.world, f"guardian {self.name}", self.host, self.descriptors, self.pids)
        made: list[int] = []
        ledgers = load("gateway.ledgers")
        ledgers.BLOCKS = 16
        guardian.run(lambda: made.append(ledgers.create(LEDGER_SLOTS)))
        self._ledger = self.descriptors.get(made[0])
        return made[0]

    def start(self, evacuate: bool = False) -> None:
        """Fork the worker."""
        self.pids += 1
        self._ledger.data[_BEAT_AT : _BEAT_AT + 8] = bytes(8)
        self.process = process = Process(self.world, self.name, self.host, self.descriptors, self.pids)
        process.settings = self.settings
        process.on_death = lambda: self._died(process)
        self.world.note(self.name, "starts, pid %d%s", process.pid, " to give its clients away" if evacuate else "")
        begin(self.world, process, lambda: self._main(process, evacuate))
        self._look(process, bytes(8), 0)

    def _main(self, process: Process, evacuate: bool) -> None:
        own = self._own
        main = load("gateway.worker").main
        status = main(
            self.index, own["client"], own["nginx"], own["ledger"], guardian=process.parent, evacuate=evacuate
        )
        process.end(status)

    @property
    def worker(self) -> Any:
        """gateway.worker.Worker of the process that runs now; None while it starts."""
        return self.process.worker

    # --- guarding

    def _look(self, process: Process, last: bytes, still: int) -> None:
        """Kill a worker whose loop stands still."""
        if process is not self.process or not process.alive or not self.guarded:
            return
        beat = bytes(self._ledger.data[_BEAT_AT : _BEAT_AT + 8])
        still = still + 1 if beat == last and any(beat) else 0
        if still >= max(1, round(self.settings.worker_timeout_ms / 1000 / _LOOK_S)):
            self.world.note(self.name, "stands still: killed by its guardian")
            process.kill()
            return
        self.world.after(_LOOK_S, self._look, process, beat, still)

    def signal(self, number: int) -> None:
        """A signal to the guardian, who passes it on."""
        if self.guarded:
            self.told.append(number)
            self.process.signal(number)

    def _died(self, process: Process) -> None:
        """SIGCHLD."""
        status = process.status
        if not self.guarded:
            self._close()
            return
        if status not in (0, _BAD_SETTINGS):
            self.crashed(self)
            self._clean_up()
            if self.told == [_SIGTERM]:
                self.told.append(0)
                self.start(evacuate=True)
                return
            if not self.told:
                self._start_again()
                return
        self._close()

    def _start_again(self) -> None:
        now = self.world.now
        self._deaths.append(now)
        recent = sum(now - death < _DEATHS_WITHIN_S for death in self._deaths)
        if recent >= _DEATHS_MAX:
            self.told.append(0)
            self.start(evacuate=True)
            return
        pause = min(1.0, 0.05 * 2 ** (recent - 1)) if recent > 1 else 0.0
        # an interpreter with all that the worker imports takes a while
        self.world.after(pause + self.world.network.uniform(0.05, 0.4), self._start_after_pause, self.descriptors)

    def _start_after_pause(self, descriptors: Descriptors) -> None:
        if self.guarded and descriptors is self.descriptors and not self.told:
            self.start()

    def _clean_up(self) -> None:
        """Close whatever a dead worker has left but its clients' sockets; forget sockets that are closed."""
        kinds = self._kinds()
        found = dict(self.descriptors.items())
        for number in found:
            if number not in self._own.values() and not (number < len(kinds) and kinds[number]):
                self.descriptors.close(number)
        for number, kind in enumerate(kinds):
            if kind and number not in found:
                first, size, _ = self._slots()
                self._ledger.data[first + number * size] = 0

    def _slots(self) -> tuple[int, int, int]:
        words = memoryview(self._ledger.data)[_SLOTS_AT : _SLOTS_AT + 12].cast("I")
        return words[0], words[1], words[2]

    def _kinds(self) -> bytes:
        first, size, slots = self._slots()
        return bytes(self._ledger.data[first : first + size * slots : size])

    def _close(self) -> None:
        """The last process of this seat has ended."""
        self.guarded = False
        self.world.note(self.name, "guardian ends")
        self.descriptors.close_all()
        self.ended(self)

    def kill_guardian(self) -> None:
        """kill -9 of the guardian: the worker is told by the kernel (its parent is another)."""
        self.guarded = False
        self.process.parent = 1
        if self.process.orphaned is not None:
            self.process.hub.run_callback(self.process.orphaned)
        self.world.note(self.name, "guardian killed")
        if not self.process.alive:
            self._close()
