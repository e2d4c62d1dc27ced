"""One connection: what is said first, what its packets are, when it is dead. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Iterator

from push_gateway_client.heartbeat import Heartbeat
from push_gateway_client.options import Options
from push_gateway_client.packets import Packet, PacketReader, Signal, decode_object, encode_json, encode_packet


class Conversation:
    """From opening to the end. `number` tells connections of one client apart."""

    def __init__(self, number: int, options: Options, now: float) -> None:
        self.number = number
        self.bound_at: float | None = None
        self.granted: frozenset[str] = frozenset()
        self.heartbeat = Heartbeat(options.interval_s, options.answer_timeout_s)
        self._options = options
        self._reader = PacketReader(options.push_limit_bytes)
        self._bound_by = now + options.connect_timeout_s

    def opening(self, token: str | None, credential: str | None) -> bytes:
        """AUTH, if there is a credential, and SUB; the gateway reads the second when it has answered the first."""
        said = {"token": token, "uid": self._options.uid, "ack": True, "ids": True}
        sub = encode_json({name: value for name, value in said.items() if value is not None})
        packets = [Packet(Signal.SUB, body=sub)]
        if credential is not None:
            packets.insert(0, Packet(Signal.AUTH, body=encode_json({"credential": credential})))
        return b"".join(map(encode_packet, packets))

    def receive_data(self, data: bytes) -> Iterator[Packet]:
        """Raises ProtocolError."""
        self.heartbeat.heard()
        return self._reader.feed(data)

    def bind(self, answer: Packet, now: float) -> str | None:
        """SUB was answered with 200; the token."""
        said = decode_object(answer.body)
        granted = said.get("granted", ())
        self.granted = frozenset(granted) if isinstance(granted, list) else frozenset()
        self.bound_at, self._bound_by = now, float("inf")
        self.heartbeat.start(now)
        token = said.get("token")
        return token if isinstance(token, str) else None

    def pong(self, answer: Packet) -> None:
        """PING was answered."""
        interval = decode_object(answer.body).get("interval", 0)
        if isinstance(interval, int | float):
            self.heartbeat.answered(interval)

    def ping(self, now: float) -> bytes:
        """What is to be said now, if anything."""
        if not self.heartbeat.due(now):
            return b""
        return encode_packet(Packet(Signal.PING, body=encode_json({"interval": self._options.interval_s})))

    def dead(self, now: float) -> str:
        """Why it is to be given up, if so."""
        if now >= self._bound_by:
            return "connect_timeout"
        return "silent" if self.heartbeat.dead(now) else ""

    def next_deadline(self) -> float:
        return min(self._bound_by, self.heartbeat.next_deadline())


def acknowledgement(message_id: int) -> bytes:
    """PUB_ACK of a push."""
    return encode_packet(Packet(Signal.PUB_ACK, message_id=message_id))


def farewell(clear_session: bool) -> bytes:
    """The client's DISCONNECT."""
    return encode_packet(Packet(Signal.DISCONNECT, body=encode_json({"clearSession": int(clear_session)})))
