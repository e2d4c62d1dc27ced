"""The stream of who comes and goes: JSON on a PUB socket. Best effort; gaps show in `stream_sequence`."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import ujson
import zmq

from services.presence.readers import Readers
from services.storage.events import presence_event
from services.storage.presences import Transition
from shared.errors import SettingsError


def event_of(transition: Transition) -> dict[str, Any]:
    """What is told of a transition."""
    event = presence_event(transition)
    said = {"id": event.id, "kind": event.kind, "token": event.token, "token_sequence": event.sequence}
    return {**said, **event.fields}


#: Events that wait for one reader; over it the newest are dropped for this one, which sees the gap.
WAITING_MAX = 10_000
#: Longest message of a reader: what it subscribes to, and its part of a CURVE handshake (about 300 bytes).
_READERS_BYTES = 4096


class Stream:
    """Publishes. Frames: kind · JSON. From any thread."""

    def __init__(self, endpoint: str, tcp_endpoint: str | None = None, readers: Readers | None = None) -> None:
        """`endpoint`: a Unix socket. `readers`: who may read by TCP. Raises SettingsError: an address is taken."""
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._readers = readers
        if readers:
            readers.start(self._context)
        self._sockets: list[zmq.Socket[bytes]] = []
        try:
            self._bind(endpoint, None)
            if tcp_endpoint:
                self._bind(tcp_endpoint, readers)
        except SettingsError:
            self.close()
            raise
        self._name, self._number = os.urandom(8).hex(), 0

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Tell of these."""
        self.tell([event_of(transition) for transition in transitions])

    def tell(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Publish these. `stream` is chosen anew with each start."""
        with self._lock:
            for each in events:
                self._number += 1
                event = {**each, "stream": self._name, "stream_sequence": self._number}
                text = ujson.dumps(event, ensure_ascii=False, escape_forward_slashes=False).encode()
                for socket in self._sockets:
                    socket.send_multipart([event["kind"].encode(), text])

    def _bind(self, endpoint: str, readers: Readers | None) -> None:
        socket = self._context.socket(zmq.PUB)
        self._sockets.append(socket)
        socket.linger = 0
        socket.sndhwm = WAITING_MAX
        socket.maxmsgsize = _READERS_BYTES
        socket.ipv6 = "[" in endpoint
        if readers:
            readers.secure(socket)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise SettingsError("presence_port", f"{endpoint}: {(error.strerror or str(error)).lower()}") from None

    def close(self) -> None:
        """Nothing may be published afterwards."""
        for socket in self._sockets:
            socket.close()
        if self._readers:
            self._readers.stop()
        self._context.term()
