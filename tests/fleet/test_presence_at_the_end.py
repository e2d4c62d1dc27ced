"""Presence when a whole fleet under supervisord is stopped: every client's end is told before its service goes."""

import ujson
import zmq

from shared.places import presence_path
from tests.clients.kinds import connect
from tests.fleet.foreground import Foreground
from tests.fleet.processes import wait_until


def test_ctrl_c() -> None:
    fleet = Foreground(services="presence")
    try:
        fleet.start()
        fleet.wait_ready()
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.subscribe(b"")
            socket.connect(f"ipc://{presence_path(fleet.settings)}")
            address = (fleet.settings.host, fleet.settings.client_port)
            reasons: dict[str, str | None] = {}

            def read() -> dict[str, str | None]:
                while socket.poll(0):
                    event = ujson.loads(socket.recv_multipart()[1])
                    if event["token"] != "herald":
                        reasons[event["token"]] = event.get("reason")
                return reasons

            def is_listening() -> bool:
                """A publisher sends nothing to who has subscribed a moment ago, and says so to nobody."""
                with connect("v2", address) as herald:
                    herald.subscribe("herald")
                return bool(socket.poll(200))

            wait_until(is_listening, "the stream is heard")
            clients = [connect("v2", address) for _ in range(20)]
            for number, client in enumerate(clients):
                client.subscribe(f"client-{number}")
            wait_until(lambda: read().keys() == {f"client-{number}" for number in range(20)}, "they have come")
            fleet.press_ctrl_c()
            wait_until(lambda: not fleet.launcher.running, "the fleet's end")
            assert set(read().values()) == {"shutdown"}
            assert len(reasons) == 20
            for client in clients:
                client.wire.close()
    finally:
        fleet.close()
