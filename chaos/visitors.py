"""Clients that come and go: one thread and one epoll set for all of them.

By its number a client speaks binary packets of version 2 or WebSocket text; nine of ten acknowledge, and most ask for
push ids. One visit in ten it acknowledges nothing. It leaves with DISCONNECT, with the end of what it sends, or, if it
acknowledges, with a reset. Else it reads until the gateway closes: what its kernel has taken counts as received.
"""

import heapq
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum, auto
from itertools import count
from types import TracebackType
from typing import Any, Self

from chaos.accounts import Receipt
from services.clients.subscriptions import Options, Subscription, farewell
from services.clients.texts import decode_text, encode_text
from shared.errors import ClientError
from shared.packets import Packet, encode_packet, parse_packet
from shared.signals import Signal
from tests.clients.frames import CLOSE, TEXT, Frame, encode_frame
from tests.clients.websocket import upgrade_request

_READ_BYTES, _BODY_MAX = 1 << 16, 1 << 20
_RESET = struct.pack("ii", 1, 0)
#: Longest pause between two looks at what is due, and how long a client waits to be bound (seconds).
_TICK_S, _BIND_S = 0.02, 15.0
#: Of every WebSocket: that the answer fits it is a matter of other tests.
_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
#: Between a failed visit and the next, longest (seconds).
_RETRY_S = 1.0
_SILENT_VISITS = 0.1
_INTERVAL_S = 300


def acknowledges(client: int) -> bool:
    """Whether it asks for acknowledgements."""
    return client % 10 != 0


def has_ids(client: int) -> bool:
    """Whether it asks for push ids."""
    return client % 4 != 1


def is_websocket(client: int) -> bool:
    """Whether it speaks WebSocket text."""
    return client % 2 == 1


def token_of(client: int) -> str:
    """What it binds."""
    return f"visitor-{client}"


class _State(Enum):
    CONNECTING = auto()
    UPGRADING = auto()
    SUBSCRIBING = auto()
    BOUND = auto()
    LEAVING = auto()  # it says nothing more, and reads to the end


class _Visit:
    """One connection of a client."""

    __slots__ = ("buffer", "client", "silent", "socket", "state", "subscription")

    def __init__(self, client: int, silent: bool) -> None:
        self.client, self.silent = client, silent
        self.state = _State.CONNECTING
        options = Options(ack=acknowledges(client), ids=has_ids(client), interval_s=_INTERVAL_S)
        self.subscription = Subscription(token_of(client), options)
        self.buffer = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def packets(self) -> list[Packet]:
        """The whole packets that have come, taken out of the buffer. Raises RemoteError."""
        return self._texts() if is_websocket(self.client) else self._binary()

    def _binary(self) -> list[Packet]:
        packets, at = [], 0
        while (parsed := parse_packet(self.buffer, at, 2, _BODY_MAX)) is not None:
            packets.append(parsed[0])
            at = parsed[1]
        self.buffer = self.buffer[at:]
        return packets

    def _texts(self) -> list[Packet]:
        packets, buffer, at = [], self.buffer, 0
        while len(buffer) - at >= 2:
            start, size = at + 2, buffer[at + 1]
            if size > 125:
                start += 2 if size == 126 else 8
                size = int.from_bytes(buffer[at + 2 : start], "big")
            if len(buffer) < start + size:
                break
            if buffer[at] & 15 != CLOSE:  # behind it comes the end
                packets.append(decode_text(buffer[start : start + size], False))
            at = start + size
        self.buffer = buffer[at:]
        return packets

    def send(self, packets: Iterable[Packet]) -> None:
        """In the client's own form, all at once. If it cannot be sent, reading will come to the end."""
        if is_websocket(self.client):
            data = b"".join([encode_frame(Frame(TEXT, encode_text(packet).encode())) for packet in packets])
        else:
            data = b"".join([encode_packet(2, packet) for packet in packets])
        with suppress(OSError):
            if data and self.socket.send(data) < len(data):
                self.socket.shutdown(socket.SHUT_WR)


