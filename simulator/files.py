"""Open files and descriptor tables, as Linux has them: a file lives as long as anything refers to it."""

import errno
import os
from collections.abc import Callable


def fault(number: int) -> OSError:
    """The exception of a system call that failed."""
    return OSError(number, os.strerror(number))


class OpenFile:
    """What a descriptor refers to. Whoever watches it is told when its readiness may have changed."""

    kind = "file"

    def __init__(self) -> None:
        self.references = 0
        self.tables: list[Descriptors] = []  # those in which it has descriptors, once for each
        self.watchers: dict[object, Callable[[], None]] = {}

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def hung_up(self) -> bool:
        """EPOLLHUP or EPOLLERR."""
        return False

    def changed(self) -> None:
        """Tell those who watch."""
        for tell in list(self.watchers.values()):
            tell()

    def released(self) -> None:
        """Nothing refers to it any more."""

    def drop(self) -> None:
        """One reference less."""
        self.references -= 1
        if not self.references:
            self.released()
            self.watchers.clear()


class Memory(bytearray):
    """Bytes that may be mapped; `write` and `close` as mmap's."""

    def write(self, data: bytes) -> int:
        self[: len(data)] = data
        return len(data)

    def close(self) -> None: ...

    def flush(self) -> None: ...


class MemoryFile(OpenFile):
    """A memfd, which several processes may map."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.data = Memory()

    def detach(self) -> None:
        """Who has mapped it is dead: what its unwinding still writes is not seen."""
        self.data = Memory(self.data)


class LockFile(OpenFile):
    """A file that is there to be locked."""

    kind = "lock"

    def __init__(self, path: str, locks: dict[str, "LockFile"]) -> None:
        super().__init__()
        self.path, self._locks = path, locks

    def lock(self) -> bool:
        """Whether it is locked by this open file now."""
        return self._locks.setdefault(self.path, self) is self

    def released(self) -> None:
        if self._locks.get(self.path) is self:
            del self._locks[self.path]


class Descriptors:
    """A descriptor table; a worker shares its guardian's."""

    def __init__(self, most: int = 250) -> None:
        self._files: dict[int, OpenFile] = {}
        self.most = most

    def install(self, file: OpenFile) -> int:
        """The lowest number that is free, as the kernel gives it."""
        number = 3
        while number in self._files:
            number += 1
        if number >= self.most:
            raise fault(errno.EMFILE)
        self._files[number] = file
        file.references += 1
        file.tables.append(self)
        return number

    def get(self, number: int) -> OpenFile:
        file = self._files.get(number)
        if file is None:
            raise fault(errno.EBADF)
        return file

    def close(self, number: int) -> None:
        file = self.get(number)
        del self._files[number]
        file.tables.remove(self)
        file.drop()

    def items(self) -> list[tuple[int, OpenFile]]:
        return sorted(self._files.items())

    def close_all(self) -> None:
        for number, _ in self.items():
            self.close(number)
