"""What a push over HTTP costs, beside the Python sender's: `python -m benchmarks.http_pushes`.

The API has a core with router and workers, the callers another one. `--bulk N` pushes N lines in one request instead,
and watches the memory of the API process meanwhile (`make bench-bulk`: a million).
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

import gevent
import gevent.socket

from benchmarks.costs import cpu_us, cpu_us_each, wait_until_quiet
from benchmarks.faults import BenchmarkFault
from benchmarks.figures import Figure
from benchmarks.machines import LOADING_CORE, MEASURED_CORE, describe, on_core
from benchmarks.programs import Load
from benchmarks.tables import lay_out, lay_out_run, save
from services.sender import Sender
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import children_of

PAYLOAD = "x" * 128
CLIENTS = 1000
_HEAD = b"POST /v1/pushes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
#: Connections of callers at a time.
CALLERS = 64


class Plan(NamedTuple):
    """How much is measured: requests of one push, and pushes otherwise."""

    repeats: int = 3
    requests: int = 10_000
    pushes: int = 100_000


QUICK = Plan(1, 1000, 5000)


class Spent(NamedTuple):
    """CPU us per push of whoever takes it, and of router and workers; pushes per second."""

    front: float
    fleet: float
    per_second: float


class Host:
    """A fleet with its API, and clients c0, c1, ... bound to it. Ends with its `with` block."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            with on_core(MEASURED_CORE):
                self.fleet = stack.enter_context(Fleet(status=True, workers=2))
            self.load = stack.enter_context(Load(self.fleet.client_port))
            self.load.open(CLIENTS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def api(self) -> int:
        """Pid of the API process."""
        return self.fleet.processes["status"].pid

    @property
    def others(self) -> list[int]:
        """Router, guardians, workers."""
        guardians = [self.fleet.guardian_pid(0), self.fleet.guardian_pid(1)]
        return [self.fleet.router_pid(), *guardians, *(child for pid in guardians for child in children_of(pid))]

    def measure(self, push: Callable[[], object], pushes: int, front: int = 0) -> Spent:
        """`front`: the process that takes the pushes; the API if it is not said. Every push must arrive."""
        pids = [front or self.api]
        wait_until_quiet([self.api, *self.others])
        self.load.reset()
        before, fleet, began = cpu_us_each(pids), cpu_us(self.others), time.perf_counter()
        push()
        took = time.perf_counter() - began
        self.load.await_pushes(pushes)
        used = cpu_us_each(pids)[0] - before[0]
        return Spent(used / pushes, (cpu_us(self.others) - fleet) / pushes, pushes / took)


def call(host: Host, bodies: Sequence[bytes], callers: int) -> None:
    """POSTs them to /v1/pushes, each caller on a connection of its own, one request after the other."""
    left = iter(bodies)
    greenlets = [gevent.spawn(_caller, (host.fleet.host, host.fleet.api_port), left) for _ in range(callers)]
    gevent.joinall(greenlets, raise_error=True)


def _caller(address: tuple[str, int], bodies: Iterator[bytes]) -> None:
    with gevent.socket.create_connection(address) as stream:
        answers = stream.makefile("rb")
        for body in bodies:
            stream.sendall(_HEAD % len(body) + body)
            if b" 200 " not in answers.readline():
                raise BenchmarkFault("a request was refused")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            answers.read(length)


class Bulk:
    """One POST to /v1/pushes/bulk of so many lines, written and read at once."""

    def __init__(self, host: Host, lines: int, query: str = "") -> None:
        self._lines, self._chosen = lines, random.Random(3)
        self._stream = gevent.socket.create_connection((host.fleet.host, host.fleet.api_port))
        head = f"POST /v1/pushes/bulk{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        self._stream.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

    def run(self) -> None:
        """Raises BenchmarkFault: not all of them were SENT, or BUFFERED."""
        writer = gevent.spawn(self._write)
        last = b""
        for line in self._stream.makefile("rb"):
            if line.startswith(b'{"done"'):
                last = line
        writer.get()
        self._stream.close()
        told = json.loads(last or b"{}")
        if sum([told.get("counts", {}).get(name, 0) for name in ("sent", "buffered")]) != self._lines:
            raise BenchmarkFault(f"of {self._lines} lines: {told}")

    def _write(self) -> None:
        for first in range(0, self._lines, 200):
            count = min(200, self._lines - first)
            lines = b"".join(
                [b'{"token":"c%d","payload":"%b"}\n' % (self._client(), PAYLOAD.encode()) for _ in range(count)]
            )
            self._stream.sendall(b"%x\r\n%b\r\n" % (len(lines), lines))
        self._stream.sendall(b"0\r\n\r\n")

    def _client(self) -> int:
        return self._chosen.randrange(CLIENTS)


def throughput(plan: Plan) -> list[Figure]:
    """HTTP single, batched and in bulk; the sender library single and batched."""
    chosen = random.Random(1)
    names = [f"c{chosen.randrange(CLIENTS)}" for _ in range(plan.pushes)]
    singles = [json.dumps({"token": name, "payload": PAYLOAD}).encode() for name in names[: plan.requests]]
    batches = {
        size: [
            json.dumps({"tokens": chosen.sample([f"c{n}" for n in range(CLIENTS)], size), "payload": PAYLOAD}).encode()
            for _ in range(plan.pushes // size)
        ]
        for size in (50, 1000)
    }
    found: dict[str, list[Spent]] = {}
    with Host() as host, on_core(LOADING_CORE), Sender(host.fleet.endpoint) as sender:
        pairs = [(name, PAYLOAD) for name in names]
        loads: dict[str, tuple[Callable[[], object], int, int]] = {
            "HTTP, 1 token, 1 connection": (lambda: call(host, singles, 1), plan.requests, 0),
            f"HTTP, 1 token, {CALLERS} connections": (lambda: call(host, singles, CALLERS), plan.requests, 0),
            "HTTP, 50 tokens, 8 connections": (lambda: call(host, batches[50], 8), plan.pushes, 0),
            "HTTP, 1,000 tokens, 2 connections": (lambda: call(host, batches[1000], 2), plan.pushes, 0),
            "HTTP, bulk": (lambda: Bulk(host, plan.pushes).run(), plan.pushes, 0),
            "Python sender, one after the other": (
                lambda: [sender.push(*pair) for pair in pairs[: plan.requests]],
                plan.requests,
                os.getpid(),
            ),
            "Python sender, push_many": (lambda: list(sender.push_many(pairs)), plan.pushes, os.getpid()),
        }
        for _ in range(plan.repeats):
            for name, (push, pushes, front) in loads.items():
                found.setdefault(name, []).append(host.measure(push, pushes, front))
    return [figure for name, samples in found.items() for figure in _figures(name, samples)]


def _figures(name: str, samples: list[Spent]) -> list[Figure]:
    fleet = sorted([one.fleet for one in samples])[len(samples) // 2]
    who = "sender" if name.startswith("Python") else "API"
    return [
        Figure(f"{name}: CPU per push of the {who}", "us", [one.front for one in samples], note=f"fleet {fleet:.1f}"),
        Figure(f"{name}: pushes per second", "/s", [one.per_second for one in samples]),
    ]


def bulk_memory(lines: int) -> list[Figure]:
    """Resident memory of the API before, during (the most of samples every 50 ms) and after."""
    with Host() as host, on_core(LOADING_CORE):
        Bulk(host, 2000).run()  # what is imported and made once
        wait_until_quiet([host.api])
        before, seen = _resident(host.api), [0.0]

        def watch() -> None:
            while True:
                seen.append(_resident(host.api))
                gevent.sleep(0.05)

        watcher = gevent.spawn(watch)
        spent = host.measure(Bulk(host, lines).run, lines)
        watcher.kill()
        wait_until_quiet([host.api])
        after = _resident(host.api)
    name = f"bulk push of {lines:,} lines: API process"
    return [
        Figure(f"{name}, resident before", "MB", [before]),
        Figure(f"{name}, most while it runs", "MB", [max(seen)], note=f"{len(seen) - 1} samples"),
        Figure(f"{name}, after", "MB", [after]),
        Figure(f"{name}, CPU per push", "us", [spent.front], note=f"fleet {spent.fleet:.1f}"),
        Figure(f"{name}, pushes per second", "/s", [spent.per_second]),
    ]


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and saves if told to."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    command = " ".join(["python -m benchmarks.http_pushes", *(arguments or sys.argv[1:])])
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": command} | describe()
    run |= {"payload": f"{len(PAYLOAD)} bytes", "clients": f"{CLIENTS}, WebSocket text"}
    print(lay_out_run(run), end="\n\n", flush=True)
    figures = bulk_memory(options.bulk) if options.bulk else throughput(plan)
    print(lay_out(figures))
    if options.save:
        name = f"http-{'bulk' if options.bulk else 'pushes'}-{datetime.now(UTC):%Y-%m-%d}"
        print("saved:", *save(Path(__file__).parent / "results", name, run, figures))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_pushes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pushes, once: shows that it works")
    parser.add_argument("--bulk", type=int, default=0, metavar="N", help="one request of N lines, and its memory")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/http-...-DATE.json and .md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
