"""A fleet of one seed: hosts, routers, workers, clients and senders, joined."""

import random

from services.sender.policies import Policy
from shared.settings import Settings
from simulator.bus import Exchange
from simulator.clients import Client, Kind
from simulator.ends import Ends
from simulator.hosts import Host
from simulator.networks import Network
from simulator.promises import Promises
from simulator.routers import Router
from simulator.senders import Sender
from simulator.shapes import Shape
from simulator.workers import Seat
from simulator.worlds import World

_BUS, _SENDERS = "tcp://127.0.0.1:{}", "senders-{}"
_HEARTBEAT_MS, _TIMEOUT_MS, _MOVE_S = 200, 1000, 3


class Fleet:
    """Everything, and where it is found."""

    def __init__(self, world: World, shape: Shape) -> None:
        self.world, self.shape = world, shape
        self.chance = world.chance("fleet")
        self.network = Network(world)
        world.exchange = self.exchange = Exchange(world, self.network)
        self.promises = Promises(world, shape.strict)
        self.exchange.observers.append(self.promises.on_bus)
        self.ends = Ends(self.promises)
        world.closing = self.ends.closing
        self.hosts = [Host(name) for name in ("a", "b", "c")[: shape.hosts]]
        self.settings = [self._settings(host) for host in self.hosts]
        self.routers = [self._router(position) for position in range(shape.routers)]
        self.seats: list[Seat] = self.promises.seats
        for at, host in enumerate(self.hosts):
            for index in range(shape.workers):
                self.add_seat(at, index, host)
        self.clients = [self._client(number) for number in range(shape.clients)]
        self.senders = [self._sender(number) for number in range(shape.senders)]
        self._numbers: dict[tuple[Sender, bytes], int] = {}

    def _settings(self, host: Host) -> Settings:
        return Settings(
            host_name=host.name,
            services="",  # none are simulated: with a message cache of the fleet, pushes would wait for it
            data_dir=f"/simulated/{host.name}",
            workers=self.shape.workers,
            routers=self.shape.routers,
            router_list=",".join(_BUS.format(7000 + position) for position in range(self.shape.routers)),
            worker_heartbeat_ms=_HEARTBEAT_MS,
            worker_timeout_ms=_TIMEOUT_MS,
            ring_settle_ms=500,
            move_timeout_s=_MOVE_S,
            drain_timeout_s=8,
            retry_after_ms=500,
            out_buffer_bytes=4096,
            body_limit_bytes=8192,
            open_subscribe="yes",
            bus_window_batches=2,
        )

    def _router(self, position: int) -> Router:
        at = position % len(self.hosts)
        endpoints = (_BUS.format(7000 + position), _SENDERS.format(position))
        router = Router(self.world, self.exchange, self.hosts[at], position, self.settings[at], endpoints)
        router.kill_worker = lambda name, pid, started: self._kill_declared_dead(router.host, name, pid, started)
        return router

    def _kill_declared_dead(self, host: Host, name: str, pid: int, started: int) -> None:
        """What the router's shell does by pidfd."""
        for seat in self.seats:
            process = seat.process
            if seat.host is host and seat.name == name and process.pid == pid and process.alive:
                self.world.note(name, "declared dead: killed by the router")
                process.kill()

    def add_seat(self, at: int, index: int, host: Host) -> Seat:
        seat = Seat(self.world, host, index, self.settings[at])
        seat.crashed = self.ends.crashed
        self.seats.append(seat)
        return seat

    def _client(self, number: int) -> Client:
        chance = self.chance
        kind = Kind(chance.random() < 0.2, chance.random() < 0.2, chance.random() < 0.15, chance.random() < 0.3)
        client = Client(self.world, f"t{number}".encode(), chance.choice(self.hosts), kind, self.promises)
        self.promises.clients[client.token] = client
        client.judge = self.ends.ended
        return client

    def _sender(self, number: int) -> Sender:
        ordered = self.chance.random() < 0.5
        policy = Policy(
            ordered=ordered,
            retries=3 if ordered else 0,
            window=16,
            batch_pushes=self.chance.choice([1, 5, 50]),
            give_up_s=20.0,
            hello_timeout_s=0.7,
            answer_grace_s=1.0,
        )
        endpoints = [_SENDERS.format(position) for position in range(self.shape.routers)]
        first = self.chance.randrange(len(endpoints))
        endpoints = endpoints[first:] + endpoints[:first]  # so that every router has pushes to carry
        host = self.chance.choice(self.hosts).name
        sender = Sender(self.world, self.exchange, f"s{number}", host, endpoints, policy, timeout_ms=4000)
        sender.done, sender.asked = self.promises.done, self.promises.asked
        return sender

    # --- faults

    def heal(self) -> None:
        """Hosts reach each other again."""
        if self.network.is_cut:
            self.promises.healed_at = self.world.now
            self.network.heal()

    def mend(self) -> None:
        """Everything runs again; nothing else goes wrong from here on."""
        self.heal()
        for router in self.routers:
            if router.process is not None:
                router.process.go_on()
            if not router.alive:
                router.start()
        for seat in self.seats:
            seat.process.go_on()
            seat.process.dies_in = None

    # --- load

    def push(self, sender: Sender, token: bytes, chance: random.Random) -> bytes:
        """One push; its payload names it."""
        number = self._numbers[sender, token] = self._numbers.get((sender, token), 0) + 1
        name = b"%s %s %d" % (sender.name.encode(), token, number)
        filler = b"." * (0 if chance.random() < 0.8 else chance.randint(100, 1500))
        self.promises.sent(sender.push(token, filler + b"|" + name), name)
        return name