class Visitors:
    """Clients 0 to `clients - 1`, staying and away for about so many seconds. Ends with its `with` block."""

    def __init__(self, address: tuple[str, int], clients: int, seed: int, stay_s: float, away_s: float) -> None:
        self.receipts: list[Receipt] = []
        self.visits = self.dropped = self.refused = 0  # bound; of these, ended by the gateway; not bound
        self.open = 0  # connections
        self._goes_home = self._stays = self._hurries = False
        self._address, self._count, self._stay_s, self._away_s = address, clients, stay_s, away_s
        self._chance = random.Random(seed)
        self._epoll = select.epoll()
        self._visits: dict[int, _Visit] = {}  # by descriptor
        self._bound: dict[int, _Visit] = {}  # by client
        self._due: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitors")

    def __enter__(self) -> Self:
        for client in range(self._count):
            self._later(self._chance.uniform(0, self._away_s), self._come, client)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(30)
        for visit in self._visits.values():
            visit.socket.close()
        self._epoll.close()

    # --- from any thread

    def here(self) -> int:
        """How many are bound now."""
        return len(self._bound)

    def come_back(self) -> None:
        """Everybody comes, stays and acknowledges."""
        self._stays, self._goes_home, self._hurries = True, False, True

    def go_home(self) -> None:
        """Everybody leaves and stays away."""
        self._stays, self._goes_home = False, True

    def is_whole(self) -> bool:
        """Whether the thread goes on; a fault of its own ends it."""
        return self._thread.is_alive()

    # --- the thread

    def _run(self) -> None:
        while not self._ending.is_set():
            for fd, _ in self._epoll.poll(_TICK_S):
                self._serve(self._visits[fd])
            now = time.monotonic()
            if self._hurries:
                self._hurries = False
                self._hurry(now)
            while self._due and self._due[0][0] <= now:
                _, _, do, argument = heapq.heappop(self._due)
                do(argument)
            for visit in [each for each in self._bound.values() if self._goes_home or (self._stays and each.silent)]:
                self._leave(visit)

    def _later(self, seconds: float, do: Callable[[Any], None], argument: Any) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), do, argument))

    def _hurry(self, now: float) -> None:
        """Who is away comes soon, however long it was to be away."""
        soon = [(min(at, now + self._chance.uniform(0, _RETRY_S)), *rest) for at, *rest in self._due]
        self._due = [new if new[2] == self._come else old for new, old in zip(soon, self._due, strict=True)]
        heapq.heapify(self._due)

    def _come(self, client: int) -> None:
        if self._goes_home:
            self._later(_RETRY_S, self._come, client)
            return
        visit = _Visit(client, not self._stays and self._chance.random() < _SILENT_VISITS)
        visit.socket.connect_ex(self._address)
        self._visits[visit.socket.fileno()] = visit
        self._epoll.register(visit.socket, select.EPOLLOUT)
        self.open += 1
        self._later(_BIND_S, self._give_up, visit)

    def _give_up(self, visit: _Visit) -> None:
        if visit.state in (_State.CONNECTING, _State.UPGRADING, _State.SUBSCRIBING) and visit.socket.fileno() >= 0:
            self._end(visit)

    def _serve(self, visit: _Visit) -> None:
        try:
            if visit.state is _State.CONNECTING:
                self._begin(visit)
            elif data := visit.socket.recv(_READ_BYTES):
                self._receive(visit, data)
            else:
                self._end(visit)
        except BlockingIOError:
            return
        except (ClientError, OSError):  # the gateway says why, or does not
            self._end(visit)

    def _begin(self, visit: _Visit) -> None:
        if error := visit.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "connect")
        self._epoll.modify(visit.socket, select.EPOLLIN)
        if is_websocket(visit.client):
            visit.state = _State.UPGRADING
            visit.socket.send(upgrade_request(_KEY))
        else:
            visit.state = _State.SUBSCRIBING
            visit.send(visit.subscription.packets_to_send(time.monotonic()))

    def _receive(self, visit: _Visit, data: bytes) -> None:
        visit.buffer += data
        if visit.state is _State.UPGRADING:
            head, end, rest = visit.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head[:16]:
                raise ClientError("rejected", "no WebSocket")
            visit.buffer, visit.state = rest, _State.SUBSCRIBING
            visit.send(visit.subscription.packets_to_send(time.monotonic()))
        now = time.monotonic()
        try:
            for packet in visit.packets():
                self._take(visit, packet, now)
        finally:
            self._answer(visit, now)

    def _take(self, visit: _Visit, packet: Packet, now: float) -> None:
        delivery = visit.subscription.receive_packet(packet, now)
        if delivery is not None:
            is_acknowledged = bool(delivery.message_id) and not visit.silent and visit.state is _State.BOUND
            number = int(delivery.payload[:8], 16)
            self.receipts.append(Receipt(visit.client, number, delivery.push_id, is_acknowledged))
        elif visit.subscription.bound and visit.state is _State.SUBSCRIBING:
            visit.state = _State.BOUND
            self._bound[visit.client] = visit
            self.visits += 1
            self._later(self._chance.expovariate(1 / self._stay_s), self._leave_unless_it_stays, visit)

    def _answer(self, visit: _Visit, now: float) -> None:
        packets = visit.subscription.packets_to_send(now)
        if visit.state is _State.LEAVING:
            return
        visit.send([packet for packet in packets if not (visit.silent and packet.signal == Signal.PUB_ACK)])

    def _leave_unless_it_stays(self, visit: _Visit) -> None:
        if visit.state is _State.BOUND and not self._stays:
            self._leave(visit)

    def _leave(self, visit: _Visit) -> None:
        visit.state = _State.LEAVING
        del self._bound[visit.client]
        way = self._chance.randrange(3)
        if way == 0 and acknowledges(visit.client):
            visit.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._end(visit)
        elif way == 1:
            visit.send([farewell(clear_session=False)])
        else:
            with suppress(OSError):
                visit.socket.shutdown(socket.SHUT_WR)

    def _end(self, visit: _Visit) -> None:
        left = visit.state is _State.LEAVING
        self.dropped += visit.state is _State.BOUND
        self.refused += visit.state not in (_State.BOUND, _State.LEAVING)
        self._bound.pop(visit.client, None)
        visit.state = _State.LEAVING
        del self._visits[visit.socket.fileno()]
        self._epoll.unregister(visit.socket)  # a fork that is about to exec may still have it
        visit.socket.close()
        self.open -= 1
        longest = 2 * self._away_s if left and not self._stays else _RETRY_S
        self._later(self._chance.uniform(0, longest), self._come, visit.client)
