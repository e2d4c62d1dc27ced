"""The conversations of docs/client-protocol.md, held with a real fleet: every byte is as written there."""

import socket

import pytest

from shared.signals import Signal
from tests.clients.senders import SENT, RawSender
from tests.docs.documents import PacketLine, blocks, packet_lines, read
from tests.examples.programs import DEADLINE_S
from tests.fleet.fleet_process import Fleet

CONVERSATIONS = [
    lines for block in blocks(read("client-protocol.md"), "packets") if (lines := packet_lines(block))[0].from_client
]


@pytest.mark.parametrize("lines", CONVERSATIONS, ids=["v2", "v1", "v0"])
def test_it_goes_as_written(example_fleet: Fleet, lines: list[PacketLine]) -> None:
    with (
        RawSender(example_fleet.endpoint) as sender,
        socket.create_connection(example_fleet.address, DEADLINE_S) as client,
    ):
        for line in lines:
            if line.from_client:
                client.sendall(line.data)
                continue
            if line.packet.signal == Signal.PUSH:
                assert sender.push("alice", line.packet.body) == SENT
            assert client.recv(len(line.data), socket.MSG_WAITALL) == line.data
        if lines[-1].packet.signal == Signal.DISCONNECT:
            assert client.recv(1) == b""
