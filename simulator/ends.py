"""Why connections end: only for reasons that the promises allow."""

from collections import Counter
from typing import Any

from simulator.clients import Connection
from simulator.processes import Process
from simulator.promises import Promises
from simulator.tcp import Stream
from simulator.workers import Seat

#: A worker that leaves waits so long for others to take its clients (`drain_timeout_s`, and some more).
_DRAIN_S = 10.0


class Ends:
    """What workers say of the connections that they end, and which connections were idle when their worker died."""

    def __init__(self, promises: Promises) -> None:
        self._promises, self._world = promises, promises.world
        self._reasons: dict[int, str] = {}  # by number of the stream
        self._at_crash: dict[int, tuple[int, bool]] = {}  # stream -> (which crash, whether it was idle)
        self._idle_lost: Counter[int] = Counter()
        self._crashes = 0

    def closing(self, process: Process, connection: Any, reason: str) -> None:
        """A worker ends a connection for this reason."""
        stream = process.descriptors.get(connection.fd)
        if isinstance(stream, Stream):
            self._reasons.setdefault(stream.number, reason)

    def crashed(self, seat: Seat) -> None:
        """A worker has died: which of its clients' connections were idle?"""
        self._promises.crashed()
        self._crashes += 1
        streams = {file.number for _, file in seat.descriptors.items() if isinstance(file, Stream)}
        for client in self._promises.clients.values():
            for connection in client.connections:
                if connection.number in streams:
                    self._at_crash[connection.number] = (self._crashes, connection.is_idle())

    def ended(self, connection: Connection) -> None:
        """A client sees its connection end, by the gateway: for a good reason?"""
        reason = self._reasons.get(connection.number, "")
        self._promises.counts[f"closed {reason or 'without a reason'}"] += 1
        why = self._wrong(connection, reason)
        if why:
            self._world.broken("connections stay", f"{connection} ended ({reason or 'no reason'}): {why}")

    def _wrong(self, connection: Connection, reason: str) -> str:
        """What is wrong with it; empty: nothing."""
        client, doubt_at = connection.client, self._promises.doubt_at
        if reason == "replaced":
            return "" if client.connections[-1] is not connection else "there is no newer one"
        if reason == "worker_lost":
            return self._wrongly_lost(connection)
        if reason == "slow_consumer" and client.kind.slow:
            return ""
        if reason == "shutdown" and doubt_at > self._world.now - _DRAIN_S:
            return ""
        if doubt_at > 0 and (connection.bound_at is None or reason in ("unavailable", "hello_timeout")):
            return ""
        return "nothing explains it"

    def _wrongly_lost(self, connection: Connection) -> str:
        crash, idle = self._at_crash.get(connection.number, (0, True))
        if not crash:
            return "" if connection.bound_at is None and self._crashes else "no worker has died"
        self._idle_lost[crash] += idle
        return "it was idle, and not the first one" if self._idle_lost[crash] > 1 else ""
