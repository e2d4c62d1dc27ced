"""A small client: binary packets of version 2 over TCP, standard library only (docs/client-protocol.md).

    python examples/client.py TOKEN [HOST PORT]

Prints each push on a line and acknowledges it, keeps the connection alive, and comes back when it breaks.
"""

import contextlib
import json
import random
import select
import socket
import struct
import sys
import time
from typing import Any

HEADER = struct.Struct(">BBBIBH")  # magic, version, signal, body bytes, sub_signal, message_id
MAGIC, VERSION = 0xF8, 2
SUB, PING, PUSH, DISCONNECT, PUB_ACK = 1, 3, 4, 8, 10
INTERVAL_S = 30
FINAL = {"replaced", "kicked", "credential_expired"}  # coming back would not help


def packet(signal: int, body: Any = None, message_id: int = 0) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    return HEADER.pack(MAGIC, VERSION, signal, len(data), 0, message_id) + data


def receive(tcp: socket.socket) -> tuple[int, int, bytes]:
    """(signal, message_id, body) of the next packet."""
    _, _, signal, size, _, message_id = HEADER.unpack(receive_exactly(tcp, HEADER.size))
    return signal, message_id, receive_exactly(tcp, size)


def receive_exactly(tcp: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = tcp.recv(size - len(data))
        if not part:
            raise ConnectionError("the gateway closed the connection")
        data += part
    return bytes(data)


def listen(token: str, host: str, port: int) -> float:
    """One connection's life; seconds after which to come back. Raises OSError when it breaks."""
    with socket.create_connection((host, port), timeout=10) as tcp:
        tcp.sendall(packet(SUB, {"token": token, "ack": True}))
        ping_at, lost_at = time.monotonic() + INTERVAL_S, time.monotonic() + 2 * INTERVAL_S
        while time.monotonic() < lost_at:
            if time.monotonic() >= ping_at:  # by the clock, not by silence: pushes do not move the deadline
                tcp.sendall(packet(PING, {"interval": INTERVAL_S}))
                ping_at += INTERVAL_S
            if not select.select([tcp], [], [], max(0.0, ping_at - time.monotonic()))[0]:
                continue
            signal, message_id, body = receive(tcp)
            lost_at = time.monotonic() + 2 * INTERVAL_S
            if signal == PUSH:
                print(body.decode(errors="replace"), flush=True)
                if message_id:
                    tcp.sendall(packet(PUB_ACK, message_id=message_id))
            elif signal == SUB:
                answer = json.loads(body)
                if answer["status"] >= 500:
                    raise ConnectionError(answer["message"])
                if answer["status"] != 200:
                    sys.exit(f"refused: {answer['status']} {answer['message']}")
                print(f"listening as {answer['token']}", file=sys.stderr, flush=True)
            elif signal == DISCONNECT:
                words = json.loads(body)
                if words["reason"] in FINAL:
                    sys.exit(f"disconnected: {words['reason']}")
                return float(words.get("retry_after_ms", 1000)) / 1000
        raise ConnectionError("the gateway is silent")


def main(token: str, host: str = "127.0.0.1", port: str = "6789") -> None:
    while True:
        try:
            pause = listen(token, host, int(port))
        except OSError as error:
            print(f"connection lost: {error}", file=sys.stderr, flush=True)
            pause = random.uniform(0.5, 5)  # all clients at once would be a storm
        time.sleep(pause)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
