"""Members of a group that stay connected and note each push: one thread and one epoll set for all of them."""

import select
import socket
import threading
import time
from array import array
from types import TracebackType
from typing import Self

from services.clients.subscriptions import Options, Subscription
from shared.errors import RemoteError
from shared.packets import encode_packet, parse_packet

_READ_BYTES, _BODY_MAX = 1 << 16, 1 << 20
_INTERVAL_S = 300
_BIND_S = 60.0
#: Clients that may be connecting at once: fewer than a listener's queue holds.
_AT_ONCE = 200


class Member:
    """One client. `got`: the numbers of the pushes it got, in its order. Binary packets of version 2."""

    __slots__ = ("bound", "buffer", "cut_off", "got", "socket", "subscription")

    def __init__(self, token: str, uid: str | None) -> None:
        self.subscription = Subscription(token, Options(uid=uid, interval_s=_INTERVAL_S))
        self.got = array("I")
        self.bound = self.cut_off = False
        self.buffer = b""
        self.socket = socket.socket()

    def receive(self) -> None:
        """Take in what has come. Raises RemoteError; OSError, EOFError: it is cut off."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise EOFError
        buffer, at = self.buffer + data, 0
        while (parsed := parse_packet(buffer, at, 2, _BODY_MAX)) is not None:
            packet, at = parsed
            delivery = self.subscription.receive_packet(packet, 0)
            if delivery is not None:
                self.got.append(int(delivery.payload))
            self.bound = self.subscription.bound
        self.buffer = buffer[at:]


class Members:
    """All of them, connected and bound. Ends with its `with` block."""

    def __init__(self, address: tuple[str, int], names: list[tuple[str, str | None]]) -> None:
        """`names`: token and uid of each."""
        self.all = [Member(token, uid) for token, uid in names]
        self._address = address
        self._epoll = select.epoll()
        self._by_fd: dict[int, Member] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="members")
        self.last_read = 0.0  # monotonic seconds
        self.newest = 0  # number of the newest push that any of them got

    def __enter__(self) -> Self:
        self._thread.start()
        for at, member in enumerate(self.all):
            self._wait_bound(at - _AT_ONCE)
            member.socket.connect(self._address)
            for packet in member.subscription.packets_to_send(0):
                member.socket.sendall(encode_packet(2, packet))
            member.socket.setblocking(False)
            self._by_fd[member.socket.fileno()] = member
            self._epoll.register(member.socket, select.EPOLLIN)
        self._wait_bound(len(self.all) - 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(30)
        for member in self.all:
            member.socket.close()
        self._epoll.close()

    def here(self) -> int:
        """How many are connected."""
        return len(self._by_fd)

    def _wait_bound(self, at: int) -> None:
        deadline = time.monotonic() + _BIND_S
        while at >= 0 and not self.all[at].bound:
            if time.monotonic() > deadline or self.all[at].cut_off:
                raise TimeoutError(f"client {at} is not bound")
            time.sleep(0.002)

    def _run(self) -> None:
        while not self._ending.is_set():
            for fd, _ in self._epoll.poll(0.05, 500):
                self._serve(fd)
                self.last_read = time.monotonic()

    def _serve(self, fd: int) -> None:
        member = self._by_fd[fd]
        try:
            member.receive()
            if member.got:
                self.newest = max(self.newest, member.got[-1])
        except BlockingIOError:
            return
        except (RemoteError, OSError, EOFError):
            member.cut_off = True
            del self._by_fd[fd]
            self._epoll.unregister(fd)
