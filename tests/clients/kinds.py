"""Every kind of client by its name, for tests that run once for each."""

from collections.abc import Callable

from tests.clients.binary import BinaryClient
from tests.clients.conversations import Conversation
from tests.clients.websocket import BinaryWebSocketClient, TextClient
from tests.clients.wires import DEADLINE_S, Address, Wire

KINDS: dict[str, Callable[[Wire], Conversation]] = {
    "v0": lambda wire: BinaryClient(wire, 0),
    "v1": lambda wire: BinaryClient(wire, 1),
    "v2": lambda wire: BinaryClient(wire, 2),
    "ws_snake": TextClient,
    "ws_camel": lambda wire: TextClient(wire, camel=True),
    "ws_binary": BinaryWebSocketClient,
}


def connect(
    kind: str,
    address: Address,
    *,
    preface: bytes = b"",
    bytewise: bool = False,
    receive_buffer: int = 0,
    deadline: float = DEADLINE_S,
) -> Conversation:
    """An open conversation, not yet bound.

    `preface` goes first, e.g. a PROXY protocol header. With `bytewise` every byte that is ever written, the
    opening too, goes by a write of its own.
    """
    wire = Wire(address, receive_buffer=receive_buffer, deadline=deadline)
    conversation = KINDS[kind](wire)
    if bytewise:
        conversation.write = wire.write_bytewise
    try:
        conversation.write(preface)
        conversation.open()
    except BaseException:
        wire.close()
        raise
    return conversation
