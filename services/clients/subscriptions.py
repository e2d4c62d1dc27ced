"""What a client says and understands, without I/O: SUB, heartbeat, acknowledgements, and how it ends.

Packets are those of shared.packets whatever the wire; flags are undone before they come here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ujson

from shared.errors import ClientError
from shared.packets import Packet
from shared.signals import Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client asks for in SUB, and its heartbeat. Of `ack`, `ids` and the rest the gateway grants what it can."""

    uid: str | None = None
    ack: bool = False
    ids: bool = False
    accept: Sequence[str] = ()
    base64: bool = False
    interval_s: int = 30


class Delivery(NamedTuple):
    """One push as the client got it. `push_id` is empty unless `ids` was granted."""

    payload: bytes
    push_id: str
    signal: int
    sub_signal: int
    message_id: int


class Subscription:
    """One connection's dialogue. `now` is monotonic seconds.

    After `receive_packet` and whenever `next_deadline` comes, send what `packets_to_send` gives.
    """

    def __init__(self, token: str | None, options: Options) -> None:
        self.token, self.granted = token, frozenset[str]()
        self._options = options
        self.bound = False
        self._to_send = [Packet(Signal.SUB, body=_encode(_sub_body(token, options)))]
        self._interval = float(options.interval_s)
        self._ping_at = float("inf")
        self._answer_by = float("inf")

    def receive_packet(self, packet: Packet, now: float) -> Delivery | None:
        """A push, or None for everything else. Raises ClientError when the gateway ends the connection."""
        self._answer_by = float("inf")
        if packet.signal == Signal.SUB:
            self._receive_sub(packet, now)
        elif packet.signal == Signal.PING:
            self._receive_ping(packet)
        elif packet.signal == Signal.DISCONNECT:
            raise disconnected(packet.body)
        elif packet.signal in (Signal.PUSH, Signal.PUBLISH):
            return self._receive_push(packet)
        return None

    def _receive_sub(self, packet: Packet, now: float) -> None:
        answer = decode(packet.body)
        status = answer.get("status")
        if status != 200:
            raise ClientError(f"{status}", f"the gateway refused SUB with status {status}: {answer.get('message', '')}")
        self.token = answer.get("token", self.token)
        self.granted = frozenset(answer.get("granted", ()))
        self.bound, self._ping_at = True, now

    def _receive_ping(self, packet: Packet) -> None:
        interval = decode(packet.body).get("interval", 0)
        if isinstance(interval, int) and interval > 0:
            self._interval = min(interval, float(self._options.interval_s))

    def _receive_push(self, packet: Packet) -> Delivery:
        payload, push_id = packet.body, ""
        if "ids" in self.granted and payload:
            middle = 1 + payload[0]
            push_id, payload = payload[1:middle].decode("ascii", "replace"), payload[middle:]
        if packet.message_id and "ack" in self.granted:
            self._to_send.append(Packet(Signal.PUB_ACK, packet.sub_signal, packet.message_id))
        return Delivery(payload, push_id, packet.signal, packet.sub_signal, packet.message_id)

    def packets_to_send(self, now: float) -> list[Packet]:
        """What is due. Raises ClientError when the gateway has been silent since a PING for a whole interval."""
        if now >= self._answer_by:
            raise ClientError("silent", f"the gateway did not answer PING within {self._interval:g} s")
        if now >= self._ping_at:
            self._to_send.append(Packet(Signal.PING, body=_encode({"interval": int(self._options.interval_s)})))
            self._ping_at = now + self._interval
            self._answer_by = min(self._answer_by, now + max(1.0, 0.9 * self._interval))
        packets, self._to_send = self._to_send, []
        return packets

    def next_deadline(self) -> float:
        """When `packets_to_send` has something to say even if nothing arrives."""
        return min(self._ping_at, self._answer_by)


def farewell(clear_session: bool) -> Packet:
    """The client's DISCONNECT."""
    return Packet(Signal.DISCONNECT, body=_encode({"clearSession": int(clear_session)}))


def disconnected(body: bytes) -> ClientError:
    """The gateway's DISCONNECT as an error."""
    answer = decode(body)
    reason = str(answer.get("reason", "unknown"))
    message = f"the gateway disconnected this client: {reason}"
    if reason == "replaced":
        message += " (a newer connection has its token)"
    if answer.get("retry_after_ms"):
        message += f", come back in {answer['retry_after_ms']} ms"
    return ClientError(reason, message)


def decode(body: bytes) -> dict[str, Any]:
    """A JSON object; {} for anything else."""
    try:
        answer = ujson.loads(body) if body else {}
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _encode(body: dict[str, Any]) -> bytes:
    return ujson.dumps(body, ensure_ascii=False, escape_forward_slashes=False).encode()


def _sub_body(token: str | None, options: Options) -> dict[str, Any]:
    said = {
        "token": token,
        "uid": options.uid,
        "ack": options.ack or None,
        "ids": options.ids or None,
        "accept": list(options.accept) or None,
        "encoding": "base64" if options.base64 else None,
    }
    return {key: value for key, value in said.items() if value is not None}
