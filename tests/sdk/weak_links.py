"""A TCP proxy in front of a gateway, which a test cuts, and freezes so that nothing comes through any more."""

import re
import socket
import threading
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self


class _Pair:
    """A client's connection and the one made for it; two threads carry bytes."""

    def __init__(self, link: "WeakLink", client: socket.socket, frozen: bool) -> None:
        self._link, self._client = link, client
        self._gateway = socket.create_connection(link.target, timeout=20)
        self._gateway.settimeout(None)
        self.flows = threading.Event()
        if not frozen:
            self.flows.set()
        ways = ((client, self._gateway, False), (self._gateway, client, True))
        self.threads = [threading.Thread(target=self._carry, args=way, daemon=True) for way in ways]
        for thread in self.threads:
            thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, is_down: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.flows.wait()
                if is_down:
                    self._link.down += data
                target.sendall(data)
        if self.flows.is_set():  # a frozen one does not tell that the other end has gone
            self.close()

    def close(self) -> None:
        for each in (self._client, self._gateway):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class WeakLink:
    """Clients connect to `address`. `came`: when each did, monotonic seconds; `down`: all that the gateway said."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.came: list[float] = []
        self.down = bytearray()
        self.refuses_to_carry = False  # new connections are frozen from the start
        self._pairs: list[_Pair] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.came.append(monotonic())
                try:
                    self._pairs.append(_Pair(self, client, self.refuses_to_carry))
                except OSError:  # no gateway is there
                    client.close()

    def cut(self) -> None:
        """All connections end."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()

    def freeze(self) -> None:
        """Nothing comes through the connections that are there; nobody is told."""
        for pair in self._pairs:
            pair.flows.clear()

    def retry_after_s(self) -> float:
        """What the gateway's last DISCONNECT said."""
        *_, said = re.findall(rb'retry_after_ms\\?":(\d+)', bytes(self.down))
        return int(said) / 1000

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for pair in self._pairs:
            pair.flows.set()
            pair.close()
            for thread in pair.threads:
                thread.join(10)
