"""What a test sees of presence: look-ups, the stream of events, and who was ever said to be absent."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgpack
import ujson
import zmq

from services.library import Service
from shared.calls import Internal, internal
from shared.errors import BusError
from shared.places import presence_path
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until


class Watcher:
    """Asks the presence service, and has read its stream from the start."""

    def __init__(self, service: Service, socket: "zmq.Socket[bytes]") -> None:
        self._service, self._socket = service, socket
        self.events: list[dict[str, Any]] = []

    def ask(self, **asked: Any) -> dict[str, Any] | None:
        """The answer; None: there was none."""
        try:
            code, body = self._service.ask(internal(Internal.PRESENCE), msgpack.packb(asked), idempotent=True)
        except BusError:
            return None
        return dict(msgpack.unpackb(body)) if code == 0 else None

    def find(self, *tokens: str, **which: Any) -> list[dict[str, Any]] | None:
        answer = self.ask(op="find", **(which or {"tokens": list(tokens)}))
        return None if answer is None else list(answer["found"])

    def online(self, *tokens: str) -> list[bool] | None:
        """Of each whether it is connected; None: no answer."""
        found = self.find(*tokens)
        return None if found is None else [one["online"] for one in found]

    def read(self, *tokens: str) -> list[tuple[str, str, str | None]]:
        """(kind, token, reason) of all events of these so far."""
        while self._socket.poll(0):
            self.events.append(ujson.loads(self._socket.recv_multipart()[1]))
        return [(one["kind"], one["token"], one.get("reason")) for one in self.events if one["token"] in tokens]


@contextmanager
def watching(fleet: Fleet) -> Iterator[Watcher]:
    """From now on, over restarts of the presence service too."""
    service = Service("test", fleet.settings)
    service.start()
    try:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.reconnect_ivl = 10
            socket.subscribe(b"")
            socket.connect(f"ipc://{presence_path(fleet.settings)}")
            assert service.wait_ready(20)
            yield Watcher(service, socket)
    finally:
        service.stop()


def hear(fleet: Fleet, watcher: Watcher) -> None:
    """Return when events come: the stream's reader may still be on its way to a service that has just started."""

    def comes() -> bool:
        token = f"probe-{time.monotonic()}"
        with connect("v2", fleet.address) as client:
            client.subscribe(token)
            wait_until(lambda: watcher.online(token) == [True], "it has come")
        return bool(watcher.read(token))

    wait_until(comes, "events come")


class Polling:
    """Asks for the same tokens again and again, as fast as it is answered."""

    def __init__(self, watcher: Watcher, tokens: Sequence[str]) -> None:
        self._watcher, self._tokens = watcher, tokens
        self.absent: set[str] = set()
        self.answers = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            if (online := self._watcher.online(*self._tokens)) is not None:
                self.answers += 1
                self.absent |= {token for token, is_online in zip(self._tokens, online, strict=True) if not is_online}

    def __enter__(self) -> "Polling":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
