"""Clients through one nginx with TLS on, and a reload of it under them: `python -m benchmarks.nginx_connections`.

A fleet, nginx with deploy/nginx.conf, client processes of up to 7,500 clients, each process on a loopback address of
its own. Every client binds a token; then nginx is reloaded, more clients come, and every client gets a push on the
connection that it had before: what is lost is counted.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults import BenchmarkFault
from benchmarks.figures import Figure
from benchmarks.machines import describe
from benchmarks.tables import lay_out, lay_out_run, save
from services.sender import Outcome, Sender
from shared import places
from shared.startup.descriptors import raise_descriptor_limit
from tests.clients.conversations import Conversation
from tests.deploy.nginx_process import Nginx
from tests.deploy.tls_wires import connect_tls, trusting
from tests.fleet.fleet_process import Fleet

CLIENTS = 30_000
#: Clients that come after the reload.
LATER = 1000
#: Descriptors of nginx processes and of workers are bounded by the machine; two per client in nginx.
CLIENTS_PER_PROCESS = 7500
NGINX_PROCESSES = 6
WORKERS = 3
#: Longest wait for all clients of a process to do something (seconds).
DEADLINE_S = 600.0


class Order(NamedTuple):
    """The clients of one process: tokens n0 ... from `first` on, v2 and text WebSocket in turn."""

    address: tuple[str, int]
    certificate: str
    source: str
    first: int
    clients: int


def be_clients(order: Order, pipe: Connection) -> None:
    """A client process: binds all, then for each payload told reads it on every client and answers how many had it."""
    raise_descriptor_limit()
    context = trusting(order.certificate)
    clients = [_bind(order, context, number) for number in range(order.first, order.first + order.clients)]
    pipe.send([client.wire.local_address for client in clients[:: max(1, order.clients // 50)]])
    while payload := pipe.recv():
        pipe.send(sum([_has(client, payload) for client in clients]))


def _bind(order: Order, context: Any, number: int) -> Conversation:
    kind = "v2" if number % 2 else "ws_snake"
    client = connect_tls(kind, order.address, context, source=order.source, deadline=60)
    client.subscribe(f"n{number}")
    return client


def _has(client: Conversation, payload: bytes) -> bool:
    """Whether a push is the next that comes."""
    try:
        return client.read_push().body == payload
    except (EOFError, OSError):
        return False


class Clients:
    """A client process."""

    _sources = count(2)

    def __init__(self, nginx: Nginx, first: int, clients: int) -> None:
        self.order = Order(nginx.address, str(nginx.certificate), f"127.0.1.{next(self._sources)}", first, clients)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=be_clients, args=(self.order, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def await_bound(self) -> list[str]:
        """Addresses of about 50 of them, in order."""
        addresses: list[str] = self._answer()
        return addresses

    def begin_reading(self, payload: bytes) -> None:
        self._pipe.send(payload)

    def read(self) -> int:
        """How many have read it."""
        return int(self._answer())

    def _answer(self) -> Any:
        if not self._pipe.poll(DEADLINE_S):
            raise BenchmarkFault("a client process does not answer")
        try:
            return self._pipe.recv()
        except EOFError:
            raise BenchmarkFault("a client process died") from None

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def measure(clients: int, later: int) -> list[Figure]:
    """Raises BenchmarkFault where a client cannot bind at all."""
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(workers=WORKERS))
        sockets = [places.nginx_path(fleet.settings, index) for index in range(WORKERS)]
        nginx = stack.enter_context(Nginx(sockets, ("127.0.0.1", 9), processes=NGINX_PROCESSES))
        idle = _resident(nginx.workers)
        began = time.monotonic()
        crowd = _start(stack, nginx, 0, clients)
        wrong = _wrong_addresses(fleet, crowd)
        took, old, busy = time.monotonic() - began, nginx.workers, _resident(nginx.workers)
        before = _push(fleet, crowd, b"before the reload")
        nginx.reload()
        kept = len(set(old) & set(nginx.workers))
        newcomers = _start(stack, nginx, clients, later)
        wrong += _wrong_addresses(fleet, newcomers)
        crowd += newcomers
        after = _push(fleet, crowd, b"after the reload")
    return [
        Figure("clients bound over TLS at once, through one nginx", "", [clients], note=f"{len(old)} nginx processes"),
        Figure("time until all are bound", "s", [took], note="clients, nginx and fleet on the same cores"),
        Figure("of 50 clients of each process: seen with another address than theirs", "", [wrong]),
        Figure("nginx memory per client", "KB", [(busy - idle) / clients / 1000], note="resident, TLS and buffers"),
        Figure("clients without their push before the reload", "", [clients - before]),
        Figure("clients without their push after it", "", [clients + later - after], note=f"{later:,} came after it"),
        Figure("old nginx processes that serve on after it", "", [kept]),
    ]


def _start(stack: ExitStack, nginx: Nginx, first: int, clients: int) -> list[Clients]:
    ends = range(first, first + clients, CLIENTS_PER_PROCESS)
    crowd = [Clients(nginx, at, min(CLIENTS_PER_PROCESS, first + clients - at)) for at in ends]
    for one in crowd:
        stack.callback(one.end)
    return crowd


def _wrong_addresses(fleet: Fleet, crowd: list[Clients]) -> int:
    """Waits until all are bound, and asks the router for the addresses of some."""
    wrong = 0
    with Sender(fleet.endpoint) as sender:
        for one in crowd:
            step, addresses = max(1, one.order.clients // 50), one.await_bound()
            found = sender.find([f"n{one.order.first + place * step}" for place in range(len(addresses))])
            wrong += sum([not at or at.get("address") != own for at, own in zip(found, addresses, strict=True)])
    return wrong


def _push(fleet: Fleet, crowd: list[Clients], payload: bytes) -> int:
    """One push to each client; how many were SENT and read by the client."""
    tokens = [f"n{one.order.first + place}" for one in crowd for place in range(one.order.clients)]
    for one in crowd:
        one.begin_reading(payload)
    with Sender(fleet.endpoint) as sender:
        sent = sum([outcome == Outcome.SENT for outcome in sender.push_many((token, payload) for token in tokens)])
    read = sum([one.read() for one in crowd])
    return min(sent, read)


def _resident(pids: Sequence[int]) -> int:
    pages = sum([int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and saves if told to; exit status 1 if a client lost a push."""
    options = _parser().parse_args(arguments)
    raise_descriptor_limit()
    command = " ".join(["python -m benchmarks.nginx_connections", *(arguments or sys.argv[1:])])
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": command} | describe()
    run |= {"fleet": f"{WORKERS} workers", "clients": "v2 and text WebSocket in turn, TLS 1.3"}
    print(lay_out_run(run), end="\n\n", flush=True)
    figures = measure(options.clients, min(LATER, options.clients))
    print(lay_out(figures))
    if options.save:
        name = f"nginx-connections-{datetime.now(UTC):%Y-%m-%d}"
        print("saved:", *save(Path(__file__).parent / "results", name, run, figures))
    return int(any(figure.measured for figure in figures if "without" in figure.name or "another" in figure.name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nginx_connections", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS, metavar="N", help=f"default {CLIENTS}")
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results/nginx-connections-DATE.json and .md"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
