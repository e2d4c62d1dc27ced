"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from push_gateway_client import actions as acts
from push_gateway_client.actions import Status
from push_gateway_client.asyncio.connections import Address
from push_gateway_client.asyncio.loops import Loop
from push_gateway_client.bodies import contact_body, encode_body
from push_gateway_client.exceptions import PushClientError
from push_gateway_client.kept_ids import KeptIds
from push_gateway_client.options import Options
from push_gateway_client.pushes import Answer, Push
from push_gateway_client.requests import Request
from push_gateway_client.statistics import Statistics
from push_gateway_client.topics import topic_number

_log = logging.getLogger(__name__)


class Client:
    """One token's client, for the event loop in which it connects. Use it with `async with`, or `connect` and `close`.

    `on_push(push)`, a function or a coroutine function: a push is acknowledged when this is done; if it raises, it is
    not; the next push waits. `on_state(status)` and `on_error(error)`, plain functions, tell how it goes. `credential`:
    a JWT, or a function or coroutine function that gives a new one. `ids`: keeps push ids beyond the process.
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
        credential: str | Callable[[], str | Awaitable[str]] | None = None,
        ids: KeptIds | None = None,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        **settings: Any,
    ) -> None:
        self._on_push, self._on_state, self._on_error, self._ids = on_push, on_state, on_error, ids
        address = Address(host, port, ssl_context, server_hostname)
        self._loop = Loop(address, Options(**settings), credential=credential, ids=ids, on_action=self._act)
        self._handler: asyncio.Task[Any] | None = None
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    # --- life

    async def connect(self) -> None:
        """Begins to connect, and returns at once."""
        self._loop.start()

    async def close(self, *, clear_session: bool = False, timeout_s: float = 1.0) -> None:
        """Ends it. Waits up to `timeout_s` for the push being handled, so that it is acknowledged.

        Called by a handler, it does not wait. `clear_session`: whoever has logged in is logged out everywhere.
        """
        self._loop.tell(lambda now: self._loop.protocol.stop_deliveries())
        if asyncio.current_task() is not self._handler:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)
        self._loop.tell(lambda now: self._loop.protocol.close(now, clear_session))
        self._loop.stop()

    async def __aenter__(self) -> Client:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- how it is

    @property
    def status(self) -> Status:
        return self._loop.protocol.status

    @property
    def token(self) -> str | None:
        return self._loop.protocol.token

    @property
    def statistics(self) -> Statistics:
        return self._loop.protocol.statistics

    # --- requests

    async def publish(
        self, topic: str | int, body: Any = None, *, timeout_s: float | None = None, repeat: bool = False
    ) -> Answer:
        """Asks the service of a topic, and waits for its answer; while away, in a bounded queue.

        `body`: bytes, text, None, or anything for JSON. `repeat`: it may be done twice, so it is sent again when the
        connection was lost. Raises RequestError (PublishError: the service's or gateway's code) and ClosedError.
        """
        number, encoded = topic_number(topic), encode_body(body)
        protocol = self._loop.protocol
        return await self._wait(self._loop.tell(lambda now: protocol.publish(number, encoded, now, timeout_s, repeat)))

    async def contact(
        self, message: Any, *, to: str | None = None, group: str | None = None, timeout_s: float | None = None
    ) -> None:
        """A message to another client, or to the others of a group. Raises RefusedError, RequestError, ClosedError."""
        encoded = contact_body(message, to, group)
        await self._wait(self._loop.tell(lambda now: self._loop.protocol.contact(encoded, now, timeout_s)))

    async def _wait(self, request: Request) -> Answer:
        await self._loop.wait_for(request)
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    # --- the application's functions

    def _act(self, action: acts.Action) -> None:
        if isinstance(action, acts.Deliver):
            self._idle.clear()
            self._loop.spawn(self._handle(action.push))
        elif isinstance(action, acts.Report) and self._on_state:
            self._call(self._on_state, action.status)
        elif isinstance(action, acts.Fault) and self._on_error:
            self._call(self._on_error, action.error)
        elif isinstance(action, acts.Fault):
            _log.warning("%s", action.error)

    async def _handle(self, push: Push) -> None:
        protocol = self._loop.protocol
        self._handler = asyncio.current_task()
        fault: BaseException | None = None
        try:
            done = self._on_push(push)
            if inspect.isawaitable(done):
                await done
            if self._ids and push.id:
                self._ids.add(push.id, protocol.forgotten_by(push.id))
        except Exception as error:
            fault = error
        self._idle.set()
        self._loop.tell(lambda now: protocol.handled(push.id, fault, now))

    def _call(self, function: Callable[[Any], Any], value: Any) -> None:
        try:
            function(value)
        except Exception:
            _log.exception("on_state or on_error failed")
