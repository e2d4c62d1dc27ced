"""A stream socket whose every wait ends at a deadline."""

import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

#: (host, port), or the path of a Unix socket.
Address = tuple[str, int] | str

DEADLINE_S = 10.0


class Wire:
    """One connection. Reads raise TimeoutError at the deadline and EOFError when the peer closed."""

    def __init__(self, address: Address, *, source: str = "", receive_buffer: int = 0, deadline: float = DEADLINE_S):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.deadline = deadline
        self._received = bytearray()
        self.socket.settimeout(deadline)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """End the connection by RST: what a phone out of reach may look like."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    @property
    def local_address(self) -> str:
        """`host:port` as the server sees this client."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def write(self, data: bytes) -> None:
        """All of `data`, as one write where the kernel takes it so."""
        self.socket.settimeout(self.deadline)
        self.socket.sendall(data)

    def write_pieces(self, pieces: Iterable[bytes]) -> None:
        """Each piece by a write of its own, the next one when the peer has it.

        Over TCP that is when the peer's kernel has it; over a Unix socket, when the peer has read it.
        """
        for piece in pieces:
            self.write(piece)
            self.wait_until_taken()

    def write_bytewise(self, data: bytes) -> None:
        """Every byte by a write of its own."""
        self.write_pieces(data[position : position + 1] for position in range(len(data)))

    def wait_until_taken(self) -> None:
        """Until the kernel holds no unsent (Unix: unread) output."""
        end = time.monotonic() + self.deadline
        while struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            if time.monotonic() > end:
                raise TimeoutError("the peer does not take what was written")
            select.select([], [], [], 0.0002)

    def read_exactly(self, size: int, deadline: float | None = None) -> bytes:
        """The next `size` bytes."""
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        while len(self._received) < size:
            self._receive(end)
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        end = time.monotonic() + self.deadline
        while mark not in self._received:
            self._receive(end)
        return self.read_exactly(self._received.index(mark) + len(mark))

    def read_to_end(self, deadline: float | None = None) -> bytes:
        """What still comes until the peer closes or resets. TimeoutError if it does not."""
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        try:
            while True:
                self._receive(end)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            pass
        data = bytes(self._received)
        self._received.clear()
        return data

    def is_open(self) -> bool:
        """Whether the peer has neither closed nor reset so far; keeps what arrives."""
        try:
            while select.select([self.socket], [], [], 0)[0]:
                self._receive(time.monotonic() + self.deadline)
        except (EOFError, ConnectionError):
            return False
        return True

    @property
    def buffered(self) -> int:
        """Bytes that have arrived and are not read yet."""
        return len(self._received)

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing arrives, not even an end, for `seconds`."""
        return not self._received and not select.select([self.socket], [], [], seconds)[0]

    def _receive(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            raise TimeoutError(f"nothing more from the server; unread so far: {bytes(self._received[:80])!r}")
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError(f"the server closed; unread so far: {bytes(self._received[:80])!r}")
        self._received += data
