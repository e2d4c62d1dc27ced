"""The client for threads."""

from __future__ import annotations

import logging
import queue
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from push_gateway_client import actions as acts
from push_gateway_client.actions import Status
from push_gateway_client.bodies import contact_body, encode_body
from push_gateway_client.exceptions import PushClientError
from push_gateway_client.kept_ids import KeptIds
from push_gateway_client.options import Options
from push_gateway_client.pushes import Answer, Push
from push_gateway_client.requests import Request
from push_gateway_client.statistics import Statistics
from push_gateway_client.sync.connections import Address
from push_gateway_client.sync.loops import Loop
from push_gateway_client.topics import topic_number

_log = logging.getLogger(__name__)


class Client:
    """One token's client. Use it as a context manager, or call `connect` and `close`.

    `on_push(push)`: a push is acknowledged when this has returned; if it raises, it is not. `on_state(status)` and
    `on_error(error)` tell how it goes. All three are called by one thread of the client's own, one at a time, and may
    block. `credential`: a JWT, or a function that gives a new one. `ids`: keeps push ids beyond the process.
    `settings`: fields of Options.
    """

    def __init__(
        self,
        host: str,
        port: int = 6789,
        *,
        on_push: Callable[[Push], Any],
        on_state: Callable[[Status], Any] | None = None,
        on_error: Callable[[PushClientError], Any] | None = None,
        credential: str | Callable[[], str] | None = None,
        ids: KeptIds | None = None,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        **settings: Any,
    ) -> None:
        self._on_push, self._on_state, self._on_error, self._ids = on_push, on_state, on_error, ids
        self._calls: queue.SimpleQueue[acts.Action | None] = queue.SimpleQueue()
        address = Address(host, port, ssl_context, server_hostname)
        self._loop = Loop(address, Options(**settings), credential=credential, ids=ids, on_action=self._queue)
        self._caller = threading.Thread(target=self._call_application, name="push-handler", daemon=True)
        self._idle = threading.Event()
        self._idle.set()

    # --- life

    def connect(self) -> None:
        """Begins to connect, and returns at once."""
        self._caller.start()
        self._loop.start()

    def close(self, *, clear_session: bool = False, timeout_s: float = 1.0) -> None:
        """Ends it. Waits up to `timeout_s` for the push being handled, so that it is acknowledged.

        Called by a handler, it does not wait. `clear_session`: whoever has logged in is logged out everywhere.
        """
        self._loop.tell(lambda now: self._loop.protocol.stop_deliveries())
        if threading.current_thread() is not self._caller:
            self._idle.wait(timeout_s)
        self._loop.tell(lambda now: self._loop.protocol.close(now, clear_session))
        self._loop.join(timeout_s + 1.0)
        self._calls.put(None)
        if threading.current_thread() is not self._caller:
            self._caller.join(timeout_s)

    def __enter__(self) -> Client:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- how it is

    @property
    def status(self) -> Status:
        return self._loop.protocol.status

    @property
    def token(self) -> str | None:
        return self._loop.protocol.token

    @property
    def statistics(self) -> Statistics:
        with self._loop.lock:
            return self._loop.protocol.statistics

    # --- requests

    def publish(
        self, topic: str | int, body: Any = None, *, timeout_s: float | None = None, repeat: bool = False
    ) -> Answer:
        """Asks the service of a topic, and waits for its answer; while away, in a bounded queue.

        `body`: bytes, text, None, or anything for JSON. `repeat`: it may be done twice, so it is sent again when the
        connection was lost. Raises RequestError (PublishError: the service's or gateway's code) and ClosedError.
        """
        number, encoded = topic_number(topic), encode_body(body)
        protocol = self._loop.protocol
        return self._wait(self._loop.tell(lambda now: protocol.publish(number, encoded, now, timeout_s, repeat)))

    def contact(
        self, message: Any, *, to: str | None = None, group: str | None = None, timeout_s: float | None = None
    ) -> None:
        """A message to another client, or to the others of a group. Raises RefusedError, RequestError, ClosedError."""
        encoded = contact_body(message, to, group)
        self._wait(self._loop.tell(lambda now: self._loop.protocol.contact(encoded, now, timeout_s)))

    def _wait(self, request: Request) -> Answer:
        self._loop.wait_for(request)
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    # --- the thread for the application's functions

    def _queue(self, action: acts.Action) -> None:
        if isinstance(action, acts.Deliver):
            self._idle.clear()
        self._calls.put(action)

    def _call_application(self) -> None:
        while (action := self._calls.get()) is not None:
            if isinstance(action, acts.Deliver):
                self._handle(action.push)
                self._idle.set()
            elif isinstance(action, acts.Report) and self._on_state:
                self._call(self._on_state, action.status)
            elif isinstance(action, acts.Fault) and self._on_error:
                self._call(self._on_error, action.error)
            elif isinstance(action, acts.Fault):
                _log.warning("%s", action.error)

    def _handle(self, push: Push) -> None:
        protocol = self._loop.protocol
        fault: BaseException | None = None
        try:
            self._on_push(push)
            if self._ids and push.id:
                with self._loop.lock:
                    forgotten = protocol.forgotten_by(push.id)
                self._ids.add(push.id, forgotten)
        except Exception as error:
            fault = error
        self._loop.tell(lambda now: protocol.handled(push.id, fault, now))

    def _call(self, function: Callable[[Any], Any], value: Any) -> None:
        try:
            function(value)
        except Exception:
            _log.exception("on_state or on_error failed")
