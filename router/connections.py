"""Connections of senders, as far as the router remembers them. Soft state: all of it may be forgotten at any time."""

from collections import OrderedDict

#: Beyond it the connection that has been silent longest is forgotten; its sender says HELLO1 again when asked.
CONNECTIONS_MAX = 65_536


class Connection:
    """One sender's connection, known by the identity that ZeroMQ gave it. `is_service`: at the service endpoint."""

    __slots__ = ("bytes", "closed", "faulty", "hold_until", "identity", "is_service", "name", "refused", "requests")

    def __init__(self, identity: bytes, is_service: bool = False) -> None:
        self.identity, self.is_service = identity, is_service
        self.name: bytes | None = None  # said by HELLO1
        self.requests = 0  # unanswered
        self.bytes = 0  # of these
        self.refused: bytes | None = None  # request id that was answered `overloaded`: go back N
        self.hold_until = 0.0
        self.closed = False
        self.faulty = False  # its first malformed request was logged


class Connections:
    """Connections by identity, bounded. `of_services`: those at the service endpoint."""

    def __init__(self, most: int = CONNECTIONS_MAX, of_services: bool = False) -> None:
        self._most, self._of_services = most, of_services
        self._known: OrderedDict[bytes, Connection] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, identity: bytes) -> Connection:
        """The connection of that identity, made if it is new."""
        connection = self._known.get(identity)
        if connection is None:
            connection = self._known[identity] = Connection(identity, self._of_services)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(identity)
        return connection

    def forget(self, identity: bytes) -> None:
        """The sender is gone: whatever is still owed to it has nowhere to go."""
        connection = self._known.pop(identity, None)
        if connection is not None:
            connection.closed = True

    def forget_all(self) -> None:
        """The endpoint was closed. Identities will be given out anew, so none may be taken for an older one."""
        for connection in self._known.values():
            connection.closed = True
        self._known.clear()
