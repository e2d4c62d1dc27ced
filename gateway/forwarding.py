"""Rules of what services answer: which message becomes a call, and what its answer is to the client.

Pure. `gateway.sessions` has the rules of what the worker answers itself (docs/client-protocol.md).
"""

from collections.abc import Callable
from typing import Any

import msgpack
import ujson

from gateway.actions import Action, Bind, Close, Forward, Send
from gateway.connections import NEVER, Connection, Granted, Login, Protocol, State
from gateway.encoders import Encoder
from gateway.json_bodies import json_bytes, json_object
from gateway.logins import AcceptedLogin, login_request
from gateway.sub_options import asked, grant, granted_names, options_fault
from gateway.tables import PROTOCOL_NAMES
from shared.calls import Internal, Topic, internal
from shared.errors import BodyError, TooLargeError
from shared.packets import Packet
from shared.protobufs.registries import Registry
from shared.protobufs.tables import ANSWER, REQUEST
from shared.reasons import CloseReason
from shared.signals import PublishError, Signal, SubSignal
from shared.tokens import encode_token

SUBSCRIBE = internal(Internal.SUBSCRIBE)
CONNECT = Topic(Signal.CONNECT, 0)
CONTACT = Topic(Signal.CONTACT, 0)
DISCONNECT = Topic(Signal.DISCONNECT, 0)

#: Code of a PUBLISH whose JSON content is not what the topic's message says.
BAD_CONTENT = 1
#: What a service said that is neither an answer of its own nor of the protocol.
_NO_ANSWER = "the service did not answer"
#: Characters of a service's message that go to the client.
_MESSAGE_MAX = 1000
_REFUSED = SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
_UNAVAILABLE = SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE
_NOT_AUTHORIZED = SubSignal.CONNECTION_REFUSED_NOT_AUTHORIZED


def protocol_name(connection: Connection) -> str:
    """What a connection speaks, in the words of FIND1."""
    return PROTOCOL_NAMES[Protocol(connection.protocol)]


def owner_key(connection: Connection) -> str:
    """The key of a connection's calls: its token, or its address before it has one."""
    return connection.token.decode() if connection.token else connection.address


