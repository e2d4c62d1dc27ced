"""The bus as the shell sees it: one socket for workers of this host, maybe another for those of other hosts.

The core knows workers by identity alone; here it is known over which socket each of them came last.
"""

import zmq

from router.multipart import Receiver, Socket
from router.security import Guard
from router.sockets import open_bus, open_tcp_bus
from shared.settings import Settings

_FRAMES_MAX = 16


class Buses:
    """Opens the sockets. Raises SettingsError that names what cannot be bound."""

    def __init__(
        self,
        context: zmq.Context[Socket],
        endpoint: str,
        tcp_endpoint: str | None,
        settings: Settings,
        guard: Guard | None,
    ) -> None:
        self._ipc = self._tcp = open_bus(context, endpoint)
        if tcp_endpoint is not None:
            self._tcp = open_tcp_bus(context, tcp_endpoint, settings, guard)
        self.sockets = [self._ipc] if tcp_endpoint is None else [self._ipc, self._tcp]
        self._receivers = {socket: Receiver(socket, _FRAMES_MAX) for socket in self.sockets}
        self._remote: set[bytes] = set()  # identities that came over TCP last

    def receiver(self, socket: Socket) -> Receiver:
        """Reads one of `sockets`."""
        return self._receivers[socket]

    def heard(self, identity: bytes, socket: Socket) -> None:
        """A message of that worker came over `socket`: there it is to be reached."""
        if socket is not self._ipc:
            self._remote.add(identity)
        elif self._remote:
            self._remote.discard(identity)

    def of(self, identity: bytes) -> Socket:
        """The socket that reaches a worker, if any does."""
        return self._tcp if identity in self._remote else self._ipc

    def is_local(self, identity: bytes) -> bool:
        """Whether a worker came over a socket that only this user may connect to."""
        return identity not in self._remote

    def gone(self, identity: bytes) -> None:
        """No link to that worker."""
        self._remote.discard(identity)
