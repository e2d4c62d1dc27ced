"""What the message cache costs, in SQLite and in Redis: `python -m benchmarks.cached_messages`.

Calls go through `services.message_cache.caches.Cache`, which unpacks and packs them, as they come over the bus; the bus
itself is not in it. Then a cache of a million messages: how large it is, and how long it takes to start.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import cpu_us, memory
from benchmarks.figures import Figure
from benchmarks.machines import MEASURED_CORE, describe, on_core
from benchmarks.tables import lay_out, lay_out_run, save
from services.library import ClientCall
from services.message_cache.caches import Cache
from services.storage.messages_opening import open_messages
from shared.cached_messages import Drop, Operation, Read, Store, decode_results, encode_operations
from shared.settings import Settings
from tests.services.storage.redis_servers import RedisServer

BATCHES = (1, 10, 50)
PAYLOAD = bytes(range(128))
_EXPIRES = int((time.time() + 86_400) * 1000)


class Plan(NamedTuple):
    """How much is measured."""

    repeats: int = 3
    messages: int = 20_000
    tokens: int = 200
    many: int = 1_000_000
    many_tokens: int = 10_000


QUICK = Plan(1, 2_000, 20, 20_000, 200)


class Engine(NamedTuple):
    """What is measured. `redis`: options of a server of its own."""

    name: str
    durability: str
    redis: dict[str, str] | None = None


SQLITE = Engine("SQLite, written", "written")
REDIS = Engine("Redis, appended", "written", {"appendonly": "yes", "appendfsync": "everysec"})
ENGINES = (SQLITE, Engine("SQLite, fsynced", "fsynced"), Engine("SQLite, memory", "memory"), REDIS)


class Opened(NamedTuple):
    """An empty cache, and the processes that work for it."""

    cache: Cache
    settings: Settings
    server: RedisServer | None

    @property
    def pids(self) -> list[int]:
        return [os.getpid(), *([self.server.pid] if self.server else [])]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in Path(self.settings.data_dir).rglob("*") if path.is_file())


@contextmanager
def opened(engine: Engine) -> Iterator[Opened]:
    """In a directory of its own, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="cached-messages-") as directory:
        server = None if engine.redis is None else RedisServer(Path(directory) / "redis", **engine.redis)
        where = server.url if server else "sqlite"
        settings = Settings(data_dir=directory, storage=where, storage_durability=engine.durability)
        cache = Cache(open_messages(settings))
        try:
            yield Opened(cache, settings, server)
        finally:
            cache.close()
            if server:
                server.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and saves if told to."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": "python -m benchmarks.cached_messages"}
    run |= describe() | {
        "repeats": f"{plan.repeats}, medians; spread: least - most",
        "payload": f"{len(PAYLOAD)} bytes",
    }
    print(lay_out_run(run), end="\n\n", flush=True)
    with on_core(MEASURED_CORE):
        figures = [*costs(plan), *million(SQLITE, plan), *million(REDIS, plan)]
    print(lay_out(figures))
    if options.save:
        name = f"cached-messages-{datetime.now(UTC):%Y-%m-%d}"
        print("saved:", *save(Path(__file__).parent / "results", name, run, figures))
    return 0


def costs(plan: Plan) -> list[Figure]:
    """CPU per message, of cache and Redis server together, and messages per second, of all engines in turn."""
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for _ in range(plan.repeats):
        for engine in ENGINES:
            for batch in BATCHES:
                with opened(engine) as cache:
                    for what, calls in _loads(plan, batch):
                        found.setdefault((engine.name, what, batch), []).append(_measure(cache, calls, plan.messages))
    figures = []
    for (name, what, batch), samples in found.items():
        rates = sorted(rate for _, rate in samples)
        note = f"{rates[len(rates) // 2]:,.0f}/s"
        figures.append(Figure(f"{name}: {what} {batch} at once", "us", [cost for cost, _ in samples], note=note))
    return figures


