"""epoll, level-triggered. A registration belongs to the open file and goes with its last reference only."""

import errno
import select

from simulator.files import Descriptors, OpenFile, fault
from simulator.processes import Process
from simulator.tcp import Stream

_IN, _OUT, _GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP


class EpollFile(OpenFile):
    """The set. Only what may have become ready is looked at."""

    kind = "epoll"

    def __init__(self, table: Descriptors) -> None:
        super().__init__()
        self._table = table
        self._registered: dict[int, tuple[OpenFile, int]] = {}
        self._candidates: dict[int, None] = {}

    def register(self, number: int, mask: int) -> None:
        known = self._registered.get(number)
        file = self._table.get(number)
        if known is not None and known[0] is file:
            raise fault(errno.EEXIST)
        file.watchers[self, number] = lambda: self._stir(number)
        self._registered[number] = (file, mask)
        self._stir(number)

    def modify(self, number: int, mask: int) -> None:
        file = self._known(number)
        self._registered[number] = (file, mask)
        self._stir(number)

    def unregister(self, number: int) -> None:
        file = self._known(number)
        del self._registered[number]
        file.watchers.pop((self, number), None)

    def _known(self, number: int) -> OpenFile:
        file = self._table.get(number)
        known = self._registered.get(number)
        if known is None or known[0] is not file:
            raise fault(errno.ENOENT)
        return file

    def _stir(self, number: int) -> None:
        self._candidates[number] = None
        self.changed()

    def _ready(self, number: int) -> int:
        file, mask = self._registered.get(number, (None, 0))
        if file is None or not file.references:
            return 0
        ready = _GONE if file.hung_up() else 0
        if mask & _IN and file.readable():
            ready |= _IN
        if mask & _OUT and file.writable():
            ready |= _OUT
        return ready

    def readable(self) -> bool:
        for number in list(self._candidates):
            if self._ready(number):
                return True
            del self._candidates[number]
        return False

    def poll(self, most: int) -> list[tuple[int, int]]:
        found = []
        for number in sorted(self._candidates):
            ready = self._ready(number)
            if ready:
                found.append((number, ready))
            else:
                del self._candidates[number]
        return found[:most]


class Epoll:
    """select.epoll for a process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._file = EpollFile(process.descriptors)
        self._number = process.descriptors.install(self._file)

    def fileno(self) -> int:
        return self._number

    def register(self, number: int, mask: int) -> None:
        self._process.system_call()
        self._file.register(number, mask)
        file = self._process.descriptors.get(number)
        if isinstance(file, Stream):  # from now on it is served
            file.watcher.touched(file, self._process)

    def modify(self, number: int, mask: int) -> None:
        self._process.system_call()
        self._file.modify(number, mask)

    def unregister(self, number: int) -> None:
        self._process.system_call()
        self._file.unregister(number)

    def poll(self, timeout: float = 0, maxevents: int = 256) -> list[tuple[int, int]]:
        self._process.system_call()
        return self._file.poll(maxevents)

    def close(self) -> None:
        self._process.descriptors.close(self._number)
