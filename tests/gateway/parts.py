"""A worker's parts in the test's own process: real sockets, the test's gevent hub, a list in place of the bus."""

import json
import os
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import gevent

from gateway.bus_handlers import BusHandlers, Process
from gateway.calls import Calls
from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.conversations import Conversations
from gateway.counters import new_counters
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.explanations import Explanations
from gateway.fan_outs import FanOuts
from gateway.held_pushes import HeldPushes
from gateway.kept_pushes import KeptPushes
from gateway.landing import Landing
from gateway.membership_asks import MembershipAsks
from gateway.membership_waits import MembershipWaits
from gateway.memberships import Memberships
from gateway.ownership import Ownership
from gateway.peers import PeerListener
from gateway.router_links import RouterLinks
from gateway.sessions import SessionLimits, SessionRules
from gateway.streams import PROXY_DONE, StreamLimits
from gateway.traces import Traces
from shared import bus, bus_rings
from shared.packets import HEADER_BYTES, Packet, encode_packet, parse_packet
from shared.rings import Epoch, owners_of_slots
from shared.settings import Settings
from shared.startup.protobuf_files import load_registry
from shared.tokens import slot_of

DEADLINE_S = 10
#: So far ahead of the clock (seconds) are the parts, so that time goes on only when a test says so.
AHEAD = 100_000


def until(condition):
    """Let the hub run until `condition()` is true; its value."""
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, "nothing came of it"
        gevent.sleep(0.0005)
    return value


def turns(number=4):
    """Let the hub do what is ready now, and what that makes ready, until it has nothing to do."""
    for _ in range(number):
        gevent.idle()


@contextmanager
def busy(*workers):
    """These workers read nothing of what the others send them."""
    readers = [link._reader for parts in workers for link in parts.links()]
    for parts in workers:
        parts.listener._watcher.stop()
        parts.landing.hand_overs.receive = parts.defer
    for reader in readers:
        reader.stop()
    yield
    for parts in workers:
        parts.listener._watch()
        del parts.landing.hand_overs.receive
        for link in parts.links():
            link._reader.start(link._readable)
        parts.catch_up()


