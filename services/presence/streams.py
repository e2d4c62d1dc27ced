"""The stream of who comes and goes: JSON on a PUB socket. Best effort; gaps show in `stream_sequence`."""

import os
import threading
from collections.abc import Sequence
from typing import Any

import ujson
import zmq

from services.storage.presences import Transition

CONNECTED, DISCONNECTED = "connected", "disconnected"


def event_of(transition: Transition) -> dict[str, Any]:
    """What is told of a transition. `id` is the same however often it is told; `token_sequence` grows."""
    presence, is_end = transition.presence, transition.reason is not None
    event = {
        "id": f"{presence.token}/{transition.sequence}",
        "kind": DISCONNECTED if is_end else CONNECTED,
        "token": presence.token,
        "token_sequence": transition.sequence,
        "uid": presence.uid,
        "worker": presence.worker,
        "protocol": presence.protocol,
        "address": presence.address,
        "since": presence.binding,
        "at": transition.at,
    }
    if is_end:
        event |= {"reason": transition.reason, "duration_ms": max(transition.at - presence.binding, 0)}
    return event


class Stream:
    """Publishes. Frames: kind · JSON. From any thread."""

    def __init__(self, endpoint: str) -> None:
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.linger = 0
        self._socket.bind(endpoint)
        self._name, self._number = os.urandom(8).hex(), 0

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Tell of these. `stream` is chosen anew with each start."""
        with self._lock:
            for transition in transitions:
                self._number += 1
                event = event_of(transition) | {"stream": self._name, "stream_sequence": self._number}
                text = ujson.dumps(event, ensure_ascii=False, escape_forward_slashes=False).encode()
                self._socket.send_multipart([event["kind"].encode(), text])

    def close(self) -> None:
        """Nothing may be published afterwards."""
        self._socket.close()
        self._context.term()
