"""Clients of the chat example that are no browsers: JSON over WebSocket, and protobuf that protoc's own code makes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.clients.conversations import Conversation
from tests.clients.packets import PUB_ACK, PUBLISH, SUB_SIGNALS, Packet
from tests.examples.programs import EXAMPLES

CHAT = EXAMPLES / "chat"
PROTOBUFS = CHAT / "protobufs"
MN = SUB_SIGNALS.index("MN")


class Chatter:
    """Speaks and hears; a notification that comes amid an answer is kept for `hear`.

    `position`: id of a message up to which it knows all. What it had without acknowledging may come once more.
    """

    def __init__(self, client: Conversation) -> None:
        self.client = client
        self.position = 0
        self._heard: list[bytes] = []

    def publish(self, topic: str, body: Any) -> bytes:
        """The body of the answer, whatever its code."""
        number = SUB_SIGNALS.index(topic)
        self.client.send(PUBLISH, body, sub_signal=number, message_id=9)
        while True:
            packet = self.client.read()
            if not self._is_heard(packet):
                assert (packet.signal, packet.sub_signal, packet.message_id) == (PUB_ACK, number, 9)
                return packet.body

    def hear(self) -> bytes:
        """The next MN."""
        while not self._heard:
            assert self._is_heard(self.client.read())
        return self._heard.pop(0)

    def _is_heard(self, packet: Packet) -> bool:
        is_heard = (packet.signal, packet.sub_signal) == (PUBLISH, MN)
        if is_heard:
            self._heard.append(packet.body)
        return is_heard


class JsonChatter(Chatter):
    """Over WebSocket text."""

    def ask(self, topic: str, **fields: Any) -> dict[str, Any]:
        """The answer, or `{"code", "message"}`."""
        return json.loads(self.publish(topic, fields))

    def hear_message(self) -> dict[str, Any]:
        """The next MN behind its position."""
        while (message := json.loads(self.hear()))["id"] <= self.position:
            pass
        return message

    def catch_up(self) -> None:
        """As after its start: all that there is."""
        more = True
        while more:
            pulled = self.ask("MP", after=self.position)
            self.position, more = max([self.position, *(one["id"] for one in pulled["messages"])]), pulled["more"]


class ProtobufChatter(Chatter):
    """Over binary packets."""

    def __init__(self, client: Conversation, classes: Any) -> None:
        super().__init__(client)
        self.classes = classes

    def ask(self, topic: str, request: Any, answer: Any = None) -> Any:
        """The answer as a message of class `answer`, or (code, words)."""
        body = self.publish(topic, request.SerializeToString())
        return answer.FromString(body[1:]) if body[0] == 0 and answer else (body[0], body[1:].decode())

    def hear_message(self) -> Any:
        """The next MN behind its position."""
        while (message := self.classes.Message.FromString(self.hear())).id <= self.position:
            pass
        return message

    def catch_up(self) -> None:
        """As after its start: all that there is."""
        more = True
        while more:
            pulled = self.ask("MP", self.classes.Pull(after=self.position), self.classes.Pulled)
            self.position, more = max([self.position, *(one.id for one in pulled.messages)]), pulled.more


def protobuf_classes(directory: Path) -> SimpleNamespace:
    """What protoc makes of the example's .proto, in a directory of the test."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOBUFS}", f"--python_out={directory}", "chat.proto"]
    subprocess.run(protoc, check=True, timeout=60)
    spec = importlib.util.spec_from_file_location("chat_pb2", directory / "chat_pb2.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return SimpleNamespace(**vars(module))