def descriptors():
    """The open descriptors of this process, and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


class End:
    """The client's end of a connection. Never blocks: the hub runs while it waits."""

    def __init__(self, sock):
        self.socket = sock
        sock.setblocking(False)
        self.received = bytearray()
        self.ended = False

    def send(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                gevent.sleep(0.0005)

    def pull(self):
        """Take what is there; True when there was anything, or the end."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.received += data
        self.ended = self.ended or not data
        return True

    def take(self, size):
        """Exactly so many bytes."""
        until(lambda: len(self.received) >= size or (self.pull() and len(self.received) >= size) or self.ended)
        assert len(self.received) >= size, f"ended after {bytes(self.received)!r}"
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    def rest(self):
        """Everything up to the end of the connection."""
        until(lambda: self.pull() and self.ended)
        data = bytes(self.received)
        self.received.clear()
        return data

    def quiet(self):
        """Nothing comes, though everything that is ready is done."""
        turns()
        self.pull()
        return not self.received and not self.ended

    def packet(self, version=2):
        """The next packet."""
        size = HEADER_BYTES[version]
        header = self.take(size)
        length = int.from_bytes(header[1:5] if version == 0 else header[3 : 5 if version == 1 else 7], "big")
        return parse_packet(header + self.take(length), 0, version, 1 << 28)[0]

    def frame(self):
        """(first byte, payload) of the next WebSocket frame."""
        first, size = self.take(2)
        if size >= 126:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return first, self.take(size)

    def say(self, signal, body=None, version=2, **fields):
        """Send one packet with a JSON body."""
        text = b"" if body is None else json.dumps(body).encode()
        self.send(encode_packet(version, Packet(signal, body=text, **fields)))

    def ask(self, signal, body=None, version=2):
        """Send a packet; the JSON body of the answer."""
        self.say(signal, body, version)
        return json.loads(self.packet(version).body)

    def close(self):
        self.socket.close()


class Clients:
    """A ClientLoop and the ends of its connections."""

    def __init__(self, ledger=None, **changes):
        self.settings = replace(Settings(services=""), **changes)
        self.counters = new_counters()
        self.loop = ClientLoop(self.settings, StreamLimits(self.settings.body_limit_bytes), self.counters, ledger)
        self.loop.wheel.tick += AHEAD
        self.ends = []
        self.expect_internal_errors = False

    def connect(self, buffer=0, seconds=600):
        """(client's end, record) of a new connection; `buffer`: make the kernel's as small as it can be."""
        ours, theirs = socket.socketpair()
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        ours.setblocking(False)
        connection = Connection(ours.detach(), "test")
        connection.proxied = PROXY_DONE
        self.loop.adopt(connection, seconds)
        end = End(theirs)
        self.ends.append(end)
        return end, connection

    def call_in(self, address):
        """A client that connects to a listener; `address` of TCP or the path of a Unix socket."""
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        sock.connect(address)
        self.ends.append(End(sock))
        return self.ends[-1]

    def advance(self, ticks=1):
        """Let the clock go on, tick by tick."""
        for _ in range(ticks):
            self.loop.advance(self.loop.wheel.tick + 1)

    def close(self):
        self.loop.stop()
        for connection in self.loop.table.by_fd:
            if connection is not None:
                os.close(connection.fd)
        for end in self.ends:
            end.close()
        assert self.expect_internal_errors or not self.counters["internal_errors"]


class Said(list):
    """What a worker told one router: a link's other end."""

    def send(self, frames):
        self.append(list(frames))
        return True


class Parts(Clients):
    """All of a worker but bus and listeners. `told` holds what it told each router, `said` what the first."""

    def __init__(self, name="h/0", directory=None, verifier=None, routers=1, **changes):
        super().__init__(**changes)
        settings = self.settings
        self.name, self.told = name, [Said() for _ in range(routers)]
        self.said = self.told[0]
        self.registry = load_registry(settings)
        encoder = Encoder(settings.deflate_min_bytes, self.registry, os.urandom)
        limits = SessionLimits(
            settings.body_limit_bytes,
            settings.heartbeat_min_s,
            settings.heartbeat_max_s,
            frozenset({b"ping"}),
            settings.auth_required,
            settings.open_subscribe != "no",
        )
        rules = SessionRules(limits, encoder, verifier, self.registry)
        self.ownership = Ownership(name)
        self.held = HeldPushes(settings.held_pushes_max, settings.held_bytes_max)
        self.deliveries = Deliveries(
            self.loop,
            encoder,
            self.ownership,
            self.held,
            Traces(settings.recent_messages_max, settings.recent_bytes_max, self.counters),
            payload_max=settings.body_limit_bytes,
            window=settings.unacknowledged_max,
        )
        self.kept = KeptPushes(self.loop, self.deliveries, self.ownership, settings)
        self.fan_outs = FanOuts(self.loop, self.deliveries, encoder, settings.body_limit_bytes)
        self.landing = Landing(
            self.loop,
            self.ownership,
            rules,
            encoder,
            self.deliveries,
            self.fan_outs,
            timeout_s=settings.move_timeout_s,
            retry_after_ms=settings.retry_after_ms,
        )
        self.conversations = Conversations(self.loop, rules, encoder, settings, frozenset())
        self.conversations.bind = self.landing.bind
        self.conversations.ended = self.landing.ended
        self.conversations.healthy = lambda: True
        self.directory = directory or tempfile.TemporaryDirectory(prefix="pg", dir="/tmp")
        self.path = f"{self.directory.name}/{name.replace('/', '-')}.sock"
        self.listener = PeerListener(Path(self.path), self.landing.receive, self.landing.lost)
        self.routers = RouterLinks(self.told, lambda: self.loop.wheel.tick, settings.worker_heartbeat_ms)
        process = Process("1f" * 8, os.getpid(), 77, self.path)
        self.calls = Calls(
            self.loop,
            self.routers,
            worker=name,
            timeout_ms=settings.call_timeout_ms,
            most=settings.worker_calls_max,
            first=0,
        )
        rules.forwarding.serves = self.calls.serves
        self.conversations.calls = self.calls
        self.conversations.owed_nothing = self.landing.owed_nothing
        self.kept.owed_nothing = self.landing.owed_nothing
        self.kept.storing.calls = self.calls
        self.conversations.acknowledged = self.kept.acknowledged
        groups, away = self.fan_outs.groups, self.landing.hand_overs.away
        self.memberships = memberships = Memberships(
            self.loop, self.ownership, self.routers, groups, away, first=1 << 40
        )
        waits = MembershipWaits(self.loop, memberships, self.kept.replays.go_on)
        asks = MembershipAsks(self.loop, self.calls, groups, memberships, self.fan_outs, worker=name)
        self.loop.table.bound, self.loop.table.released = asks.bound, asks.released
        self.landing.said_again, self.landing.pack, self.landing.answer = asks.bound, asks.pack, waits.answer
        self.handlers = BusHandlers(
            self.loop,
            self.ownership,
            self.deliveries,
            self.fan_outs,
            self.landing,
            self.routers,
            encoder,
            process,
            self.calls,
            self.kept,
            memberships,
            asks,
            Explanations(self.loop, self.ownership, self.deliveries, self.kept, self.routers, settings),
        )
        self.loop.start(self.conversations)
        self.batches = 0
        self.deferred = []
        self.abilities = {}  # by router, what its ALIVE1 says beside its position
        self.alive(0)

    # --- the routers' part

    def hear(self, frames, router=0):
        """A message from a router."""
        self.loop.guarded(self.handlers.receive, router, list(frames))

    def advance(self, ticks=1, silent=()):
        """Let the clock go on, and every router that is heard say so, but those that are `silent`."""
        for _ in range(ticks):
            super().advance()
            self.alive(*[router for router in self.routers.heard if router not in silent])

    def alive(self, *routers):
        """These are heard."""
        for router in routers:
            self.hear(bus.encode_control(bus.ALIVE1, {"router": router, **self.abilities.get(router, {})}), router)

    def ring(self, counter, live, leaving=(), router=0):
        """RING1 with the hand-over sockets of all workers concerned."""
        self.hear(ring(counter, live, leaving), router)

    def batch(self, pushes, flags=0, prefix=bytes(16), signal=4, sub_signal=0, first=0, router=0, terms=None):
        """Send a batch of (token, payload); its number."""
        flags |= bus.OPTIONS if terms else 0
        self.batches += 1
        segment = bus.Segment(len(pushes), flags, prefix, signal, sub_signal)
        index = [bus.ENTRY.pack(len(token), len(payload), at) for at, (token, payload) in enumerate(pushes, first)]
        data = [token + payload for token, payload in pushes]
        terms = [terms] if terms else []
        self.hear(bus.encode_batch(self.ownership.epoch, self.batches, [segment], index, data, terms), router)
        return self.batches

    def push(self, *pushes, router=0, **options):
        """Outcomes of a batch, as the worker answers it at once."""
        number = self.batch(pushes, router=router, **options)
        (outcomes,) = [body for told, body in self.heard(bus.OUTCOMES1, bus.decode_outcomes, router) if told == number]
        return list(outcomes)

    def heard(self, kind, decode=bus.decode_control, router=0):
        """Every message of a kind that a router was told, decoded."""
        return [decode(frames) for frames in self.told[router] if frames[0] == kind]

    def late(self, router=0):
        """(batch, index, outcome) of everything that was told late."""
        return [(number, *pair) for number, pairs in self.heard(bus.LATE1, bus.decode_late, router) for pair in pairs]

    def fan_out(self, number, payload, flags=0, prefix=bytes(16), router=0):
        """Send an ALL1."""
        self.hear(bus.encode_fan_out(Epoch(1, 1), number, bus.Segment(1, flags, prefix, 4, 0), payload), router)

    def counts(self, number, router=0):
        """What COUNTS1 said of a fan-out, or None."""
        told = self.heard(bus.COUNTS1, bus.decode_numbered, router)
        return next((body for told_number, body in told if told_number == number), None)

    def counted(self, number, router=0):
        """The same, once it is said."""
        return until(lambda: self.counts(number, router))

    def call(self, kind, *tokens):
        """Answers of a CALL1, or None while there are none."""
        number = len(self.said) + 1000
        self.hear(bus.encode_numbered(bus.CALL1, number, {"call": kind, "tokens": list(tokens)}))
        return self.reply(number)

    def reply(self, number):
        told = self.heard(bus.REPLY1, bus.decode_numbered)
        return next((body["answers"] for told_number, body in told if told_number == number), None)

    def bound(self, token, version=2, **options):
        """(client's end, record) of a client that is bound here already."""
        end, connection = self.connect()
        end.say(1, {"token": token.decode(), **options}, version)
        assert json.loads(end.packet(version).body)["status"] == 200
        return end, connection

    # --- the other workers

    def links(self):
        """All links to other workers, of both directions."""
        return [*self.listener.links, *self.landing.hand_overs._links.values()]

    def defer(self, *received):
        """A message that comes on a link made while this worker is `busy`."""
        if "receive" in vars(self.landing.hand_overs):
            self.deferred.append(received)
        else:
            self.landing.receive(*received)

    def catch_up(self):
        """Read what was deferred."""
        deferred, self.deferred = self.deferred, []
        for received in deferred:
            self.landing.receive(*received)

    def close(self):
        self.landing.stop()
        self.listener.close()
        super().close()
        self.directory.cleanup()


def ring(counter, live, leaving=()):
    """RING1 of epoch (1, counter); `live` and `leaving` are Parts."""
    paths = [{parts.name: parts.path for parts in group} for group in (live, leaving)]
    return bus_rings.encode_ring(bus_rings.RingNews(Epoch(1, counter), *paths))


def token_of(owner, *sets):
    """A token that `owner` owns in each of these sets of worker names; (names, other) for another owner there."""
    rings = [
        (owners_of_slots(list(one[0])), one[1]) if isinstance(one, tuple) else (owners_of_slots(one), owner)
        for one in sets
    ]
    tokens = (b"t%d" % number for number in range(100_000))
    return next(token for token in tokens if all(owners[slot_of(token)] == name for owners, name in rings))
