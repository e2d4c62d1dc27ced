"""What presence costs, in SQLite and in Redis: `python -m benchmarks.presence`.

First the topic of the presence service by itself, called with reports as workers send them; the bus is not in it. Then
clients that connect and leave on a whole fleet, with the service and without, in turn.
"""

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from benchmarks.costs import cpu_us, wait_until_quiet
from benchmarks.figures import Figure
from benchmarks.machines import LOADING_CORE, MEASURED_CORE, describe, on_core
from benchmarks.programs import Load
from benchmarks.tables import lay_out, lay_out_run, save
from services.library import ClientCall
from services.presence.presences import PresenceTopic
from services.storage.opening import open_storage
from shared.settings import Settings
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import children_of, wait_until
from tests.services.storage.redis_servers import RedisServer

ENGINES = ("SQLite", "Redis")


class Plan(NamedTuple):
    """How much is measured. `batch`: changes of one report."""

    repeats: int = 3
    entries: int = 50_000
    clients: int = 5_000
    batch: int = 100


QUICK = Plan(1, 2_000, 500)


class Opened(NamedTuple):
    """An empty topic, and the processes that work for it."""

    topic: PresenceTopic
    directory: Path
    server: RedisServer | None

    @property
    def pids(self) -> list[int]:
        return [os.getpid(), *([self.server.pid] if self.server else [])]

    @property
    def size(self) -> int:
        """Bytes: of SQLite's files, or of Redis's memory."""
        if self.server:
            return int(self.server.client().info("memory")["used_memory"])
        path = self.directory / "state" / "push.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.stat().st_size


@contextmanager
def opened(engine: str) -> Iterator[Opened]:
    """In a directory of its own, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="presence-") as directory:
        durable = {"appendonly": "yes", "appendfsync": "everysec"}
        server = RedisServer(Path(directory) / "redis", **durable) if engine == "Redis" else None
        settings = Settings(data_dir=directory, storage=server.url if server else "sqlite")
        try:
            with open_storage(settings) as storage:
                topic = PresenceTopic(storage, lambda transitions: None, lambda: time.time_ns() // 1_000_000)
                yield Opened(topic, Path(directory), server)
        finally:
            if server:
                server.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and saves if told to."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": "python -m benchmarks.presence"}
    run |= describe() | {"repeats": f"{plan.repeats}, medians; spread: least - most"}
    print(lay_out_run(run), end="\n\n", flush=True)
    with on_core(MEASURED_CORE):
        figures = entries(plan)
    with on_core(LOADING_CORE):
        figures += clients(plan)
    print(lay_out(figures))
    if options.save:
        name = f"presence-{datetime.now(UTC):%Y-%m-%d}"
        print("saved:", *save(Path(__file__).parent / "results", name, run, figures))
    return 0


def entries(plan: Plan) -> list[Figure]:
    """CPU of service and Redis server together for each client that comes and goes; what an entry takes."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(plan.repeats):
        for engine in ENGINES:
            with opened(engine) as measured:
                empty = measured.size
                came = _reports(measured, [_come(number) for number in range(plan.entries)], plan, begin=True)
                there = measured.size - empty
                went = _reports(measured, [_gone(number) for number in range(plan.entries)], plan, begin=False)
            unit = "bytes of memory" if engine == "Redis" else "bytes of the file"
            found.setdefault((engine, "entry", unit), []).append(there / plan.entries)
            found.setdefault((engine, "service, a client comes", "us"), []).append(came)
            found.setdefault((engine, "service, a client goes", "us"), []).append(went)
    return [Figure(f"{engine}: {what}", unit, samples) for (engine, what, unit), samples in found.items()]


def _come(number: int) -> list[Any]:
    return [False, f"token-{number:012}", f"user-{number:08}", "v2", f"10.0.0.1:{number}", number, "here/0", 0]


def _gone(number: int) -> list[Any]:
    return [True, *_come(number)[1:], "peer_closed"]


def _reports(measured: Opened, changes: list[list[Any]], plan: Plan, *, begin: bool) -> float:
    """CPU us for each change."""
    first = 1 if begin else plan.entries // plan.batch + 1
    bodies = []
    for number, at in enumerate(range(0, len(changes), plan.batch), first):
        said = {"op": "report", "worker": "here/0", "term": "x.1", "number": number, "lease_ms": 600_000}
        bodies.append(msgpack.packb(said | {"changes": changes[at : at + plan.batch], "begin": number == 1}))
    before = cpu_us(measured.pids)
    for body in bodies:
        measured.topic.answer(ClientCall({}, body))
    return (cpu_us(measured.pids) - before) / len(changes)


class MeasuredFleet(Fleet):
    """Router, 2 workers and, if wanted, the presence service; all on one core."""

    def start(self) -> None:
        with on_core(MEASURED_CORE):
            super().start()

    @property
    def pids(self) -> list[int]:
        pids = [started.pid for started in self.processes.values()]
        return [*pids, *(child for pid in pids for child in children_of(pid))]


def clients(plan: Plan) -> list[Figure]:
    """CPU of all processes for each client that connects, says SUB, and leaves: without presence, and with it."""
    found: dict[str, list[float]] = {"": [], "presence": []}
    for _ in range(plan.repeats):
        for services, samples in found.items():
            with MeasuredFleet(services=services) as fleet:
                _come_and_go(fleet, plan.clients // 5)
                samples.append(_come_and_go(fleet, plan.clients))
    names = {"": "fleet without presence", "presence": "fleet with presence, SQLite"}
    return [Figure(f"{names[one]}: connect, SUB, leave", "us", samples) for one, samples in found.items()]


def _come_and_go(fleet: MeasuredFleet, count: int) -> float:
    wait_until_quiet(fleet.pids)
    before = cpu_us(fleet.pids)
    with Load(fleet.client_port) as load:
        load.open(count)
    wait_until(lambda: not _connections(fleet), "all have left")
    wait_until_quiet(fleet.pids)
    return (cpu_us(fleet.pids) - before) / count


def _connections(fleet: MeasuredFleet) -> int:
    workers = fleet.stat()["workers"].values()
    return sum(sum(figures["connections"].values()) for figures in workers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presence", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few clients, once: shows that it works")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/presence-DATE.json and .md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
