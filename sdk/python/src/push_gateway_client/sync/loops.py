"""The thread that carries out what a Protocol wants: it alone touches the connection, and calls nothing that blocks."""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import Any

from push_gateway_client import actions as acts
from push_gateway_client.kept_ids import KeptIds
from push_gateway_client.options import Options
from push_gateway_client.protocol import Protocol
from push_gateway_client.requests import Request
from push_gateway_client.sync.connections import Address, Connection, open_connection

#: What the application is called with, by its own thread.
Call = Callable[[], None]


class Loop:
    """`on_action` gets every Deliver, Report and Fault. `fetch` gives a credential, and may block."""

    def __init__(
        self,
        address: Address,
        options: Options,
        *,
        credential: str | Callable[[], str] | None,
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
        #: Held for every call of the protocol.
        self.lock = threading.Lock()
        self._answered = threading.Condition(self.lock)
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._connection: Connection | None = None
        self._opening = 0
        self._thread = threading.Thread(target=self._run, name="push-client", daemon=True)

    # --- for other threads

    def start(self) -> None:
        with self.lock:
            self.protocol.start(monotonic())
        self._thread.start()

    def tell(self, say: Callable[[float], Any]) -> Any:
        """Calls `say(now)` with the lock held, and has what follows from it done. Raises what it raises."""
        with self.lock:
            result = say(monotonic())
        self._wake()
        return result

    def wait_for(self, request: Request) -> None:
        """Until it is settled; its deadline sees to that."""
        with self._answered:
            self._answered.wait_for(lambda: request.settled)

    def join(self, timeout_s: float) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # full: it is awake anyway; closed: it has ended
            self._waker.send(b"!")

    # --- the thread

    def _run(self) -> None:
        while True:
            self._carry_out()
            with self.lock:
                if self.protocol.status.state is acts.State.CLOSED and not self._connection:
                    break
                wait_s = self.protocol.next_deadline() - monotonic()
                reading = self.protocol.wants_data
            self._wait(wait_s, reading)
            with self.lock:
                self.protocol.tick(monotonic())
        self._woken.close()
        self._waker.close()

    def _wait(self, wait_s: float, reading: bool) -> None:
        connection = self._connection
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            wanted = 0
            if connection:
                wanted |= selectors.EVENT_READ if reading else 0
                wanted |= selectors.EVENT_WRITE if connection.wants_to_write else 0
                if wanted:
                    selector.register(connection.socket, wanted)
                if reading and connection.has_unread:
                    wait_s = 0.0
            selector.select(None if wait_s == float("inf") else max(0.0, wait_s))
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        if connection and wanted:
            self._exchange(connection, reading)

    def _exchange(self, connection: Connection, reading: bool) -> None:
        try:
            connection.send()
            data = connection.receive() if reading else None
        except OSError as error:
            self._lose(f"io_error: {error}")
            return
        with self.lock:
            if data:
                self.protocol.receive_data(data, monotonic())
            elif data is not None:
                self.protocol.lost("ended", monotonic())

    def _lose(self, reason: str) -> None:
        with self.lock:
            self.protocol.lost(reason, monotonic())

    def _carry_out(self) -> None:
        while True:
            with self.lock:
                todo = self.protocol.take_actions()
            if not todo:
                return
            for action in todo:
                self._do(action)

    def _do(self, action: acts.Action) -> None:
        if isinstance(action, acts.Send):
            self._send(action.data)
        elif isinstance(action, acts.Settle):
            with self._answered:
                self._answered.notify_all()
        elif isinstance(action, acts.Connect):
            self._opening += 1
            threading.Thread(target=self._open, args=(self._opening,), name="push-connect", daemon=True).start()
        elif isinstance(action, acts.Disconnect):
            self._disconnect()
        elif isinstance(action, acts.FetchCredential):
            threading.Thread(target=self._fetch_credential, name="push-credential", daemon=True).start()
        else:
            self._on_action(action)

    def _send(self, data: bytes) -> None:
        if self._connection:
            try:
                self._connection.send(data)
            except OSError as error:
                self._lose(f"io_error: {error}")

    def _disconnect(self) -> None:
        self._opening += 1
        connection, self._connection = self._connection, None
        if connection and self.protocol.status.state is acts.State.CLOSED:
            connection.close_gently()
        elif connection:
            connection.close()

    # --- threads for what blocks

    def _open(self, number: int) -> None:
        try:
            connection = open_connection(self._address, self._options.connect_timeout_s)
        except OSError as error:
            reason = f"unreachable: {error}"
            self.tell(lambda now: self.protocol.lost(reason, now) if number == self._opening else None)
            return

        def take(now: float) -> bool:
            if number != self._opening:
                return False
            self._connection = connection
            self.protocol.opened(now)
            return True

        if not self.tell(take):
            connection.close()

    def _fetch_credential(self) -> None:
        assert self._fetch
        try:
            credential = self._fetch()
        except Exception as error:
            fault = error
            self.tell(lambda now: self.protocol.credential_failed(fault, now))
        else:
            self.tell(lambda now: self.protocol.credential_fetched(credential, now, time()))
