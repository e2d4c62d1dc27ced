"""A TCP or TLS connection that never blocks, for a loop that waits with `selectors`."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import NamedTuple

_READ_BYTES = 65_536
#: How long `close` waits for the gateway to take the last bytes.
_LINGER_S = 1.0


class Address(NamedTuple):
    """Where the gateway is. With `ssl_context` by TLS; `server_hostname` is then the name in its certificate."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None


class Connection:
    """Made by `open_connection`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._unsent = bytearray()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait where no selector sees them."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def send(self, data: bytes = b"") -> None:
        """Sends what the kernel takes, keeps the rest. Raises OSError."""
        self._unsent += data
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]

    def receive(self) -> bytes | None:
        """Bytes; none: the gateway has ended it; None: nothing has come. Raises OSError."""
        try:
            return self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def close(self) -> None:
        self.socket.close()

    def close_gently(self) -> None:
        """The gateway gets what was sent: closing with unread bytes would throw it away."""
        with suppress(OSError):
            self.socket.settimeout(_LINGER_S)
            self.socket.sendall(self._unsent)
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(_READ_BYTES):
                pass
        self.socket.close()


def open_connection(address: Address, timeout_s: float) -> Connection:
    """Blocks. Raises OSError, ssl.SSLError among them."""
    sock = socket.create_connection((address.host, address.port), timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.ssl_context:
            name = address.server_hostname or address.host
            sock = address.ssl_context.wrap_socket(sock, server_hostname=name)
        return Connection(sock)
    except BaseException:
        sock.close()
        raise