def _loads(plan: Plan, batch: int) -> Iterator[tuple[str, list[bytes]]]:
    """Bodies of calls: every token gets as many messages, then they are read in order, then dropped."""
    each = plan.messages // plan.tokens
    tokens = [b"token-%d" % number for number in range(plan.tokens)] * each
    random.Random(1).shuffle(tokens)
    yield "store", _calls([_store(token, number) for number, token in enumerate(tokens)], batch)
    reads = [
        Read(b"token-%d" % number, after, batch, 1 << 20)
        for number in range(plan.tokens)
        for after in range(0, each, batch)
    ]
    yield "replay", _calls(reads, 1)
    drops = [
        Drop(b"token-%d" % number, list(range(after + 1, min(after + batch, each) + 1)))
        for number in range(plan.tokens)
        for after in range(0, each, batch)
    ]
    yield "take out", _calls(drops, 1)


def _store(token: bytes, number: int) -> Store:
    return Store(token, number.to_bytes(18, "big"), 3, 0, _EXPIRES, None, "billing", PAYLOAD)


def _calls(operations: Sequence[Operation], batch: int) -> list[bytes]:
    return [encode_operations(operations[first : first + batch]) for first in range(0, len(operations), batch)]


def _measure(opened: Opened, bodies: list[bytes], messages: int) -> tuple[float, float]:
    """(CPU us per message, messages per second)."""
    calls = [ClientCall({}, body) for body in bodies]
    used, began = cpu_us(opened.pids), time.perf_counter()
    answers = [opened.cache.answer([call])[0] for call in calls]
    took, used = time.perf_counter() - began, cpu_us(opened.pids) - used
    for answer in answers:
        assert isinstance(answer, bytes)
        decode_results(answer)
    counted = opened.cache.counters
    assert messages in (counted["stored"], counted["replayed"], counted["acknowledged"])
    assert not counted["failed"]
    return used / messages, messages / took


_START = """
import sys, time
began = time.perf_counter()
from services.storage.messages_opening import open_messages
from shared.cached_messages import Read
from shared.settings import Settings
settings = Settings(data_dir=sys.argv[1], storage=sys.argv[2])
imported = time.perf_counter()
store = open_messages(settings)
store.apply([Read(b"token-1", 0, 100, 1 << 20)], 0)
print(imported - began, time.perf_counter() - imported, flush=True)
sys.stdin.readline()
store.apply([Read(b"token-%d" % number, 0, 100, 1 << 20) for number in range(10_000)], 0)
print("read", flush=True)
sys.stdin.readline()
"""


def million(engine: Engine, plan: Plan) -> list[Figure]:
    """A full cache: its size, and what a process has to do that starts with it."""
    with opened(engine) as cache:
        tokens = [b"token-%d" % number for number in range(plan.many_tokens)] * (plan.many // plan.many_tokens)
        for body in _calls([_store(token, number) for number, token in enumerate(tokens)], 500):
            cache.cache.answer([ClientCall({}, body)])
        assert cache.cache.counters["stored"] == plan.many
        name = f"{engine.name}: {plan.many:,} messages"
        figures = [Figure(f"{name}, files", "bytes each", [cache.size / plan.many], note=f"{cache.size / 1e6:,.0f} MB")]
        if cache.server:
            used = memory([cache.server.pid]).private
            figures.append(
                Figure(f"{name}, memory of the server", "bytes each", [used / plan.many], note=f"{used / 1e6:,.0f} MB")
            )
            began = time.perf_counter()
            cache.server.kill()
            cache.server.start()
            figures.append(Figure(f"{name}, server starts after kill -9", "s", [time.perf_counter() - began]))
        return figures + _starts(name, cache)


def _starts(name: str, opened: Opened) -> list[Figure]:
    command = [sys.executable, "-c", _START, opened.settings.data_dir, opened.settings.storage]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdin
        assert started.stdout
        _, took = map(float, started.stdout.readline().split())
        at_start = memory([started.pid]).private
        print(file=started.stdin, flush=True)
        started.stdout.readline()
        after = memory([started.pid]).private
        print(file=started.stdin, flush=True)
    return [
        Figure(f"{name}, cache starts and replays one token", "s", [took]),
        Figure(
            f"{name}, its memory then", "MB", [at_start / 1e6], note=f"{after / 1e6:.0f} MB after replaying all at once"
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cached_messages", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages, once: shows that it works")
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results/cached-messages-DATE.json and .md"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
