"""A client's side of a conversation, the same for every protocol."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.clients.packets import DISCONNECT, PING, PUB_ACK, PUSH, SIGNALS, SUB, Packet
from tests.clients.wires import Wire


class Conversation(ABC):
    """A connection that speaks one protocol. Every wait ends at the wire's deadline."""

    #: What FIND1 and BEAT1 call the protocol.
    protocol: str
    #: Longest payload of a PUSH.
    payload_max = 65_536

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        #: How bytes go out; a test may put `wire.write_bytewise` here.
        self.write: Callable[[bytes], None] = wire.write
        self.ids = False  # whether push ids were granted

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wire.close()

    @abstractmethod
    def encode(self, packet: Packet) -> bytes:
        """The bytes of a message to the server."""

    @abstractmethod
    def read(self) -> Packet:
        """The next message of the server, exactly: not a byte more is taken."""

    @abstractmethod
    def read_close(self) -> int:
        """The WebSocket close code (0 where there is none) of the end that must come next."""

    def open(self) -> None:  # noqa: B027 - binary packets have no opening
        """What goes before the first message."""

    def send(self, signal: int, fields: object = None, **more: Any) -> None:
        """One message; `fields` become JSON unless they are bytes."""
        self.write(self.encode(Packet(signal, body_of(fields), **more)))

    def ask(self, signal: int, fields: object = None, **more: Any) -> dict[str, Any]:
        """One message, and the JSON of its answer, which has the same signal and message_id."""
        self.send(signal, fields, **more)
        answer = self.read()
        assert answer.signal == signal, (
            f"{SIGNALS[signal]} was answered by {SIGNALS[answer.signal]}: {answer.body[:200]!r}"
        )
        if self.protocol != "v0":
            assert answer.message_id == more.get("message_id", 0)
        return json.loads(answer.body)

    def subscribe(self, token: str | None = None, **options: Any) -> dict[str, Any]:
        """SUB; its answer, which must be good."""
        fields = options if token is None else {"token": token, **options}
        answer = self.ask(SUB, fields or None)
        assert answer["status"] == 200, answer
        if token is not None:
            assert answer["token"] == token
        self.ids = "ids" in answer.get("granted", ())
        return answer

    def ping(self, interval: int | None = None) -> int:
        """PING; the interval that the server will honour, in seconds."""
        answer = self.ask(PING, None if interval is None else {"interval": interval})
        assert answer.keys() == {"interval"}
        return answer["interval"]

    def read_push(self) -> Packet:
        """The next message, which must be a PUSH; `push_id` and body are told apart."""
        packet = self.read()
        assert packet.signal == PUSH, f"a PUSH was expected, got {SIGNALS[packet.signal]}: {packet.body[:200]!r}"
        if self.ids and not packet.push_id:
            end = 1 + packet.body[0]
            packet = packet._replace(push_id=packet.body[1:end].decode(), body=packet.body[end:])
        return packet

    def acknowledge(self, message_id: int) -> None:
        """PUB_ACK for a PUSH."""
        self.send(PUB_ACK, message_id=message_id)

    def read_disconnect(self) -> dict[str, Any]:
        """The next message, which must be a DISCONNECT; its fields."""
        packet = self.read()
        assert packet.signal == DISCONNECT, f"a DISCONNECT was expected, got {packet}"
        return json.loads(packet.body)


def body_of(fields: object) -> bytes:
    """Bytes as they are, None as an empty body, anything else as JSON."""
    if isinstance(fields, bytes):
        return fields
    return b"" if fields is None else json.dumps(fields).encode()
