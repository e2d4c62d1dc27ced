"""Pushes to a group and to all, with 4 workers: `python -m benchmarks.group_pushes`.

Router, guardians, workers and the services share a core; clients and sender have the other. Bus messages are the ALL1
that the workers count (STAT1); tests/fleet/test_group_pushes.py counts all of them with a proxy.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgpack

from benchmarks.costs import cpu_us, cpu_us_each, wait_until_quiet
from benchmarks.faults import BenchmarkFault
from benchmarks.figures import Figure
from benchmarks.machines import LOADING_CORE, MEASURED_CORE, describe, on_core
from benchmarks.programs import Load
from benchmarks.stages import FloorStage
from benchmarks.tables import lay_out, lay_out_run, save
from services.library import Service
from shared.calls import Internal, internal
from tests.clients.senders import BUFFERED, SENT, RawSender
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import children_of

BUDGET_RATIO = 1.3
WORKERS = 4
GROUP = "everybody"
PAYLOAD_BYTES = 128


class Plan(NamedTuple):
    """How much is measured. `pushes`: in one run, one after the other."""

    repeats: int = 5
    connections: int = 10_000
    pushes: int = 10


QUICK = Plan(1, 1_000, 3)


class Spent(NamedTuple):
    """CPU us per copy of router and of workers; ms to the last copy, and bus messages, of each push."""

    router: float
    workers: float
    last_ms: list[float]
    messages: list[int]

    @property
    def total(self) -> float:
        return self.router + self.workers


class Host:
    """A fleet, and clients c0, c1, ... which are all in one group. Use `hosted`."""

    def __init__(self, fleet: Fleet, load: Load, sender: RawSender, connections: int) -> None:
        self._fleet, self._load, self._sender, self._connections = fleet, load, sender, connections
        guardians = [fleet.guardian_pid(index) for index in range(WORKERS)]
        self._workers = [*guardians, *(child for pid in guardians for child in children_of(pid))]
        self._others = [fleet.processes[name].pid for name in ("subscribe", "group")]

    def join_all(self) -> None:
        """Make the group; returns when the workers know its members."""
        service = Service("benchmark", self._fleet.settings)
        service.start()
        try:
            service.wait_ready(20)
            tokens = [f"c{number}" for number in range(self._connections)]
            asked = msgpack.packb({"op": "create", "group": GROUP, "tokens": tokens})
            code, body = service.ask(internal(Internal.GROUPS), asked, key=GROUP, timeout_s=60)
            if code:
                raise BenchmarkFault(f"the group was not made: {body!r}")
        finally:
            service.stop()
        deadline = time.monotonic() + 60
        while self._push("group", GROUP)["matched"] != self._connections:
            if time.monotonic() > deadline:
                raise BenchmarkFault("not all are known as members")

    def _push(self, to: str, target: str) -> dict[str, Any]:
        payload = (b"t%016x" % time.monotonic_ns()).ljust(PAYLOAD_BYTES, b"x")
        request = self._sender.send_push([(target, payload)], to=to)
        (outcome,), detail = self._sender.done(request, 30)
        if outcome not in (SENT, BUFFERED):
            raise BenchmarkFault(f"outcome {outcome}: {detail}")
        return detail

    def measure(self, to: str, target: str, pushes: int) -> Spent:
        """Pushes one after the other; each must reach every client, exactly once. Raises BenchmarkFault."""
        wait_until_quiet([self._fleet.router_pid(), *self._workers, *self._others])
        before, pids = self._fan_outs(), [self._fleet.router_pid(), *self._workers]
        router, *workers = cpu_us_each(pids)
        last_ms = []
        for _ in range(pushes):
            self._load.reset()
            detail = self._push(to, target)
            self._load.await_pushes(self._connections)
            last_ms.append(self._load.ask("latency")["max_us"] / 1000)
            if detail["matched"] != self._connections:
                raise BenchmarkFault(f"{detail} of {self._connections} clients")
        copies = pushes * self._connections
        spent = cpu_us([pids[0]]) - router, cpu_us(self._workers) - sum(workers)
        return Spent(spent[0] / copies, spent[1] / copies, last_ms, [self._fan_outs() - before])

    def _fan_outs(self) -> int:
        """ALL1 that the workers have got."""
        time.sleep(2 * self._fleet.settings.worker_heartbeat_ms / 1000)  # until all have said their counters
        return sum([worker["counters"]["fan_outs"] for worker in self._fleet.stat()["workers"].values()])


@contextmanager
def hosted(connections: int) -> Iterator[Host]:
    """Ends with its `with` block."""
    with on_core(MEASURED_CORE):
        fleet = Fleet(workers=WORKERS, services="subscribe,group")
        fleet.__enter__()
    try:
        with Load(fleet.client_port) as load, on_core(LOADING_CORE), RawSender(fleet.endpoint) as sender:
            load.open(connections)
            host = Host(fleet, load, sender, connections)
            host.join_all()
            yield host
    finally:
        fleet.__exit__(None, None, None)


def measure(plan: Plan) -> list[Figure]:
    """Group and all by turns with the floor."""
    targets = {"group": GROUP, "all": ""}
    ours: dict[str, list[Spent]] = {to: [] for to in targets}
    bare = []
    with FloorStage(plan.connections) as floor, hosted(plan.connections) as host:
        for to, target in targets.items():
            host.measure(to, target, 1)
        for _ in range(plan.repeats):
            for to, target in targets.items():
                ours[to].append(host.measure(to, target, plan.pushes))
            bare.append(floor.push_to_all(plan.pushes).total)
    return [figure for to, samples in ours.items() for figure in _figures(to, samples, bare, plan)]


def _figures(to: str, samples: list[Spent], bare: list[float], plan: Plan) -> list[Figure]:
    name = f"push to {'a group' if to == 'group' else to} of {plan.connections:,}, {WORKERS} workers"
    ratios = [one.total / other for one, other in zip(samples, bare, strict=True)]
    split = f"router {median(one.router for one in samples):.2f}, workers {median(one.workers for one in samples):.2f}"
    messages = [count / plan.pushes for one in samples for count in one.messages]
    last = [ms for one in samples for ms in one.last_ms]
    return [
        Figure(f"{name}: bus messages to workers", "", messages, WORKERS, f"at most {WORKERS}"),
        Figure(f"{name}: CPU per copy", "us", [one.total for one in samples], floor=bare, note=split),
        Figure(f"{name}: CPU per copy, over the floor", "x floor", ratios, BUDGET_RATIO, "at most 1.3"),
        Figure(
            f"{name}: time to the last copy", "ms", last, note="from the sender's send() to the last client's read()"
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and saves if told to; 1 if a budget is missed."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    run = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": "python -m benchmarks.group_pushes"}
    run |= describe() | {"repeats": f"{plan.repeats} of {plan.pushes} pushes, medians; spread: least - most"}
    run |= {"payload": f"{PAYLOAD_BYTES} bytes", "clients": f"{plan.connections:,}, WebSocket text"}
    print(lay_out_run(run), end="\n\n", flush=True)
    figures = measure(plan)
    print(lay_out(figures))
    if options.save:
        name = f"group-pushes-{datetime.now(UTC):%Y-%m-%d}"
        print("saved:", *save(Path(__file__).parent / "results", name, run, figures))
    return int(any(figure.met is False for figure in figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.group_pushes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few clients, once: shows that it works")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/group-pushes-DATE.json and .md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
