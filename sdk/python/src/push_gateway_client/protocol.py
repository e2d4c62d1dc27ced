"""A client's whole life, over all its connections, without I/O: what happens goes in, actions come out.

Whoever carries it out calls a method for what has happened, then does what `take_actions` gives, in order; and calls
`tick` when `next_deadline` has come. `now` is monotonic seconds. Of an earlier connection it hears nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from push_gateway_client import actions as acts
from push_gateway_client.actions import State, Status
from push_gateway_client.backoff import Backoff
from push_gateway_client.conversations import Conversation, acknowledgement, farewell
from push_gateway_client.credentials import Credentials
from push_gateway_client.deliveries import Deliveries, Receipt
from push_gateway_client.endings import CREDENTIAL_EXPIRED, is_final
from push_gateway_client.exceptions import (
    BodyTooLargeError,
    ClosedError,
    CredentialError,
    DisconnectedError,
    HandlerError,
    ProtocolError,
    RefusedError,
)
from push_gateway_client.options import Options
from push_gateway_client.packets import Packet, Signal, decode_object, encode_packet
from push_gateway_client.pushes import push_of
from push_gateway_client.recent_ids import RecentIds
from push_gateway_client.requests import Request, Requests
from push_gateway_client.statistics import Statistics

_NEVER = float("inf")


class Protocol:
    """One client. `chance` gives numbers from 0 to 1; `recent` are ids of pushes handled in earlier lives."""

    def __init__(
        self,
        options: Options,
        *,
        chance: Callable[[], float],
        credential: str | None = None,
        can_fetch: bool = False,
        recent: Iterable[str] = (),
    ) -> None:
        self.token = options.token
        self.status = Status(State.NEW, token=options.token)
        self._options = options
        self._backoff = Backoff(options.backoff_s, options.backoff_max_s, chance)
        self._credentials = Credentials(credential, can_fetch, options.renew_margin_s)
        self._deliveries = Deliveries(options.inbox_max, RecentIds(options.recent_max, recent))
        self._requests = Requests(options.queue_max, options.calls_max)
        self._connection: Conversation | None = None
        self._opened = False
        self._connections = self._acknowledged = 0
        self._retry_at = self._fetched_by = _NEVER
        self._renewing = False
        self._actions: list[acts.Action] = []

    # --- what the shell asks

    def take_actions(self) -> list[acts.Action]:
        """What is to be done now."""
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float:
        """When to call `tick`; never later."""
        deadlines = [self._retry_at, self._fetched_by, self._requests.next_deadline()]
        if self._connection:
            deadlines.append(self._connection.next_deadline())
            if self._bound and not self._renewing:
                deadlines.append(self._credentials.renew_at)
        return min(deadlines)

    @property
    def wants_data(self) -> bool:
        """Whether to read the connection: not while the handler is far behind."""
        return not self._deliveries.full

    @property
    def statistics(self) -> Statistics:
        pushes, requests = self._deliveries, self._requests
        return Statistics(
            self._connections,
            pushes.received,
            pushes.duplicates,
            self._acknowledged,
            pushes.failed,
            requests.refused,
            requests.expired,
        )

    def forgotten_by(self, push_id: str) -> str | None:
        """Which id is forgotten when this one is remembered; for whoever keeps them too."""
        return self._deliveries.recent.forgotten_by(push_id)

    # --- what has happened

    def start(self, now: float) -> None:
        if self.status.state is State.NEW:
            self._connect(now)

    def opened(self, now: float) -> None:
        """The connection is there."""
        if self._connection and not self._opened:
            self._opened = True
            self._send(self._connection.opening(self.token, self._credentials.current))

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes have come over the connection."""
        connection = self._connection
        if connection is None:
            return
        try:
            for packet in connection.receive_data(data):
                self._receive(packet, connection, now)
                if self._connection is not connection:
                    return  # what stands behind the last word is of no interest
        except ProtocolError as error:
            self._actions.append(acts.Fault(error))
            self._lost("bad_protocol_of_gateway", now)
        self._pump(now)

    def lost(self, reason: str, now: float) -> None:
        """The connection has ended, or could not be opened: `reason` is a word of the gateway's, or `unreachable`..."""
        if self._connection:
            self._lost(reason, now)

    def credential_fetched(self, credential: str, now: float, unix_now: float) -> None:
        """The application gave one; `unix_now` is Unix seconds."""
        if self._fetched_by == _NEVER:
            return  # too late
        self._fetched_by = _NEVER
        is_new = self._credentials.fetched(credential, now, unix_now)
        if self.status.state is State.CONNECTING and not self._connection:
            self._open(now)
        elif self._bound and is_new:
            self._renewing = True
            self._pump(now)

    def credential_failed(self, error: BaseException | None, now: float) -> None:
        """The application's function raised."""
        if self._fetched_by == _NEVER:
            return
        self._fetched_by = _NEVER
        fault = CredentialError("the function for credentials failed" if error else "no credential in time")
        fault.__cause__ = error
        self._actions.append(acts.Fault(fault))
        if self._connection:
            self._credentials.renew_at = now + self._backoff.pause()
        elif self.status.state is State.CONNECTING:
            self._wait("no_credential", now)

    def handled(self, push_id: str, error: BaseException | None, now: float) -> None:
        """The push of the last Deliver has been handled; with an error it is not acknowledged."""
        receipt = self._deliveries.handled(error is None)
        if error is not None:
            fault = HandlerError(push_id)
            fault.__cause__ = error
            self._actions.append(acts.Fault(fault))
        elif receipt:
            self._acknowledge(receipt)
        self._pump(now)

    def publish(
        self, topic: int, body: bytes, now: float, timeout_s: float | None = None, repeat: bool = False
    ) -> Request:
        """Asks a service. `repeat`: it may be done twice, so it is sent again after a lost connection.

        Raises RequestError or ClosedError; later ones are in the Request, for which there will be a Settle.
        """
        return self._request(Signal.PUBLISH, topic, body, now, timeout_s, repeat)

    def contact(self, body: bytes, now: float, timeout_s: float | None = None) -> Request:
        """A message to another client or a group; the rest as in `publish`."""
        return self._request(Signal.CONTACT, 0, body, now, timeout_s, False)

    def stop_deliveries(self) -> None:
        """No further push goes to the handler: the client is about to close. The one being handled may finish."""
        self._deliveries.stop()

    def close(self, now: float, clear_session: bool = False, reason: str = "closed") -> None:
        """The end. Harmless if it has come already."""
        if self.status.state is not State.CLOSED:
            if self._opened:
                self._send(farewell(clear_session))
            self._drop_connection()
            self._finish(reason)

    def tick(self, now: float) -> None:
        """Time has passed."""
        if now >= self._retry_at:
            self._connect(now)
        if now >= self._fetched_by:
            self.credential_failed(None, now)
        self._settle(self._requests.expire(now))
        connection = self._connection
        if connection:
            if not self.wants_data:
                connection.heartbeat.excuse(now)
            if why := connection.dead(now):
                self._lost(why, now)
            elif ping := connection.ping(now):
                self._send(ping)
            if self._bound and now >= self._credentials.renew_at and self._fetched_by == _NEVER and not self._renewing:
                self._fetch(now)
        self._pump(now)

    # --- connections

    @property
    def _bound(self) -> bool:
        return self.status.state is State.CONNECTED

    def _connect(self, now: float, reason: str = "") -> None:
        self._retry_at = _NEVER
        self._report(State.CONNECTING, reason)
        if self._credentials.missing:
            self._fetch(now)
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        self._connections += 1
        self._opened = False
        self._connection = Conversation(self._connections, self._options, now)
        self._actions.append(acts.Connect())

    def _fetch(self, now: float) -> None:
        if self._fetched_by == _NEVER:
            self._fetched_by = now + self._options.connect_timeout_s
            self._actions.append(acts.FetchCredential())

    def _drop_connection(self) -> None:
        self._connection, self._opened, self._renewing = None, False, False
        self._actions.append(acts.Disconnect())
        self._settle(self._requests.connection_lost())

    def _lost(self, reason: str, now: float, retry_after_s: float | None = None) -> None:
        connection = self._connection
        if connection and connection.bound_at is not None and now - connection.bound_at >= self._options.stable_s:
            self._backoff.reset()
        self._drop_connection()
        if is_final(reason, self._credentials.can_fetch):
            self._actions.append(acts.Fault(DisconnectedError(reason)))
            self._finish(reason)
            return
        if reason == CREDENTIAL_EXPIRED:
            self._credentials.forget()
        self._wait(reason, now, retry_after_s)

    def _wait(self, reason: str, now: float, retry_after_s: float | None = None) -> None:
        pause = self._backoff.pause(retry_after_s)
        self._retry_at = now + pause
        self._report(State.WAITING, reason, pause)

    def _refused(self, what: str, answer: dict[str, Any], now: float) -> None:
        status, message = int(answer.get("status", 0)), str(answer.get("message", ""))
        if status == 503:
            self._lost("unavailable", now)
        elif what == "AUTH" and status == 401 and self._credentials.refused():
            self._drop_connection()
            self._wait("rejected", now)
        else:
            self._drop_connection()
            self._actions.append(acts.Fault(RefusedError(what, status, message)))
            self._finish("rejected")

    def _finish(self, reason: str) -> None:
        self._retry_at = self._fetched_by = _NEVER
        self._settle(self._requests.fail_all(ClosedError(reason)))
        self._deliveries.stop()
        self._report(State.CLOSED, reason)

    # --- packets

    def _receive(self, packet: Packet, connection: Conversation, now: float) -> None:
        if packet.signal in (Signal.PUSH, Signal.PUBLISH):
            push = push_of(packet, "ids" in connection.granted)
            self._acknowledge(self._deliveries.receive(push, Receipt(connection.number, packet.message_id)))
        elif packet.signal in (Signal.PUB_ACK, Signal.CONTACT):
            self._settle(self._requests.receive_answer(packet))
        elif packet.signal == Signal.PING:
            connection.pong(packet)
        elif packet.signal in (Signal.SUB, Signal.AUTH):
            self._receive_opening(packet, connection, now)
        elif packet.signal == Signal.DISCONNECT:
            said = decode_object(packet.body)
            after = said.get("retry_after_ms")
            self._lost(str(said.get("reason", "")), now, after / 1000 if isinstance(after, int | float) else None)

    def _receive_opening(self, packet: Packet, connection: Conversation, now: float) -> None:
        answer = decode_object(packet.body)
        if answer.get("status") != 200:
            self._refused(Signal(packet.signal).name, answer, now)
        elif packet.signal == Signal.AUTH:
            self._credentials.accepted()
        else:
            self.token = connection.bind(packet, now) or self.token
            self._report(State.CONNECTED)
            self._send(connection.ping(now))

    # --- what goes out

    def _request(
        self, signal: int, sub_signal: int, body: bytes, now: float, timeout_s: float | None, repeat: bool
    ) -> Request:
        if self.status.state is State.CLOSED:
            raise ClosedError(self.status.reason)
        if len(body) > self._options.body_limit_bytes:
            raise BodyTooLargeError(len(body), self._options.body_limit_bytes)
        timeout_s = self._options.request_timeout_s if timeout_s is None else timeout_s
        request = Request(signal, sub_signal, body, now=now, timeout_s=timeout_s, repeat=repeat)
        self._requests.add(request)
        self._pump(now)
        return request

    def _pump(self, now: float) -> None:
        """What can go on goes on: the next push to the handler, requests, the change to a new credential."""
        if push := self._deliveries.take():
            self._actions.append(acts.Deliver(push))
        if self._bound and self._renewing and not self._requests.in_flight:
            self._drop_connection()
            self._connect(now, "renewing")
        elif self._bound and not self._renewing:
            for packet in self._requests.packets_to_send():
                self._send(encode_packet(packet))

    def _acknowledge(self, receipt: Receipt | None) -> None:
        """On the connection on which it came, or not at all: its copy on the next one is recognised."""
        if receipt and receipt.message_id and self._connection and receipt.connection == self._connection.number:
            self._acknowledged += 1
            self._send(acknowledgement(receipt.message_id))

    def _send(self, data: bytes) -> None:
        if data:
            self._actions.append(acts.Send(data))

    def _settle(self, requests: Iterable[Request]) -> None:
        self._actions += [acts.Settle(request) for request in requests]

    def _report(self, state: State, reason: str = "", retry_in_s: float = 0.0) -> None:
        self.status = Status(state, reason, retry_in_s, self.token)
        self._actions.append(acts.Report(self.status))
