"""A TCP or TLS connection for asyncio, which gives bytes to callbacks and can be told not to read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple


class Address(NamedTuple):
    """Where the gateway is. With `ssl_context` by TLS; `server_hostname` is then the name in its certificate."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None


class Connection(asyncio.Protocol):
    """Made by `open_connection`. `on_data(bytes)` and, once, `on_end(why)` are called until `close`."""

    def __init__(self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_data, self._on_end = on_data, on_end
        self._transport: asyncio.Transport | None = None
        self._closed = self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._on_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._on_end(f"io_error: {error}" if error else "ended")

    def send(self, data: bytes) -> None:
        if self._transport and not self._closed:
            self._transport.write(data)

    def read(self, wanted: bool) -> None:
        """Whether to read on."""
        if self._transport and not self._closed and wanted == self._paused:
            self._paused = not wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def close(self) -> None:
        """What was sent goes out first, as far as the gateway takes it."""
        self._closed = True
        if self._transport:
            self._transport.close()


async def open_connection(
    address: Address, timeout_s: float, on_data: Callable[[bytes], None], on_end: Callable[[str], None]
) -> Connection:
    """Raises OSError, ssl.SSLError among them, and TimeoutError."""
    name = (address.server_hostname or address.host) if address.ssl_context else None
    opening = asyncio.get_running_loop().create_connection(
        lambda: Connection(on_data, on_end), address.host, address.port, ssl=address.ssl_context, server_hostname=name
    )
    _, connection = await asyncio.wait_for(opening, timeout_s)
    return connection
