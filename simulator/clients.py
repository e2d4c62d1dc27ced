"""Simulated clients: what the gateway's far end does, sees and notes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import ujson

from shared.errors import RemoteError
from shared.packets import Packet, encode_packet, parse_packet
from shared.signals import Signal
from simulator.hosts import Host
from simulator.tcp import Stream, Watcher
from simulator.worlds import World

_CAPACITY, _SLOW_CAPACITY = 16_384, 1_024


class Kind(NamedTuple):
    """How a client behaves."""

    acknowledges: bool
    asks_for_ids: bool
    slow: bool  # reads little at a time
    piecemeal: bool  # sends packets in pieces


class Connection:
    """One connection of a client, and what came of it."""

    def __init__(self, world: World, client: Client, number: int, watcher: Watcher) -> None:
        self.world, self.client, self.number = world, client, number
        capacity = _SLOW_CAPACITY if client.kind.slow else _CAPACITY
        self.stream = Stream(world, number, self, watcher, capacity)
        self.opened_at = world.now
        self.bound_at: float | None = None
        self.ended_at: float | None = None
        self.left_at: float | None = None  # the client itself ended it
        self.subbed = False
        self.last_words = ""
        self.received: list[tuple[float, bytes]] = []
        self.sent = bytearray()
        self.boundaries: list[int] = [0]  # offsets in what it sent at which packets end
        self.answers_due = 0
        self._input = bytearray()
        self._reading = False

    # --- to the gateway

    def say(self, signal: int, body: dict[str, object] | None = None, message_id: int = 0) -> None:
        """Send a packet, in pieces if that is its way. The bytes are on their way for a moment."""
        text = b"" if body is None else ujson.dumps(body).encode()
        data = encode_packet(2, Packet(signal, body=text, message_id=message_id))
        self.sent += data
        self.boundaries.append(len(self.sent))
        if signal != Signal.PUB_ACK:
            self.answers_due += 1
        cuts = [len(data)]
        if self.client.kind.piecemeal and len(data) > 3:
            cuts = sorted(self.client.chance.sample(range(1, len(data)), 2)) + cuts
        at, start = getattr(self, "_sends_at", 0.0), 0
        for cut in cuts:
            at = max(at, self.world.now) + self.client.chance.uniform(0.0003, 0.004)
            self.world.at(at, self.stream.send, data[start:cut])
            start = cut
        self._sends_at = at

    def leave(self) -> None:
        """The client goes, without a word."""
        if self.ended_at is None:
            self.left_at = self.ended_at = self.world.now
            at = max(getattr(self, "_sends_at", 0.0), self.world.now)
            self.world.at(at + 0.0001, self.stream.close)

    # --- from the gateway

    def bytes_come(self) -> None:
        if not self._reading and self.ended_at is None:
            self._reading = True
            pause = self.client.chance.uniform(0.02, 0.1) if self.client.kind.slow else 0.0001
            self.world.after(pause, self._read)

    def _read(self) -> None:
        self._reading = False
        if self.ended_at is not None:
            return
        self._input += self.stream.take(256 if self.client.kind.slow else 1 << 20)
        try:
            while found := parse_packet(self._input, 0, 2, 1 << 20):
                packet, end = found
                del self._input[:end]
                self._handle(packet)
        except RemoteError as error:
            self.world.broken("bytes are whole", f"{self} got what is no packet: {error}")
        if self.stream.outgoing:
            self.bytes_come()
        elif self.stream.ended:
            self.ended_at = self.world.now
            self.stream.close()
            self.client.ended(self)

    def _handle(self, packet: Packet) -> None:
        if packet.signal == Signal.PUSH:
            body = packet.body[1 + packet.body[0] :] if self.client.kind.asks_for_ids else packet.body
            self.received.append((self.world.now, body))
            if self.client.kind.acknowledges and packet.message_id:
                self.say(Signal.PUB_ACK, message_id=packet.message_id)
            return
        if packet.signal == Signal.DISCONNECT:
            self.last_words = str(ujson.loads(packet.body).get("reason"))
            return
        self.answers_due -= 1
        if packet.signal == Signal.SUB:
            status = ujson.loads(packet.body)["status"]
            if status == 200:
                self.bound_at = self.world.now
                self.client.bound(self)
            else:
                self.last_words = f"SUB {status}"

    def is_idle(self) -> bool:
        """Nothing is in motion: whole packets were read, all answered; the gateway's output stands between packets."""
        between = self.stream.consumed in self.boundaries and not self.stream.incoming
        return between and not self.answers_due and not self.stream.outgoing and not self._input

    def __str__(self) -> str:
        return f"connection {self.number} of {self.client.token.decode()}"


class Client:
    """One token's client, which may have several connections after each other, or replace one by another."""

    def __init__(self, world: World, token: bytes, host: Host, kind: Kind, watcher: Watcher) -> None:
        self.world, self.token, self.host, self.kind, self._watcher = world, token, host, kind, watcher
        self.chance: random.Random = world.chance(f"client {token.decode()}")
        self.connections: list[Connection] = []
        self.wants = False
        self.judge: Callable[[Connection], None] = lambda connection: None

    @property
    def present(self) -> Connection | None:
        """The connection that it uses."""
        last = self.connections[-1] if self.connections else None
        return last if last is not None and last.ended_at is None else None

    def connect(self) -> None:
        """Open a connection and say the token. An older one stays open: the gateway replaces it."""
        self.wants = True
        if not self.host.listeners:
            self.world.after(0.3, self._connect_again)
            return
        number = 1000 * (int(self.token[1:]) + 1) + len(self.connections)
        connection = Connection(self.world, self, number, self._watcher)
        self.connections.append(connection)
        place = self.chance.randrange(len(self.host.listeners))
        self.host.listeners[place].connect(connection.stream)
        self.world.detail(f"client {self.token.decode()}", "connection %d opened, to listener %d", number, place)
        options: dict[str, object] = {"token": self.token.decode()}
        if self.kind.acknowledges:
            options["ack"] = True
        if self.kind.asks_for_ids:
            options["ids"] = True
        connection.say(Signal.SUB, options)

    def _connect_again(self) -> None:
        if self.wants and self.present is None:
            self.connect()

    def ping(self) -> None:
        """Something to be answered."""
        if self.present is not None and self.present.bound_at is not None:
            self.present.say(Signal.PING, {"interval": 300})

    def leave(self) -> None:
        self.wants = False
        for connection in self.connections:
            connection.leave()
        self.world.note(f"client {self.token.decode()}", "leaves")

    def bound(self, connection: Connection) -> None:
        self.world.note(f"client {self.token.decode()}", "connection %d bound", connection.number)

    def ended(self, connection: Connection) -> None:
        """The gateway has closed a connection."""
        self.world.note(
            f"client {self.token.decode()}", "connection %d ended: %s", connection.number, connection.last_words
        )
        self.judge(connection)
        self.world.after(self.chance.uniform(0.1, 1.0), self._connect_again)
