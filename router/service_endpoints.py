"""Where services connect, as the shell sees it: a socket for those of this host, maybe another for those elsewhere.

The core knows a service by one byte, the number of its socket, and the identity that the socket gave it: two sockets
may give the same.
"""

from collections.abc import Iterable

import zmq

from router import multipart
from router.multipart import Receiver, Socket
from router.outbox import ToService
from router.security import Guard
from router.sockets import open_services, open_tcp_services
from shared.settings import Settings


class ServiceEndpoints:
    """Opens the sockets. Raises SettingsError that names what cannot be bound. `frames_max`: of a message."""

    def __init__(
        self,
        context: zmq.Context[Socket],
        endpoint: str,
        tcp_endpoint: str | None,
        settings: Settings,
        guard: Guard | None,
        frames_max: int,
    ) -> None:
        self.sockets = [open_services(context, endpoint, settings)]
        if tcp_endpoint is not None:
            self.sockets.append(open_tcp_services(context, tcp_endpoint, settings, guard))
        self._receivers = {socket: Receiver(socket, frames_max) for socket in self.sockets}

    def receiver(self, socket: Socket) -> Receiver:
        """Reads one of `sockets`."""
        return self._receivers[socket]

    def identity(self, of_socket: bytes, socket: Socket) -> bytes:
        """Who that is, for the core."""
        return bytes([self.sockets.index(socket)]) + of_socket

    def send(self, messages: Iterable[ToService]) -> dict[bytes, list[list[bytes]]]:
        """In order. What was not taken, by identity: after a failure nothing more goes to that service."""
        unsent: dict[bytes, list[list[bytes]]] = {}
        for identity, frames in messages:
            if identity in unsent:
                unsent[identity].append(frames)
                continue
            try:
                multipart.send(self.sockets[identity[0]], identity[1:], frames)
            except zmq.ZMQError:
                unsent[identity] = [frames]
        return unsent
