"""How a connection ends: last words that name the reason, at most once, and nothing behind them."""

import json

from shared.reasons import WEBSOCKET_CODES, CloseReason
from tests.clients.binary import BinaryClient
from tests.clients.conversations import Conversation
from tests.clients.frames import CLOSE, close_code, read_frame
from tests.clients.packets import DISCONNECT
from tests.clients.websocket import WebSocketClient


def expect_end(client: Conversation, reason: str) -> None:
    """The connection ends now, after at most a DISCONNECT that names `reason`, by its WebSocket close code.

    A reset counts as an end: it is what a server's kernel says when input was left unread.
    """
    if isinstance(client, BinaryClient):
        _expect_binary_end(client, reason)
    elif isinstance(client, WebSocketClient):
        _expect_websocket_end(client, reason)


def _expect_binary_end(client: BinaryClient, reason: str) -> None:
    try:
        packet = client.read()
    except (EOFError, ConnectionError):
        return
    assert packet.signal == DISCONNECT, f"instead of the end came {packet}"
    assert json.loads(packet.body)["reason"] == reason
    assert client.read_close() == 0


def _expect_websocket_end(client: WebSocketClient, reason: str) -> None:
    code = WEBSOCKET_CODES[CloseReason(reason)]
    try:
        frame = read_frame(client.wire)
        if frame.opcode != CLOSE:
            packet = client.decode_message(frame.payload)
            assert packet.signal == DISCONNECT, f"instead of the end came {packet}"
            assert json.loads(packet.body)["reason"] == reason
            frame = read_frame(client.wire)
        assert close_code(frame) == code
        assert client.wire.read_to_end() == b""
    except ConnectionError:
        return
