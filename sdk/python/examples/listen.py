"""Prints each push, and asks a service for its greeting: python listen.py HOST PORT TOKEN"""

import sys
import threading

from push_gateway_client import NotAvailableError, Push, State, Status
from push_gateway_client.sync import Client

connected = threading.Event()


def on_push(push: Push) -> None:
    print(f"{push.id}: {push.text}", flush=True)  # it is acknowledged when this is done


def on_state(status: Status) -> None:
    print(status.state.value, status.reason, flush=True)
    if status.state is State.CONNECTED:
        connected.set()


_, host, port, token = sys.argv
with Client(host, int(port), token=token, on_push=on_push, on_state=on_state) as client:
    connected.wait()
    try:
        print("answer:", client.publish("FP", {"q": 1}).text, flush=True)
    except NotAvailableError:
        print("no service has this topic", flush=True)
    threading.Event().wait()
