"""Carries out what a Protocol wants, in the running event loop. It never waits for the application."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic, time
from typing import Any

from push_gateway_client import actions as acts
from push_gateway_client.asyncio.connections import Address, Connection, open_connection
from push_gateway_client.kept_ids import KeptIds
from push_gateway_client.options import Options
from push_gateway_client.protocol import Protocol
from push_gateway_client.requests import Request

Fetch = Callable[[], "str | Awaitable[str]"]


class Loop:
    """`on_action` gets every Deliver, Report and Fault, and must not block."""

    def __init__(
        self,
        address: Address,
        options: Options,
        *,
        credential: str | Fetch | None,
        ids: KeptIds | None,
        on_action: Callable[[acts.Action], None],
    ) -> None:
        self._address, self._options, self._on_action = address, options, on_action
        self._fetch = credential if callable(credential) else None
        self.protocol = Protocol(
            options,
            chance=random.random,
            credential=credential if isinstance(credential, str) else None,
            can_fetch=callable(credential),
            recent=ids.load() if ids else (),
        )
        self._connection: Connection | None = None
        self._opening = 0
        self._busy = False
        self._waiting: dict[Request, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.tell(self.protocol.start)

    def tell(self, say: Callable[[float], Any]) -> Any:
        """Calls `say(now)`, and does what follows from it. Raises what it raises."""
        result = say(monotonic())
        self._carry_out()
        return result

    async def wait_for(self, request: Request) -> None:
        """Until it is settled; its deadline sees to that."""
        if not request.settled:
            future = self._waiting[request] = asyncio.get_running_loop().create_future()
            await future

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it beside, to its end or `stop`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Ends what runs beside."""
        if self._timer:
            self._timer.cancel()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    def _carry_out(self) -> None:
        if self._busy:
            return  # called by the application's function: whoever called that goes on with it
        self._busy = True
        try:
            self._do_all()
        finally:
            self._busy = False

    def _do_all(self) -> None:
        while todo := self.protocol.take_actions():
            for action in todo:
                self._do(action)
        if self._connection:
            self._connection.read(self.protocol.wants_data)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline, self._timer = self.protocol.next_deadline(), None
        if deadline != float("inf"):
            delay = max(0.0, deadline - monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.tell, self.protocol.tick)

    def _do(self, action: acts.Action) -> None:
        if isinstance(action, acts.Send):
            if self._connection:
                self._connection.send(action.data)
        elif isinstance(action, acts.Settle):
            future = self._waiting.pop(action.request, None)
            if future and not future.done():
                future.set_result(None)
        elif isinstance(action, acts.Connect):
            self._opening += 1
            self.spawn(self._open(self._opening))
        elif isinstance(action, acts.Disconnect):
            self._opening += 1
            connection, self._connection = self._connection, None
            if connection:
                connection.close()
        elif isinstance(action, acts.FetchCredential):
            self.spawn(self._fetch_credential())
        else:
            self._on_action(action)

    async def _open(self, number: int) -> None:
        def receive(data: bytes) -> None:
            self.tell(lambda now: self.protocol.receive_data(data, now))

        def lose(why: str) -> None:
            if number == self._opening:
                self.tell(lambda now: self.protocol.lost(why, now))

        try:
            connection = await open_connection(self._address, self._options.connect_timeout_s, receive, lose)
        except (OSError, asyncio.TimeoutError) as error:
            lose(f"unreachable: {error}")
            return
        if number != self._opening:
            connection.close()
            return
        self._connection = connection
        self.tell(self.protocol.opened)

    async def _fetch_credential(self) -> None:
        assert self._fetch
        try:
            given = self._fetch()
            credential = await given if inspect.isawaitable(given) else given
        except Exception as error:
            fault = error
            self.tell(lambda now: self.protocol.credential_failed(fault, now))
        else:
            self.tell(lambda now: self.protocol.credential_fetched(credential, now, time()))
