"""What a worker does with its clients' events: the session rules carried out. Runs in the hub."""

import random
import time
from collections.abc import Callable
from functools import partial

from gateway.actions import Acknowledge, Action, Beat, Bind, Close, Forward, Send
from gateway.calls import Calls
from gateway.client_loop import ClientLoop, Hold
from gateway.connections import Connection, Granted, Protocol, State
from gateway.encoders import Encoder
from gateway.forwarding import protocol_name
from gateway.frames import Opcode, encode_frame, parse_close
from gateway.handshakes import BAD_REQUEST, HEAD_TOO_LARGE, HttpRequest, answer_request
from gateway.messages import Message
from gateway.sessions import SessionRules
from gateway.streams import Event
from shared.errors import RemoteError, TooLargeError
from shared.packets import Packet
from shared.reasons import CloseReason
from shared.settings import Settings
from shared.signals import Signal

#: How far the wheel's seconds and those of the wall clock may be apart.
_TICKS_APART = 3
#: What a client says behind these depends on their answer.
_FIRST = (Signal.SUB, Signal.CONNECT)


class Conversations:
    """The application of `ClientLoop` in a worker."""

    def __init__(
        self,
        clients: ClientLoop,
        rules: SessionRules,
        encoder: Encoder,
        settings: Settings,
        origins: frozenset[str],
    ) -> None:
        self._clients = clients
        self._rules = rules
        self._encoder = encoder
        self._settings = settings
        self._origins = origins
        self.bind: Callable[[Connection, Bind], None]
        self.calls: Calls
        #: Both `calls` and `stores` of a client are 0 again.
        self.owed_nothing: Callable[[Connection], None] = lambda connection: None
        self.ended: Callable[[Connection], None] = lambda connection: None
        #: Told of each connection that has been closed, and why.
        self.closed_for: Callable[[Connection, CloseReason], None] = lambda connection, reason: None
        self.acknowledged: Callable[[Connection, int], None]
        self.healthy: Callable[[], bool]

    def handle(self, connection: Connection, event: Event) -> None:
        """One event. Raises RemoteError."""
        if isinstance(event, Packet):
            self._carry_out(connection, self._rules.receive_packet(connection, event, time.time()))
        elif isinstance(event, Message):
            self._handle_message(connection, event)
        else:
            self._handle_request(connection, event)

    def _handle_message(self, connection: Connection, message: Message) -> None:
        opcode, data = message
        if opcode == Opcode.TEXT:
            self._carry_out(connection, self._rules.receive_text(connection, data, time.time()))
        elif opcode == Opcode.BINARY:
            self._carry_out(connection, self._rules.receive_binary(connection, data, time.time()))
        elif opcode == Opcode.PING:
            self._clients.answer(connection, encode_frame(Opcode.PONG, data))
        elif opcode == Opcode.CLOSE:
            parse_close(data)
            self._clients.close(connection, CloseReason.CLIENT_DISCONNECT, encode_frame(Opcode.CLOSE, data[:2]))

    def _handle_request(self, connection: Connection, request: HttpRequest) -> None:
        deflate = self._settings.permessage_deflate
        answer = answer_request(request, deflate=deflate, origins=self._origins, healthy=self.healthy())
        if not answer.accepted:
            self._clients.close(connection, CloseReason.HTTP_DONE, answer.response)
            return
        connection.protocol = Protocol.WS
        connection.window_bits = answer.window_bits
        self._clients.answer(connection, answer.response)

    def _carry_out(self, connection: Connection, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._clients.answer(connection, action.data)
            elif isinstance(action, Close):
                self._clients.close(connection, *action)
            elif isinstance(action, Beat):
                connection.beat = action.seconds or connection.beat
            elif isinstance(action, Acknowledge):
                self.acknowledged(connection, action.message_id)
            elif isinstance(action, Bind):
                self.bind(connection, action)
            else:
                self._forward(connection, action)

    # --- calls

    def _forward(self, connection: Connection, forward: Forward) -> None:
        """Ask a service. The hub goes on; the answer comes to `_answered`."""
        fields = {
            "token": connection.token.decode() if connection.token else None,
            "uid": connection.uid,
            "protocol": protocol_name(connection),
            "address": connection.address,
            "message_id": forward.message_id,
        }
        ask = partial(self.calls.ask, forward.topic, forward.key, fields, forward.body)
        if forward.kind == Signal.DISCONNECT:
            ask(lambda code, body: None)
            return
        connection.calls += 1
        self._clients.ledger.mark(connection)
        if forward.kind in _FIRST:
            self._clients.hold(connection, Hold.ANSWER)
        elif connection.calls >= self._settings.calls_max:
            self._clients.hold(connection, Hold.CALLS)
        ask(partial(self._answered, connection, forward))

    def _answered(self, connection: Connection, forward: Forward, code: int, body: bytes) -> None:
        """A service's answer to a client, which may have ended meanwhile, but is with no other worker."""
        connection.calls -= 1
        if not self._clients.table.holds(connection) or connection.state == State.CLOSING:
            return
        try:
            self._carry_answer(connection, forward, code, body)
        finally:  # also after a bug of ours: nothing else would have its socket read again
            self._clients.release(connection, Hold.ANSWER if forward.kind in _FIRST else Hold.CALLS)

    def _carry_answer(self, connection: Connection, forward: Forward, code: int, body: bytes) -> None:
        retry_after_ms = random.randint(0, self._settings.retry_after_ms)
        try:
            self._carry_out(connection, self._rules.answered(connection, forward, code, body, retry_after_ms))
        except RemoteError as error:
            self.fault(connection, error)
        if not connection.calls and not connection.stores:
            self.owed_nothing(connection)
        if self._clients.table.holds(connection) and connection.state != State.CLOSING:
            self._clients.ledger.note_if_changed(connection)
            self._clients.wheel.schedule(connection, self._clients.wheel.tick + self.deadline(connection))

    def fault(self, connection: Connection, error: RemoteError) -> None:
        """Close for an error of the peer, in the words of its protocol."""
        words = self._encoder.close_frame(connection, error.reason)
        if connection.protocol == Protocol.UNKNOWN and (connection.input or b"").startswith(b"GET "):
            words = HEAD_TOO_LARGE if isinstance(error, TooLargeError) else BAD_REQUEST
        self._clients.close(connection, error.reason, words, str(error))

    def deadline(self, connection: Connection) -> int:
        """Seconds until the heartbeat deadline, or what is left of the hello deadline, or of the credential."""
        if not connection.granted & Granted.HEARD:
            return max(connection.deadline - self._clients.wheel.tick, 0)
        # one tick more: the present one may be over at once
        seconds = (connection.beat or self._settings.heartbeat_max_s) + 1
        if connection.login:
            left = connection.login.expires - time.time()
            if left <= 0:  # nothing that it sends gains it time
                return max(connection.deadline - self._clients.wheel.tick, 0)
            seconds = min(seconds, int(left) + 2)  # the last tick begins after `exp`, never before
        return seconds

    def expired(self, connection: Connection) -> None:
        """A deadline has passed."""
        if connection.state == State.BINDING:
            self._clients.wheel.schedule(connection, self._clients.wheel.tick + self._settings.heartbeat_max_s)
            return
        reason = CloseReason.HEARTBEAT_TIMEOUT
        left = connection.login.expires - time.time() if connection.login else _TICKS_APART
        if left <= 0:
            reason = CloseReason.CREDENTIAL_EXPIRED
        elif left < _TICKS_APART:  # it is for the credential, whose moment has not quite come
            self._clients.wheel.schedule(connection, self._clients.wheel.tick + 1)
            return
        elif not connection.granted & Granted.HEARD:
            reason = CloseReason.HELLO_TIMEOUT
        self._clients.close(connection, reason, self._encoder.last_words(connection, reason))

    def closed(self, connection: Connection, reason: CloseReason) -> None:
        """A client has ended."""
        self.closed_for(connection, reason)
        self.ended(connection)
