"""Simulated `socket`: listening TCP sockets, shutdown of clients' sockets, SOCK_SEQPACKET with descriptors."""

import errno
import socket
import struct
from array import array
from collections.abc import Sequence
from typing import Any

from simulator.calls_os import Constants
from simulator.files import OpenFile, fault
from simulator.tcp import ListenerFile, Stream
from simulator.unix_sockets import UnixListener, UnixSocket
from simulator.worlds import caller

_PURE = frozenset({"CMSG_SPACE", "CMSG_LEN", "inet_pton", "inet_ntop", "AddressFamily", "SocketKind"})


class Socket:
    """A socket object of the present process. Never blocks."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        self._process = caller()
        self._number = -1 if fileno is None else fileno
        self._file: OpenFile | None = None
        self.family, self.type = family, type
        if fileno is not None:
            self._file = self._process.descriptors.get(fileno)
        elif family == socket.AF_UNIX:
            self._open(UnixSocket())

    def _open(self, file: OpenFile) -> None:
        if self._number < 0:
            self._number = self._process.descriptors.install(file)
        else:  # bind and connect decide what it is
            self._process.descriptors.close(self._number)
            self._number = self._process.descriptors.install(file)
        self._file = file

    def fileno(self) -> int:
        return self._number

    def setblocking(self, blocking: bool) -> None: ...

    def setsockopt(self, *arguments: Any) -> None: ...

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        if option == socket.SO_PEERCRED:
            return struct.pack("3i", 1, 1000, 1000)
        return 0

    def getsockname(self) -> Any:
        return ("127.0.0.1", 0)

    def bind(self, path: Any) -> None:
        self._process.system_call()
        listener = UnixListener()
        self._open(listener)
        self._process.host.sockets[str(path)] = listener

    def listen(self, backlog: int = 0) -> None: ...

    def connect(self, path: Any) -> None:
        self._process.system_call()
        assert isinstance(self._file, UnixSocket)
        self._file.connect(self._process.host.sockets.get(str(path)))

    def accept(self) -> "tuple[Socket, Any]":
        self._process.system_call()
        assert isinstance(self._file, UnixListener)
        file = self._file.accept()
        number = self._process.descriptors.install(file)
        file.references -= 1  # the queue's
        return Socket(socket.AF_UNIX, fileno=number), ""

    def _accept(self) -> tuple[int, Any]:
        self._process.system_call()
        assert isinstance(self._file, ListenerFile)
        stream = self._file.accept()
        number = self._process.descriptors.install(stream)
        stream.references -= 1
        return number, ("10.0.0.1", stream.number)

    def sendmsg(self, buffers: Sequence[bytes], ancillary: Sequence[Any] = ()) -> int:
        if ancillary:
            self._process.hands_over("give")
        self._process.system_call()
        assert isinstance(self._file, UnixSocket)
        numbers = [number for _, _, rights in ancillary for number in array("i", rights)]
        self._file.send(b"".join(buffers), [self._process.descriptors.get(number) for number in numbers])
        return sum(map(len, buffers))

    def recvmsg(self, size: int, space: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        self._process.system_call()
        assert isinstance(self._file, UnixSocket)
        data, files = self._file.receive()
        if files:
            self._process.hands_over("take")
        numbers = array("i")
        truncated = 0
        for file in files:
            try:
                numbers.append(self._process.descriptors.install(file))
            except OSError:
                truncated = socket.MSG_CTRUNC
            file.drop()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers.tobytes())] if files else []
        return data, rights, truncated, None

    def shutdown(self, how: int) -> None:
        self._process.system_call()
        if isinstance(self._file, Stream):
            self._file.shut_down(self._process)
        elif not isinstance(self._file, UnixSocket):
            raise fault(errno.ENOTCONN)

    def getpeername(self) -> Any:
        return ("10.0.0.1", 1)

    def detach(self) -> int:
        number, self._number = self._number, -1
        return number

    def close(self) -> None:
        if self._number >= 0:
            self._process.descriptors.close(self.detach())

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Sockets(Constants):
    """The module."""

    socket = Socket

    def send_fds(self, sock: Socket, buffers: Sequence[bytes], fds: Sequence[int]) -> int:
        return sock.sendmsg(buffers, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))])

    def __init__(self) -> None:
        super().__init__(socket, _PURE)
