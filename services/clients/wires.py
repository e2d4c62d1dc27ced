"""The four ways to the gateway, one interface: packets out, packets in."""

import socket
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from shared.errors import ClientError, RemoteError
from shared.packets import Packet, encode_packet, parse_packet

#: Largest body that the client takes, in bytes.
BODY_LIMIT_BYTES = 64 << 20
_READ_BYTES = 1 << 16


class Wire(Protocol):
    """A connection to the gateway. Everything raises ClientError when it has ended."""

    #: Set by the client when the gateway has granted `base64`; only WebSocket text has it.
    base64: bool

    def send(self, packet: Packet) -> None:
        """One packet, whole."""

    def receive(self, timeout: float) -> Packet | None:
        """The next packet; None after `timeout` seconds without one."""

    def close(self) -> None:
        """Ends the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BinaryWire:
    """Binary packets of one version over TCP."""

    def __init__(self, version: int, host: str, port: int, timeout: float) -> None:
        self.base64 = False
        self._version, self._timeout = version, timeout
        self._buffer = bytearray()
        self._socket = open_socket(host, port, timeout)

    def send(self, packet: Packet) -> None:
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(encode_packet(self._version, packet))
        except OSError as error:
            raise ended(error) from None

    def receive(self, timeout: float) -> Packet | None:
        until = monotonic() + timeout
        while True:
            try:
                parsed = parse_packet(self._buffer, 0, self._version, BODY_LIMIT_BYTES)
            except RemoteError as error:
                raise ClientError("bad_protocol", f"the gateway sent no packet: {error}") from None
            if parsed:
                del self._buffer[: parsed[1]]
                return parsed[0]
            if not self._read(max(0.0, until - monotonic())):
                return None

    def _read(self, timeout: float) -> bool:
        try:
            self._socket.settimeout(max(timeout, 1e-4))
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            return False
        except OSError as error:
            raise ended(error) from None
        if not data:
            raise ended(None)
        self._buffer += data
        return True

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_socket(host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection. Raises ClientError `unreachable`."""
    try:
        connection = socket.create_connection((host, port), timeout)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ClientError("unreachable", f"no gateway answers at {host}:{port}: {why}") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ended(error: OSError | None) -> ClientError:
    """The connection's end without DISCONNECT, as an error."""
    why = f": {(error.strerror or str(error)).lower()}" if error else ""
    return ClientError("peer_closed", f"the gateway closed the connection{why}")


def _binary(version: int) -> Callable[[str, int, float], Wire]:
    return lambda host, port, timeout: BinaryWire(version, host, port, timeout)


def _websocket_text(host: str, port: int, timeout: float) -> Wire:
    from services.clients.websockets import TextWire  # noqa: PLC0415  (only who needs it pays for the import)

    return TextWire(host, port, timeout)


def _websocket_binary(host: str, port: int, timeout: float) -> Wire:
    from services.clients.websockets import FrameWire  # noqa: PLC0415

    return FrameWire(host, port, timeout)


PROTOCOLS: dict[str, Callable[[str, int, float], Wire]] = {
    "v0": _binary(0),
    "v1": _binary(1),
    "v2": _binary(2),
    "ws": _websocket_text,
    "ws-binary": _websocket_binary,
}


def connect(protocol: str, host: str, port: int, timeout: float = 5.0) -> Wire:
    """A wire of one of PROTOCOLS; `timeout` seconds for connecting and for each send. Raises ClientError."""
    return PROTOCOLS[protocol](host, port, timeout)
