"""The table of this worker's connections: by descriptor and by token."""

from collections.abc import Callable

from gateway.connections import Connection, Protocol, State

#: Names under which FIND1 and the figures show a protocol.
PROTOCOL_NAMES = {
    Protocol.V0: "v0",
    Protocol.V1: "v1",
    Protocol.V2: "v2",
    Protocol.WS_TEXT: "ws_text",
    Protocol.WS_BINARY: "ws_binary",
    Protocol.WS: "ws",
    Protocol.UNKNOWN: "unknown",
}


class ConnectionTable:
    """Records by descriptor (a list) and, once bound, by token (one dict: measured cheaper than one per slot)."""

    def __init__(self, note: Callable[[Connection], None] = lambda connection: None) -> None:
        """`note(connection)`: write down for a successor to whom a connection has been bound."""
        self._note = note
        #: A connection has been bound.
        self.bound: Callable[[Connection], None] = lambda connection: None
        #: A connection that was bound is here no more, or has no token any more.
        self.released: Callable[[Connection], None] = lambda connection: None
        self.by_fd: list[Connection | None] = [None] * 1024
        self.by_token: dict[bytes, Connection] = {}
        self.count = 0
        self._bound = [0] * len(Protocol)

    def add(self, connection: Connection) -> None:
        fd = connection.fd
        if fd >= len(self.by_fd):
            self.by_fd.extend([None] * (fd + 1 - len(self.by_fd) + 1024))
        self.by_fd[fd] = connection
        self.count += 1

    def remove(self, connection: Connection) -> None:
        """Forget a connection, and its token if it is the one bound to it."""
        if self.by_fd[connection.fd] is connection:
            self.by_fd[connection.fd] = None
            self.count -= 1
        self.release(connection)

    def holds(self, connection: Connection) -> bool:
        """Whether a connection is here: neither closed nor given away."""
        return connection.fd >= 0 and self.by_fd[connection.fd] is connection

    def bind(self, connection: Connection, token: bytes) -> None:
        """Make `connection` the one of `token`; the caller has dealt with an older one."""
        news = connection.token != token or connection.state != State.BOUND
        connection.token = token
        connection.state = State.BOUND
        self.by_token[token] = connection
        if news:
            self._note(connection)
        self._bound[connection.protocol] += 1
        self.bound(connection)

    def release(self, connection: Connection) -> None:
        token = connection.token
        if token is not None and self.by_token.get(token) is connection:
            del self.by_token[token]
            self._bound[connection.protocol] -= 1
            self.released(connection)

    def figures(self) -> dict[str, int]:
        """Bound connections by protocol, and those without a token."""
        bound = {name: self._bound[protocol] for protocol, name in PROTOCOL_NAMES.items() if protocol < Protocol.WS}
        return {**bound, "unbound": self.count - len(self.by_token)}
