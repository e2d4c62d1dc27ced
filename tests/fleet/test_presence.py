"""Presence on real fleets: look-up, moves, kills."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import ujson
import zmq

from services.library import Service
from shared.calls import Internal, internal
from shared.places import presence_path
from tests.clients.kinds import connect
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until


class Watcher:
    """Asks the presence service, and has read its stream from the start."""

    def __init__(self, fleet: Fleet, service: Service, socket: "zmq.Socket[bytes]") -> None:
        self._fleet, self._service, self._socket = fleet, service, socket
        self.events: list[dict[str, Any]] = []

    def find(self, *tokens: str, **which: Any) -> list[dict[str, Any]]:
        asked = {"op": "find", **(which or {"tokens": list(tokens)})}
        code, body = self._service.ask(internal(Internal.PRESENCE), msgpack.packb(asked), idempotent=True)
        assert code == 0, (code, body)
        return list(msgpack.unpackb(body)["found"])

    def online(self, *tokens: str) -> list[bool]:
        return [one["online"] for one in self.find(*tokens)]

    def read(self) -> list[tuple[str, str, str | None]]:
        """(kind, token, reason) of all events so far."""
        while self._socket.poll(0):
            self.events.append(ujson.loads(self._socket.recv_multipart()[1]))
        return [(event["kind"], event["token"], event.get("reason")) for event in self.events]


@contextmanager
def watching(fleet: Fleet) -> Iterator[Watcher]:
    service = Service("test", fleet.settings)
    service.start()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(f"ipc://{presence_path(fleet.settings)}")
        assert service.wait_ready(20)
        yield Watcher(fleet, service, socket)
    service.stop()


def test_who_is_connected_through_moves_and_kills() -> None:
    with (
        Fleet(services="subscribe,presence", presence_lease_ms=3000, worker_heartbeat_ms=100) as fleet,
        watching(fleet) as watcher,
        connect("v2", fleet.address) as phone,
        connect("ws_snake", fleet.address) as browser,
    ):
        phone.subscribe("phone", uid="u")
        browser.subscribe("browser", uid="u")
        wait_until(lambda: watcher.online("phone", "browser", "other") == [True, True, False], "both are present")
        assert {one["token"] for one in watcher.find(uid="u")} == {"phone", "browser"}
        came = {("connected", "phone", None), ("connected", "browser", None)}
        wait_until(lambda: set(watcher.read()) == came, "both have come")

        for index in range(2):  # a rolling restart
            fleet.stop_worker(index)
            fleet.start_worker(index)
            until = time.monotonic() + 60
            while fleet.missing(2):
                assert watcher.online("phone", "browser") == [True, True]
                assert time.monotonic() < until
        fleet.kill_worker(0)
        fleet.kill_service("presence")
        fleet.start_service("presence")
        fleet.wait_ready()
        wait_until(lambda: watcher.online("phone", "browser") == [True, True], "both are present after the kills")
        assert (phone.ping(30), browser.ping(30)) == (30, 30)
        assert len(watcher.read()) == 2
        browser.wire.close()
        wait_until(lambda: len(watcher.read()) == 3, "the browser has gone")
        # a worker that has only just started, and had no service to tell anything yet, has not told why
        kind, token, reason = watcher.read()[2]
        assert (kind, token) == ("disconnected", "browser")
        assert reason in ("peer_closed", "worker_lost")
        assert watcher.online("phone", "browser") == [True, False]
        assert len(watcher.read()) == 3
