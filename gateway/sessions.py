"""The session rules: what a client's message means in the state its connection is in, and what is to be done.

Pure: a rule looks at the record and the message, may change the record's own session fields, and
returns actions for the shell (docs/client-protocol.md, section What each signal does). What services answer is in
`gateway.forwarding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.actions import Acknowledge, Action, Beat, Bind, Close, Send
from gateway.connections import Connection, Granted, Login, Pending, Protocol, State
from gateway.encoders import Encoder
from gateway.forwarding import SUBSCRIBE, Forwarding
from gateway.json_bodies import json_object
from gateway.sub_options import asked, grant, granted_names, options_fault
from gateway.text_messages import parse_text
from shared.bodies import decode_body
from shared.errors import BodyError, CredentialError, ProtocolError
from shared.packets import Packet, parse_packet
from shared.protobufs.registries import Registry
from shared.reasons import CloseReason
from shared.signals import V0_SIGNALS, Signal
from shared.tokens import encode_token

if TYPE_CHECKING:  # what a credential needs takes a quarter of a worker's start, and few fleets have any
    from gateway.credentials import Verifier


class SessionLimits(NamedTuple):
    """Settings that the rules need."""

    body_bytes: int
    heartbeat_min_s: int
    heartbeat_max_s: int
    heartbeat_texts: frozenset[bytes]
    auth_required: bool
    open_subscribe: bool
    needs_subscribe_service: bool = False  # no SUB without it


class SessionRules:
    """The rules, with their settings. `receive_packet` and `receive_text` return the actions in order."""

    def __init__(
        self, limits: SessionLimits, encoder: Encoder, verifier: Verifier | None, registry: Registry | None = None
    ) -> None:
        self._limits = limits
        self._encoder = encoder
        self._verifier = verifier
        self._needs_service = limits.needs_subscribe_service
        self.forwarding = Forwarding(encoder, registry)
        self.answered = self.forwarding.answered
        self._rules: dict[int, Callable[[Connection, Packet, float], list[Action]]] = {
            Signal.SUB: self._subscribe,
            Signal.AUTH: self._authenticate,
            Signal.PING: self._ping,
            Signal.CONNECT: lambda connection, packet, unix: self.forwarding.connect(connection, packet),
            Signal.DISCONNECT: self._disconnect,
            Signal.CONTACT: lambda connection, packet, unix: self.forwarding.contact(connection, packet),
            Signal.PUBLISH: lambda connection, packet, unix: self.forwarding.publish(connection, packet),
            Signal.PUB_ACK: self._acknowledge,
        }

    def receive_text(self, connection: Connection, text: bytes, unix: float) -> list[Action]:
        """A WebSocket text message. Raises RemoteError."""
        connection.granted |= Granted.HEARD
        if text in self._limits.heartbeat_texts:
            return []
        if connection.protocol == Protocol.WS_BINARY:
            raise ProtocolError("text message from a client of binary packets")
        connection.protocol = Protocol.WS_TEXT
        try:
            packet, style = parse_text(text)
        except BodyError as error:
            return [Send(self._encoder.status(connection, Signal.NONE, 400, str(error)))]
        if not connection.granted & Granted.STYLED:
            connection.granted |= Granted.STYLED | (Granted.LOWER if style.lower else 0)
        if style.camel:  # the first message may have neither kind of name
            connection.granted |= Granted.CAMEL
        return self.receive_packet(connection, packet, unix)

    def receive_binary(self, connection: Connection, data: bytes, unix: float) -> list[Action]:
        """A WebSocket binary message: exactly one v2 packet. Raises RemoteError."""
        if connection.protocol == Protocol.WS_TEXT:
            raise ProtocolError("binary message from a client of text messages")
        connection.protocol = Protocol.WS_BINARY
        found = parse_packet(data, 0, 2, self._limits.body_bytes)
        if found is None or found[1] != len(data):
            raise ProtocolError("binary message is not one packet")
        return self.receive_packet(connection, found[0], unix)

    def receive_packet(self, connection: Connection, packet: Packet, unix: float) -> list[Action]:
        """A packet of any protocol. Raises RemoteError when the connection must be closed for it."""
        connection.granted |= Granted.HEARD
        if connection.protocol == Protocol.V0 and packet.signal not in V0_SIGNALS:
            raise ProtocolError(f"signal {packet.signal} in version 0")
        rule = self._rules.get(packet.signal)
        if rule is None:
            raise ProtocolError(f"signal {packet.signal} from a client")
        if packet.compressed or packet.encrypted:
            key = connection.login.key if connection.login else None
            body = decode_body(packet, key, self._limits.body_bytes)
            connection.rate_bytes += len(body)
            packet = packet._replace(body=body, compressed=False, encrypted=False)
        return rule(connection, packet, unix)

    # --- one rule per signal

    def _subscribe(self, connection: Connection, packet: Packet, unix: float) -> list[Action]:
        fields, fault = json_object(packet.body)
        token: bytes | None = None
        if not fault and fields.get("token") is not None:
            token, wrong = encode_token(fields["token"])
            fault = wrong or ""
        fault = fault or options_fault(fields)
        if fault:
            return self._refuse(connection, packet, 400, fault)
        if connection.state == State.BOUND:
            return self._subscribe_again(connection, packet, token, fields)
        if token is None and connection.login and len(connection.login.tokens) == 1:
            token = connection.login.tokens[0]
        refusal = self._may_bind(connection, token, fields)
        if refusal:
            return self._refuse(connection, packet, *refusal)
        connection.uid = self._uid(connection, fields)
        served = self.forwarding.serves(SUBSCRIBE)
        self._needs_service |= served and not self._limits.open_subscribe
        if served or self._needs_service:  # without one nobody knows whose a token is, and the answer is 503
            return [self.forwarding.subscribe(connection, packet, token, fields)]
        connection.granted |= grant(connection, fields)
        return [Bind(token, packet.message_id, asked(fields))]

    def _subscribe_again(
        self, connection: Connection, packet: Packet, token: bytes | None, fields: dict[str, Any]
    ) -> list[Action]:
        if token is not None and token != connection.token:
            answer = self._encoder.status(connection, Signal.SUB, 409, "bound to another token", packet.message_id)
            return [Send(answer)]
        connection.granted |= grant(connection, fields)
        return [Send(self.bound(connection, packet.message_id, asked(fields)))]

    def _may_bind(self, connection: Connection, token: bytes | None, fields: dict[str, Any]) -> tuple[int, str] | None:
        login = connection.login
        if login is None:
            return (401, "a credential is required") if self._limits.auth_required else None
        if token is None and login.tokens:
            return 403, "the credential names several tokens: say which"
        if token is not None and token not in login.tokens:
            return 403, "the credential does not name this token"
        if fields.get("uid") not in (None, login.uid):
            return 403, "uid is not the credential's"
        return None

    def may_replace(self, connection: Connection, older: Connection) -> bool:
        """Whether a newer connection may take the token of `older`: one held by a login is for that uid alone."""
        if older.login is None or self._limits.open_subscribe:
            return True
        return connection.login is not None and connection.login.uid == older.login.uid

    def _uid(self, connection: Connection, fields: dict[str, Any]) -> str | None:
        if connection.login:
            return connection.login.uid
        return fields.get("uid") if self._limits.open_subscribe else None

    def bound(self, connection: Connection, message_id: int, asked: bool) -> bytes:
        """The answer to SUB once the connection is bound."""
        granted = granted_names(connection.granted)
        body: dict[str, object] = {"status": 200, "token": (connection.token or b"").decode()}
        if granted or asked:
            body["granted"] = granted
        return self._encoder.json(connection, Signal.SUB, body, message_id)

    def welcome(self, connection: Connection, pending: Pending) -> bytes:
        """The answer to SUB or CONNECT once the connection is bound."""
        if pending.ack is not None:
            return self.forwarding.accepted(connection, pending.message_id, pending.ack)
        return self.bound(connection, pending.message_id, pending.asked)

    def turned_away(
        self, connection: Connection, pending: Pending | None, status: int, message: str, reason: CloseReason
    ) -> Close:
        """The answer to SUB or CONNECT that could not be bound, and the close behind it."""
        message_id = pending.message_id if pending else 0
        if pending and pending.ack is not None:
            return self.forwarding.not_bound(connection, message_id, status, message)
        return self.refused(connection, message_id, status, message, reason)

    def refused(self, connection: Connection, message_id: int, status: int, message: str, reason: CloseReason) -> Close:
        """The answer to a SUB that could not be bound, and the close behind it."""
        answer = self._encoder.status(connection, Signal.SUB, status, message, message_id)
        return Close(reason, answer + self._encoder.close_frame(connection, reason), message)

    def _refuse(self, connection: Connection, packet: Packet, status: int, message: str) -> list[Action]:
        answer = self._encoder.status(connection, packet.signal, status, message, packet.message_id)
        reason = CloseReason.REJECTED
        return [Close(reason, answer + self._encoder.close_frame(connection, reason), message)]

    def _authenticate(self, connection: Connection, packet: Packet, unix: float) -> list[Action]:
        if connection.state == State.BOUND:
            return [Send(self._encoder.status(connection, Signal.AUTH, 409, "already bound", packet.message_id))]
        fields, fault = json_object(packet.body)
        credential = fields.get("credential")
        if fault or not isinstance(credential, str):
            return self._refuse(connection, packet, 400, fault or "credential is not a string")
        if self._verifier is None:
            return self._refuse(connection, packet, 501, "credentials are not set up here")
        try:
            proved = self._verifier.verify(credential, unix)
        except CredentialError as error:
            return self._refuse(connection, packet, 401, str(error))
        connection.login = Login(proved.uid, sorted(proved.tokens), proved.expires)
        return [Send(self._encoder.status(connection, Signal.AUTH, 200, message_id=packet.message_id)), Beat(0)]

    def _ping(self, connection: Connection, packet: Packet, unix: float) -> list[Action]:
        limits = self._limits
        fields, fault = json_object(packet.body)
        interval = fields.get("interval")
        if not fault and interval is not None and not _positive(interval):
            fault = "interval is not a positive number"
        if fault:
            return [Send(self._encoder.status(connection, Signal.PING, 400, fault, packet.message_id))]
        deadline: float = connection.beat or limits.heartbeat_max_s
        if interval is not None:
            interval = min(interval, limits.heartbeat_max_s)  # it may be a whole number beyond any float
            deadline = min(max(interval * 1.5, limits.heartbeat_min_s), limits.heartbeat_max_s)
        answer = self._encoder.json(connection, Signal.PING, {"interval": int(deadline / 1.5)}, packet.message_id)
        return [Send(answer), Beat(math.ceil(deadline) if interval is not None else 0)]

    def _disconnect(self, connection: Connection, packet: Packet, unix: float) -> list[Action]:
        reason = CloseReason.CLIENT_DISCONNECT
        told = self.forwarding.disconnect(connection, packet, self._limits.open_subscribe)
        return [*told, Close(reason, self._encoder.close_frame(connection, reason))]

    def _acknowledge(self, connection: Connection, packet: Packet, unix: float) -> list[Action]:
        if connection.state != State.BOUND:
            return [Send(self._encoder.status(connection, Signal.PUB_ACK, 401, "not bound", packet.message_id))]
        return [Acknowledge(packet.message_id)]


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf
