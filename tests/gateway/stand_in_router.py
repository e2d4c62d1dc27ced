"""A router's end of the bus that does what a test says, with real worker processes at the other end."""

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import zmq

from shared import bus, bus_rings
from shared.rings import Epoch, owners_of_slots
from shared.tokens import slot_of
from tests.clients.kinds import connect
from tests.fleet.ports import free_ports
from tests.fleet.processes import Started

ROOT = Path(__file__).parent.parent.parent
DEADLINE_S = 15.0


class StandInRouter:
    """ROUTER socket, worker processes, and everything that they have said, in order."""

    def __init__(self, **settings):
        self._directory = tempfile.TemporaryDirectory(prefix="pg", dir="/tmp")
        self.directory = Path(self._directory.name)
        ports = free_ports(3)
        self.client_address = ("127.0.0.1", ports[0])
        given = {
            "data_dir": self.directory,
            "client_port": ports[0],
            "sender_port": ports[1],
            "api_port": ports[2],
            "host_name": "h",
            "worker_heartbeat_ms": 100,
            "services": "",
            **settings,
        }
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("PUSH_")}
        self._environ |= {f"PUSH_{name.upper()}": str(value) for name, value in given.items()}
        (self.directory / "run").mkdir(mode=0o700)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"ipc://{self.directory}/run/bus-0.sock")
        self.workers = {}
        self.ready, self.beats, self.said = {}, {}, []
        self.heard = Counter()  # heartbeats
        self.epoch = Epoch(1, 0)
        self.owners = []
        self._numbers = 0

    # --- workers

    def start(self, *indexes):
        """Start workers and wait for their READY1."""
        for index in indexes:
            self.launch(index)
        names = {f"h/{index}" for index in indexes}
        self.until(lambda: names <= self.ready.keys())

    def launch(self, index, *arguments, descriptors=None):
        """Start a worker, and do not wait. `descriptors`: how many it may have open."""
        command = [sys.executable, "-m", "gateway.launch", "--index", str(index), *arguments]
        if descriptors:
            command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        log = self.directory / f"{index}.log"
        self.workers[f"h/{index}"] = Started(f"worker {index}", command, self._environ, log, ROOT)
        return self.workers[f"h/{index}"]

    def ring(self, live, leaving=()):
        """The next epoch, told to all who are in it."""
        self.epoch = Epoch(1, self.epoch.counter + 1)
        self.owners = owners_of_slots(list(live))
        paths = [{name: self.ready[name]["hand_over"] for name in group} for group in (live, leaving)]
        for name in [*live, *leaving]:
            self.send(name, bus_rings.encode_ring(bus_rings.RingNews(self.epoch, *paths)))

    def owner(self, token):
        return self.owners[slot_of(token)]

    def token_of(self, worker, prefix="t"):
        """A token that a worker owns now."""
        names = (f"{prefix}{number}" for number in range(100_000))
        return next(name for name in names if self.owner(name.encode()) == worker)

    def close(self):
        """End every process and see that nothing is left."""
        for worker in self.workers.values():
            worker.send(signal.SIGINT)
        try:
            for worker in self.workers.values():
                worker.wait(8)
        finally:
            left = [worker.kill() for worker in self.workers.values()]
            self._socket.close()
            self._context.term()
            self._directory.cleanup()
        assert not any(left)

    # --- messages

    def send(self, worker, frames):
        self._socket.send_multipart([worker.encode(), *frames])

    def pump(self, seconds=0.01):
        """Read what the workers say."""
        if self._socket.poll(int(seconds * 1000)):
            identity, *frames = self._socket.recv_multipart()
            worker = identity.decode()
            if frames[0] == bus.READY1:
                self.ready[worker] = bus.decode_control(frames)
            elif frames[0] == bus.BEAT1:
                self.beats[worker] = bus.decode_control(frames)
                self.heard[worker] += 1
            else:
                self.said.append((worker, frames))

    def until(self, condition, seconds=DEADLINE_S):
        """Read until `condition()` is true; its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                logs = {name: worker.log[-2000:] for name, worker in self.workers.items()}
                raise TimeoutError(f"nothing came of it\n{self.said[-5:]}\n{logs}")
            self.pump()
        return value

    def push(self, *pushes, flags=0, prefix=bytes(16), to=None):
        """Send (token, payload) to their owners (or to one worker), a batch each; {worker: batch number}."""
        by_owner = {}
        for position, (token, payload) in enumerate(pushes):
            by_owner.setdefault(to or self.owner(token), []).append((position, token, payload))
        numbers = {}
        for worker, group in by_owner.items():
            self._numbers += 1
            segment = bus.Segment(len(group), flags, prefix, 4, 0)
            index = [bus.ENTRY.pack(len(token), len(payload), position) for position, token, payload in group]
            data = [token + payload for _, token, payload in group]
            self.send(worker, bus.encode_batch(self.epoch, self._numbers, [segment], index, data))
            numbers[worker] = self._numbers
        return numbers

    def outcomes(self, worker, number):
        """Outcomes of a batch once all are known, those told late included."""

        def known():
            first = self._told(worker, bus.OUTCOMES1, bus.decode_outcomes, number)
            if not first:
                return None
            outcomes = list(first[0])
            for pairs in self._told(worker, bus.LATE1, bus.decode_late, number):
                for place, outcome in pairs:
                    outcomes[place] = outcome
            return None if bus.HELD in outcomes else outcomes

        return self.until(known)

    def first_outcomes(self, worker, number):
        """What OUTCOMES1 said of a batch."""
        return list(self.until(lambda: self._told(worker, bus.OUTCOMES1, bus.decode_outcomes, number))[0])

    def all(self, payload, workers, flags=0, prefix=bytes(16)):
        """ALL1 to each worker; its number."""
        self._numbers += 1
        segment = bus.Segment(1, flags, prefix, 4, 0)
        for worker in workers:
            self.send(worker, bus.encode_fan_out(self.epoch, self._numbers, segment, payload))
        return self._numbers

    def counts(self, worker, number):
        return self.until(lambda: self._told(worker, bus.COUNTS1, bus.decode_numbered, number))[0]

    def call(self, kind, *tokens):
        """Answers to FIND or KICK, asked of each token's owner."""
        answers = []
        for token in tokens:
            self._numbers += 1
            number, worker = self._numbers, self.owner(token.encode())
            self.send(worker, bus.encode_numbered(bus.CALL1, number, {"call": kind, "tokens": [token]}))
            told = self.until(lambda: self._told(worker, bus.REPLY1, bus.decode_numbered, number))  # noqa: B023
            answers += told[0]["answers"]
        return answers

    def _told(self, worker, kind, decode, number):
        found = [decode(frames) for name, frames in self.said if name == worker and frames[0] == kind]
        return [body for told, body in found if told == number]

    # --- clients

    def client(self, kind="v2", token=None, **options):
        """A client, bound if it has a token; while it waits, nothing of the bus is read."""
        conversation = connect(kind, self.client_address)
        if token is not None:
            conversation.subscribe(token, **options)
        return conversation

    def figures(self, worker, name):
        return self.beats.get(worker, {}).get("counters", {}).get(name)

    def held_by(self, worker):
        return sum(self.beats[worker]["connections"].values())
