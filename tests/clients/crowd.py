"""Thousands of clients in one process of its own: `python -m tests.clients.crowd '<JSON of Plan>'`.

Client number n of the fleet speaks KINDS[n % 6] and binds the token `TOKEN % n`. A push's payload is
`<sequence>.` in decimal and anything after it. Commands come as lines on stdin, answers go as JSON
lines to stdout: {"bound": n} once all are bound, then for `report N S`: wait up to S seconds until N
pushes have come in all and answer {"received": n, "lost": connections that ended, "faults": [...]},
with the pushes, in the order of each client's arrival, as (client u32, sequence u32) in Plan.file.
"""

import json
import select
import socket
import sys
import time
from dataclasses import dataclass

from tests.clients.crowd_members import Log, Member

AT_ONCE = 128  # connections being made at a time
IP_BIND_ADDRESS_NO_PORT = 24


@dataclass(frozen=True, slots=True)
class Plan:
    """Clients `first` to `first + count - 1`, from address `source`."""

    host: str
    port: int
    source: str
    first: int
    count: int
    file: str
    timeout_s: float = 120.0


class Crowd:
    """All members in one epoll set."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.poll = select.epoll()
        self.members: dict[int, Member] = {}
        self.connecting: set[int] = set()
        self.log = Log()
        self.lost = 0

    def bind_all(self) -> None:
        """Connect and subscribe everybody, AT_ONCE at a time."""
        end = time.monotonic() + self.plan.timeout_s
        started = 0
        while self.log.bound < self.plan.count:
            while started < self.plan.count and started - self.log.bound < AT_ONCE:
                self.start(self.plan.first + started)
                started += 1
            self.turn(1.0)
            if time.monotonic() > end or self.lost or self.log.faults:
                raise SystemExit(
                    f"{self.log.bound} of {self.plan.count} bound, {self.lost} lost, faults: {self.log.faults[:3]}"
                )

    def start(self, number: int) -> None:
        """Begin one connection."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self.plan.source, 0))
        sock.connect_ex((self.plan.host, self.plan.port))
        self.members[sock.fileno()] = Member(self.log, number, sock)
        self.connecting.add(sock.fileno())
        self.poll.register(sock, select.EPOLLOUT)

    def turn(self, seconds: float) -> bool:
        """Serve what is ready. Whether a command waits on stdin."""
        command = False
        for descriptor, _ in self.poll.poll(seconds):
            if descriptor == 0:
                command = True
            elif descriptor in self.connecting:
                self.connecting.discard(descriptor)
                self.poll.modify(descriptor, select.EPOLLIN)
                self.members[descriptor].begin()
            else:
                self.read(descriptor)
        return command

    def read(self, descriptor: int) -> None:
        """Input of one member, or its end."""
        member = self.members[descriptor]
        try:
            data = member.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            member.receive(data)
            return
        self.poll.unregister(descriptor)
        self.lost += 1

    def report(self, expected: int, seconds: float) -> dict[str, object]:
        """Wait for `expected` pushes in all, then write down what came."""
        end = time.monotonic() + seconds
        while len(self.log.received) // 2 < expected and time.monotonic() < end:
            self.turn(0.2)
        seen = -1
        while seen != len(self.log.received):  # until it is quiet: what is too many must be seen
            seen = len(self.log.received)
            self.turn(0.3)
        with open(self.plan.file, "wb") as file:
            self.log.received.tofile(file)
        return {"received": len(self.log.received) // 2, "lost": self.lost, "faults": self.log.faults[:10]}


def main() -> None:
    crowd = Crowd(Plan(**json.loads(sys.argv[1])))
    crowd.bind_all()
    print(json.dumps({"bound": crowd.log.bound}), flush=True)
    crowd.poll.register(0, select.EPOLLIN)
    while True:
        if not crowd.turn(1.0):
            continue
        words = sys.stdin.buffer.raw.readline().split()
        if not words:
            return
        crowd.poll.unregister(0)
        answer = crowd.report(int(words[1]), float(words[2]))
        crowd.poll.register(0, select.EPOLLIN)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