class Forwarding:
    """The rules. Each returns the actions in order."""

    def __init__(self, encoder: Encoder, registry: Registry | None = None) -> None:
        """`registry`: of topics whose bodies are JSON for text clients and protobuf for services."""
        self._encoder = encoder
        self._registry = registry
        #: Whether there is a service for a topic.
        self.serves: Callable[[Topic], bool] = lambda topic: False
        self._answers: dict[int, Callable[[Connection, Forward, int, bytes, int], list[Action]]] = {
            Signal.PUBLISH: self._publish_answered,
            Signal.CONTACT: self._contact_answered,
            Signal.SUB: self._subscribe_answered,
            Signal.CONNECT: self._connect_answered,
        }

    def answered(
        self, connection: Connection, forward: Forward, code: int, body: bytes, retry_after_ms: int
    ) -> list[Action]:
        """What becomes of a service's answer. `retry_after_ms`: when to come back, if the client is turned away."""
        return self._answers[forward.kind](connection, forward, code, body, retry_after_ms)

    # --- PUBLISH

    def publish(self, connection: Connection, packet: Packet) -> list[Action]:
        """A request to the service of its sub_signal."""
        topic = Topic(Signal.PUBLISH, packet.sub_signal)
        if connection.state != State.BOUND:
            return [self._pub_ack(connection, topic, packet.message_id, PublishError.NOT_BOUND)]
        if not self.serves(topic):
            return [self._pub_ack(connection, topic, packet.message_id, PublishError.NOT_IMPLEMENTED)]
        body = packet.body
        if self._is_converted(connection, topic, REQUEST):
            try:
                body = self._registry.to_protobuf(*topic, REQUEST, body)  # type: ignore[union-attr]
            except BodyError as error:
                return [self._pub_ack(connection, topic, packet.message_id, BAD_CONTENT, str(error).encode())]
        return [Forward(Signal.PUBLISH, topic, owner_key(connection), body, packet.message_id)]

    def _publish_answered(
        self, connection: Connection, forward: Forward, code: int, body: bytes, retry_after_ms: int
    ) -> list[Action]:
        try:
            if code == PublishError.OK and self._is_converted(connection, forward.topic, ANSWER):
                body = self._registry.to_json(*forward.topic, ANSWER, body)  # type: ignore[union-attr]
            return [self._pub_ack(connection, forward.topic, forward.message_id, code, body)]
        except (BodyError, TooLargeError) as error:
            words = str(error).encode() if connection.protocol == Protocol.WS_TEXT else b""
            return [self._pub_ack(connection, forward.topic, forward.message_id, PublishError.NOBODY_KNOWS, words)]

    def _is_converted(self, connection: Connection, topic: Topic, direction: str) -> bool:
        text = connection.protocol == Protocol.WS_TEXT
        return text and self._registry is not None and self._registry.has(*topic, direction)

    def _pub_ack(self, connection: Connection, topic: Topic, message_id: int, code: int, payload: bytes = b"") -> Send:
        body = bytes((code,)) + payload
        return Send(self._encoder.encode(connection, Signal.PUB_ACK, topic.sub_signal, message_id, body))

    # --- CONTACT

    def contact(self, connection: Connection, packet: Packet) -> list[Action]:
        """A message to another client, or a group; `from` is who says it, whatever it says."""
        if connection.state != State.BOUND:
            return [self._status(connection, packet.message_id, 401, "not bound")]
        fields, fault = json_object(packet.body)
        if fault:
            return [self._status(connection, packet.message_id, 400, fault)]
        if not self.serves(CONTACT):
            return [self._status(connection, packet.message_id, 503, "no group service")]
        try:
            body = json_bytes({**fields, "from": (connection.token or b"").decode()})
        except (ValueError, OverflowError):
            return [
                self._status(connection, packet.message_id, 400, "body holds text or numbers that JSON cannot carry")
            ]
        return [Forward(Signal.CONTACT, CONTACT, owner_key(connection), body, packet.message_id)]

    def _contact_answered(
        self, connection: Connection, forward: Forward, code: int, body: bytes, retry_after_ms: int
    ) -> list[Action]:
        if code == PublishError.OK:
            return [self._status(connection, forward.message_id, 200, "")]
        status, message = _said(code, body, ujson.loads)
        return [self._status(connection, forward.message_id, status, message)]

    def _status(self, connection: Connection, message_id: int, status: int, message: str) -> Send:
        return Send(self._encoder.status(connection, Signal.CONTACT, status, message, message_id))

    # --- SUB

    def subscribe(
        self, connection: Connection, packet: Packet, token: bytes | None, options: dict[str, Any]
    ) -> Forward:
        """May a client have this token, or: make one."""
        login = connection.login
        request = {
            "token": token.decode() if token else None,
            "uid": connection.uid,
            "login": _proved(login) if login else None,
            "address": connection.address,
            "protocol": protocol_name(connection),
        }
        key = token.decode() if token else owner_key(connection)
        return Forward(Signal.SUB, SUBSCRIBE, key, msgpack.packb(request), packet.message_id, options)

    def _subscribe_answered(
        self, connection: Connection, forward: Forward, code: int, body: bytes, retry_after_ms: int
    ) -> list[Action]:
        options = forward.options or {}
        if code == PublishError.OK:
            token, fault = encode_token(_map(body, msgpack.unpackb).get("token"))
            if not fault:
                connection.granted |= grant(connection, options)
                return [Bind(token, forward.message_id, asked(options))]
            code = PublishError.NOBODY_KNOWS
        status, message = _said(code, body, msgpack.unpackb)
        if status == 409:
            return [Send(self._encoder.status(connection, Signal.SUB, status, message, forward.message_id))]
        answer: dict[str, object] = {"status": status, "message": message}
        reason = CloseReason.REJECTED
        if status == 503:
            answer["retry_after_ms"] = retry_after_ms
            reason = CloseReason.UNAVAILABLE
        data = self._encoder.json(connection, Signal.SUB, answer, forward.message_id)
        return [Close(reason, data + self._encoder.close_frame(connection, reason), message)]

    # --- CONNECT

    def connect(self, connection: Connection, packet: Packet) -> list[Action]:
        """Login by user name and password; once for each connection."""
        if connection.granted & Granted.CONNECTED:
            return [self.refused(connection, packet.message_id, _REFUSED, "second CONNECT")]
        if not self.serves(CONNECT):
            return [self.refused(connection, packet.message_id, _UNAVAILABLE, "no login service")]
        fields, fault = json_object(packet.body)
        request, refused = login_request(fields)
        fault = fault or options_fault(fields)
        if fault or refused:
            refused = refused or SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD
            return [self.refused(connection, packet.message_id, refused, fault or "malformed CONNECT")]
        key = request["clientIdentifier"]
        return [Forward(Signal.CONNECT, CONNECT, key, json_bytes(request), packet.message_id, fields)]

    def _connect_answered(
        self, connection: Connection, forward: Forward, code: int, body: bytes, retry_after_ms: int
    ) -> list[Action]:
        accepted = AcceptedLogin.parse(body) if code == SubSignal.CONNECTION_ACCEPTED else None
        if accepted is None:
            known = SubSignal.CONNECTION_ACCEPTED < code <= SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST
            refused = code if known else _UNAVAILABLE
            return [self.refused(connection, forward.message_id, refused, "" if known else _NO_ANSWER)]
        options = forward.options or {}
        connection.login, connection.uid = accepted.login, accepted.login.uid
        connection.granted |= Granted.CONNECTED | grant(connection, options)
        ack = self._ack(connection, accepted.ack, options)
        return [Bind(accepted.token, forward.message_id, asked(options), ack)]

    def _ack(self, connection: Connection, fields: dict[str, Any], options: dict[str, Any]) -> bytes:
        """Body of a CONNECT_ACK: protobuf, or for text clients the same in JSON."""
        place = (Signal.CONNECT_ACK, SubSignal.CONNECTION_ACCEPTED, ANSWER)
        if self._registry is None or not self._registry.has(*place):
            return json_bytes(fields)
        try:
            body = self._registry.to_protobuf(*place, json_bytes(fields))
        except (BodyError, ValueError, OverflowError):
            body = b""  # every field is optional
        if connection.protocol != Protocol.WS_TEXT:
            return body
        content = ujson.loads(self._registry.to_json(*place, body))
        if asked(options):
            content["granted"] = granted_names(connection.granted)
        return json_bytes(content)

    def accepted(self, connection: Connection, message_id: int, ack: bytes) -> bytes:
        """The answer to CONNECT once the connection is bound."""
        return self._encoder.encode(connection, Signal.CONNECT_ACK, SubSignal.CONNECTION_ACCEPTED, message_id, ack)

    def not_bound(self, connection: Connection, message_id: int, status: int, message: str) -> Close:
        """The answer to an accepted CONNECT whose token could not be bound, for the reason of that status of SUB."""
        refused = {403: _REFUSED, 503: _UNAVAILABLE}.get(status, _NOT_AUTHORIZED)
        return self.refused(connection, message_id, refused, message)

    def refused(self, connection: Connection, message_id: int, sub_signal: int, detail: str) -> Close:
        """CONNECT_ACK that says why not, and the close behind it."""
        body = b"{}" if connection.protocol == Protocol.WS_TEXT else b""  # text clients parse any content as JSON
        answer = self._encoder.encode(connection, Signal.CONNECT_ACK, sub_signal, message_id, body)
        reason = CloseReason.UNAVAILABLE if sub_signal == _UNAVAILABLE else CloseReason.REJECTED
        return Close(
            reason, answer + self._encoder.close_frame(connection, reason), detail or SubSignal(sub_signal).name
        )

    # --- DISCONNECT

    def disconnect(self, connection: Connection, packet: Packet, open_subscribe: bool) -> list[Action]:
        """Whoever has logged in may end its session with the connection; the service is told, nothing is awaited."""
        may = connection.login is not None or (open_subscribe and connection.state == State.BOUND)
        if not may or not _clears_session(packet.body) or not self.serves(DISCONNECT):
            return []
        return [Forward(Signal.DISCONNECT, DISCONNECT, owner_key(connection), b'{"clearSession":1}')]


