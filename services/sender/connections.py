"""One ZeroMQ connection to a router, of one TCP (or ipc) connection's life: it never reconnects by itself."""

from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

#: Messages read in one turn, so that sending gets its turn too.
RECEIVE_MAX = 256

_LOST = {
    zmq.EVENT_DISCONNECTED: "the connection ended",
    zmq.EVENT_CLOSED: "connection refused",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake failed",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "handshake failed: wrong server key, or no sender endpoint",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the router does not permit this key",
}
#: ZeroMQ's I/O thread answers these, also in a busy router: silence means that it is stopped, or its host gone.
_HEARTBEAT_MS = 1000
_SILENCE_MS = 3000
_NEVER_MS = 10**9  # ZeroMQ adds as much again at random, in 32 bits


class CurveKeys(NamedTuple):
    """CURVE keys of a sender, each 40 characters of Z85: the router's public key and the own pair."""

    server_public: bytes
    public: bytes
    secret: bytes


class Connection:
    """A DEALER that ends when its connection does; the monitor tells. Not for use by two threads at a time.

    Raises zmq.ZMQError if `endpoint` is none, or a key is none.
    """

    def __init__(self, context: zmq.Context[Any], endpoint: str, window: int, curve: CurveKeys | None) -> None:
        self._dealer = context.socket(zmq.DEALER)
        self._dealer.linger = 0
        # A reconnected DEALER would send what it held behind no HELLO1: the protocol opens a new one instead. -1 says
        # the same, but then libzmq takes the pipe away when the peer dies, also amid a message of which a frame has
        # been read, and ends the process for that ("Assertion failed: !_more").
        self._dealer.reconnect_ivl = _NEVER_MS
        self._dealer.sndhwm = 4 * window + 1000
        # For addresses only: a name would be looked up as IPv6 alone, and localhost is ::1, where few routers listen.
        self._dealer.ipv6 = "[" in endpoint
        self._dealer.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        self._dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        self._monitor = self._dealer.get_monitor_socket()
        self.sockets = (self._dealer, self._monitor)
        try:
            if curve:
                self._dealer.curve_serverkey, self._dealer.curve_publickey, self._dealer.curve_secretkey = curve
            self._dealer.connect(endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    def receive(self) -> list[list[bytes]]:
        """What has arrived, up to RECEIVE_MAX messages."""
        messages: list[list[bytes]] = []
        try:
            while len(messages) < RECEIVE_MAX:
                messages.append(self._dealer.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            pass
        return messages

    def send(self, messages: list[list[bytes]]) -> bool:
        """Sends; False when the connection is gone (what is lost thereby, the protocol repeats)."""
        try:
            for message in messages:
                self._dealer.send_multipart(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def fault(self) -> str | None:
        """Why the connection has ended, or None while it lives."""
        found = None
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            fault = _LOST.get(recv_monitor_message(self._monitor)["event"])
            found = found or fault  # a refused key is followed by the connection's plain end
        return found

    def is_readable(self) -> bool:
        """Whether something waits already: a ZeroMQ descriptor is edge-triggered and would not tell again."""
        return any(socket.getsockopt(zmq.EVENTS) & zmq.POLLIN for socket in self.sockets)

    def close(self) -> None:
        self._dealer.disable_monitor()
        self._monitor.close(linger=0)
        self._dealer.close(linger=0)
