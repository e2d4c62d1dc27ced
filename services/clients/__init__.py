"""A small real client of the gateway, with blocking sockets (docs/client-protocol.md).

with connect("ws", "127.0.0.1", 6789) as wire:
    client = Client(wire, "alice", ack=True)
    client.subscribe(timeout=5)
    push = client.receive(timeout=30)
"""

from services.clients.client import Client
from services.clients.subscriptions import Delivery, Options
from services.clients.wires import PROTOCOLS, Wire, connect
from shared.errors import ClientError

__all__ = ["PROTOCOLS", "Client", "ClientError", "Delivery", "Options", "Wire", "connect"]
