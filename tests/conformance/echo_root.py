"""A composition root for tests: `python -m tests.conformance.echo_root` serves echo on a free port, which it prints.

Listener, epoll shell, parser, opening handshake, control frames, closing and permessage-deflate are the worker's
own; only the session rules are replaced: a message is sent back as it came. Ends when stdin ends.
"""

import logging
import socket
import sys
from dataclasses import replace

import gevent

from gateway.acceptors import Acceptor
from gateway.actions import Send
from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Granted
from gateway.conversations import Conversations
from gateway.counters import new_counters
from gateway.encoders import Encoder
from gateway.frames import Opcode, encode_frame
from gateway.permessage_deflate import compress
from gateway.streams import StreamLimits
from shared.errors import ProtocolError
from shared.packets import Packet
from shared.settings import Settings

MESSAGE_MAX = 32 << 20


class EchoRules:
    """In the place of `gateway.sessions.SessionRules`."""

    def receive_text(self, connection: Connection, text: bytes, unix: float) -> list[Send]:
        return self._echo(connection, Opcode.TEXT, text)

    def receive_binary(self, connection: Connection, data: bytes, unix: float) -> list[Send]:
        return self._echo(connection, Opcode.BINARY, data)

    def receive_packet(self, connection: Connection, packet: Packet, unix: float) -> list[Send]:
        raise ProtocolError("a packet where only WebSocket is spoken")

    @staticmethod
    def _echo(connection: Connection, opcode: int, data: bytes) -> list[Send]:
        connection.granted |= Granted.HEARD
        if connection.window_bits:
            return [Send(encode_frame(opcode, compress(data, connection.window_bits), rsv1=True))]
        return [Send(encode_frame(opcode, data))]


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    settings = replace(
        Settings(),
        body_limit_bytes=MESSAGE_MAX,
        out_buffer_bytes=2 * MESSAGE_MAX,
        client_bytes_per_s=1 << 30,
        client_packets_per_s=10**6,
    )
    clients = ClientLoop(settings, StreamLimits(MESSAGE_MAX), new_counters())
    conversations = Conversations(clients, EchoRules(), Encoder(0), settings, frozenset())  # type: ignore[arg-type]
    conversations.healthy = lambda: True
    clients.start(conversations)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setblocking(False)
    Acceptor(clients, settings.hello_timeout_s, []).listen(listener, proxied=False)
    print(listener.getsockname()[1], flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.buffer.read)


if __name__ == "__main__":
    main()
