"""Simulated `os`, `fcntl`, `mmap`, `select`, `resource`, `gc` and `time`, as far as the gateway uses them.

A name that is missing here raises AttributeError that says so: then the product has begun to use another call.
"""

import errno
import fcntl
import os
import signal
import time
from typing import Any

from simulator.epolls import Epoll
from simulator.files import LockFile, Memory, MemoryFile, fault
from simulator.tcp import Stream
from simulator.worlds import BEGINS_AT, UNIX_MS, caller, present

_PURE = frozenset({"strerror", "path", "fspath", "fsencode", "fsdecode", "environ", "PathLike", "sep"})


class Constants:
    """Names of a real module that are constants, or pure."""

    def __init__(self, real: Any, pure: frozenset[str] = frozenset()) -> None:
        self._real, self._pure = real, pure

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name in self._pure or isinstance(value, int | str | type(BaseException)):
            return value
        raise AttributeError(f"{self._real.__name__}.{name} is not simulated")


class Os(Constants):
    """`os` on the present process's descriptors."""

    def __init__(self) -> None:
        super().__init__(os, _PURE)

    def read(self, number: int, size: int) -> bytes:
        process = caller()
        process.system_call()
        file = process.descriptors.get(number)
        if isinstance(file, Stream):
            return file.read(process, size)
        if isinstance(file, MemoryFile):
            return bytes(file.data[:size])
        raise fault(errno.EBADF)

    def write(self, number: int, data: Any) -> int:
        process = caller()
        process.system_call()
        file = process.descriptors.get(number)
        if not isinstance(file, Stream):
            raise fault(errno.EBADF)
        return file.write(process, bytes(data))

    def pwrite(self, number: int, data: bytes, at: int) -> int:
        file = caller().descriptors.get(number)
        assert isinstance(file, MemoryFile)
        file.data[at : at + len(data)] = data
        return len(data)

    def pread(self, number: int, size: int, at: int) -> bytes:
        file = caller().descriptors.get(number)
        assert isinstance(file, MemoryFile)
        return bytes(file.data[at : at + size])

    def ftruncate(self, number: int, size: int) -> None:
        file = caller().descriptors.get(number)
        assert isinstance(file, MemoryFile)
        file.data = Memory(size)

    def close(self, number: int) -> None:
        caller().system_call()
        caller().descriptors.close(number)

    def dup(self, number: int) -> int:
        caller().system_call()
        return caller().descriptors.install(caller().descriptors.get(number))

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        host = caller().host
        return caller().descriptors.install(LockFile(str(path), host.locks))

    def memfd_create(self, name: str, flags: int = 0) -> int:
        caller().system_call()
        return caller().descriptors.install(MemoryFile())

    def fdopen(self, number: int, mode: str = "r", closefd: bool = True) -> "_Opened":
        return _Opened(number, closefd)

    def set_blocking(self, number: int, blocking: bool) -> None:
        caller().descriptors.get(number)

    def get_blocking(self, number: int) -> bool:
        return False

    def set_inheritable(self, number: int, inheritable: bool) -> None:
        caller().descriptors.get(number)

    def getpid(self) -> int:
        return caller().pid

    def getppid(self) -> int:
        return caller().parent

    def getuid(self) -> int:
        return 1000

    def urandom(self, size: int) -> bytes:
        return present().entropy.randbytes(size)


class _Opened:
    """A memfd as file object."""

    def __init__(self, number: int, closefd: bool) -> None:
        self._number, self._closes = number, closefd
        file = caller().descriptors.get(number)
        if not isinstance(file, MemoryFile):
            raise fault(errno.EINVAL)
        self._file, self._at = file, 0

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._closes:
            caller().descriptors.close(self._number)

    def write(self, data: bytes) -> int:
        self._file.data[self._at :] = data
        self._at += len(data)
        return len(data)

    def seek(self, at: int) -> int:
        self._at = at
        return at

    def read(self) -> bytes:
        return bytes(self._file.data[self._at :])


class Fcntl(Constants):
    """`fcntl`: flock on the files that serve as locks."""

    def __init__(self) -> None:
        super().__init__(fcntl)

    def flock(self, number: int, operation: int) -> None:
        number = number if isinstance(number, int) else number.fileno()
        file = caller().descriptors.get(number)
        assert isinstance(file, LockFile)
        if operation & fcntl.LOCK_UN:
            file.released()
        elif not file.lock():
            raise BlockingIOError(errno.EAGAIN, "locked")


class Mmap:
    """`mmap`: a memory file's bytes, until the process that mapped them dies."""

    class mmap:
        def __new__(cls, number: int, length: int, *arguments: Any, **more: Any) -> Any:
            if number < 0:
                return Memory(length)
            process = caller()
            file = process.descriptors.get(number)
            assert isinstance(file, MemoryFile)
            process.mappings.append(file)
            return file.data

    MAP_SHARED = 1
    PROT_READ, PROT_WRITE = 1, 2


class Select(Constants):
    """`select`: epoll alone."""

    def epoll(self) -> Epoll:
        return Epoll(caller())


class Time(Constants):
    """`time`: the world's clock, the same on every host but for what faults do to a router's."""

    def __init__(self) -> None:
        super().__init__(time)

    def monotonic(self) -> float:
        return present().now

    def monotonic_ns(self) -> int:
        return int(present().now * 1e9)

    def time(self) -> float:
        return unix_ms() / 1000

    def time_ns(self) -> int:
        return unix_ms() * 1_000_000


def unix_ms() -> int:
    """The wall clock."""
    return UNIX_MS + int((present().now - BEGINS_AT) * 1000)


class Gc:
    """`gc`: there is nothing to see, and it would cost a seed most of its time."""

    def collect(self, generation: int = 2) -> int:
        return 0

    def freeze(self) -> None: ...


class Signals(Constants):
    """`signal`: handlers are gevent's; what is blocked plays no part."""

    def __init__(self) -> None:
        super().__init__(signal, frozenset({"Signals"}))

    def pthread_sigmask(self, how: int, signals: object) -> None: ...


class Resource(Constants):
    def getrlimit(self, which: int) -> tuple[int, int]:
        most = caller().descriptors.most
        return (most, most)