def _proved(login: Login) -> dict[str, Any]:
    """A login, as the subscribe service is told of it; `expires` in Unix seconds, null: never."""
    expires = login.expires if login.expires < NEVER else None
    return {"uid": login.uid, "tokens": [one.decode() for one in login.tokens], "expires": expires}


def _clears_session(body: bytes) -> bool:
    if len(body) == 1:
        return body in (b"\x01", b"1")
    return json_object(body)[0].get("clearSession") in (1, True)


def _said(code: int, body: bytes, decode: Callable[[bytes], Any]) -> tuple[int, str]:
    """(status, message) of an answer with code 1; of any other: 503, and why."""
    if code != 1:
        return 503, _WHY.get(code, _NO_ANSWER)
    fields = _map(body, decode)
    status, message = fields.get("status"), fields.get("message")
    if type(status) is not int or not 400 <= status <= 599:
        return 503, _NO_ANSWER
    return status, _words(message) if isinstance(message, str) else ""


def _words(message: str) -> str:
    """A service's message, as every protocol can carry it."""
    return message[:_MESSAGE_MAX].encode(errors="replace").decode()


_WHY: dict[int, str] = {
    PublishError.NOT_IMPLEMENTED: "no service",
    PublishError.TIMED_OUT: "the service was silent too long",
    PublishError.NOBODY_KNOWS: "the service was lost",
    PublishError.QUEUE_FULL: "too many calls",
}


def _map(body: bytes, decode: Callable[[bytes], Any]) -> dict[str, Any]:
    """A service's JSON or msgpack object; {} if it is none."""
    try:
        decoded = decode(body)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return {}
    return decoded if isinstance(decoded, dict) else {}
