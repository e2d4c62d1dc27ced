"""A fleet, its clients and its load together: what every scenario stands on."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos.crowds import DEFAULT_PACE, Crowd, Pace, Place
from chaos.fleets import Fleet, Watch, memory_bytes
from chaos.ledgers import Comparison, Excuse, nothing_excused
from chaos.loads import Load
from chaos.probes import Probes
from chaos.results import Result
from services.status.keys import status_keys


@dataclass(frozen=True, slots=True)
class Plan:
    """How much: clients in how many processes, pushes a second, and for how long things are broken."""

    clients: int = 8_000
    processes: int = 2
    rate: int = 2_000
    pace: Pace = DEFAULT_PACE
    pause_s: float = 3.0  # of load alone, after each thing that is broken
    seed: int = 1
    quick: bool = False  # a few seconds, to show that it works
    tree: Path | None = None  # where the fleet's code is; here, if None

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Plan":
        """What `asdict` made, paths as texts."""
        tree = said.pop("tree")
        return cls(**{**said, "pace": Pace(**said["pace"]), "tree": Path(tree) if tree else None})


QUICK = Plan(clients=400, processes=1, rate=300, pause_s=0.3, quick=True)


def progress(text: str) -> None:
    """One line about the phase that begins."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


#: How long nothing more must come at the end: when everything is there, and when something is missing (seconds).
_QUIET_S, _QUIET_QUICK_S = (2.0, 15.0), (0.5, 4.0)
#: How waiting for a fleet, or a process of it, ends badly.
FleetFault = (TimeoutError, RuntimeError, AssertionError, ConnectionError)


class Stage:
    """A ready fleet with all clients bound, slow ones behind, load and busy clients going. Ends with its `with` block.

    `settings` are the fleet's, `tree` its code; `as_shipped` and `timeout_ms` are the Load's.
    """

    def __init__(
        self,
        plan: Plan,
        result: Result,
        *,
        tree: Path | None = None,
        as_shipped: bool = False,
        timeout_ms: int = 5000,
        **settings: Any,
    ) -> None:
        self.plan, self.result = plan, result
        self.fleet = Fleet(tree or plan.tree, **settings)
        self.names = self.worker_names()
        self.crowd = Crowd(self.places(), plan.clients, plan.processes, self.fleet.directory, plan.pace)
        endpoints, curve = self.endpoints(), status_keys(self.fleet.settings)
        self.load = Load(
            endpoints,
            self.crowd.clients,
            plan.rate,
            plan.seed,
            is_offline=self.crowd.hurry,
            as_shipped=as_shipped,
            timeout_ms=timeout_ms,
            curve=curve,
        )
        self.watch = Watch(endpoints, curve)
        self.probes = Probes(self.fleet.address, self.names)
        self._stack = ExitStack()
        self._kept: list[float] = []

    def places(self) -> list[Place]:
        """Where the clients are."""
        return [Place(self.fleet.address)]

    def endpoints(self) -> list[str]:
        """Where senders find the routers."""
        return self.fleet.endpoints

    def pids(self) -> list[int]:
        """Of all processes of the fleet."""
        return self.fleet.pids

    def worker_names(self) -> list[str]:
        """Of all workers at the start."""
        return [self.fleet.name_of(index) for index in range(self.fleet.settings.workers)]

    def start(self) -> None:
        """Starts the fleet and waits until it is ready."""
        self.fleet.start()
        self.fleet.wait_ready(seconds=60)

    def end(self) -> None:
        """Ends it. A process that stays, or a traceback in a log, is a broken promise like any other."""
        end_fleet(self.fleet, self.result)

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _set_up(self) -> None:
        progress(f"{self.result.scenario}: {self.plan.clients:,} clients connect")
        self._stack.callback(self.end)
        self.start()
        self._stack.enter_context(self.crowd)
        self.crowd.open()
        for part in (self.load, self.watch, self.probes):
            self._stack.enter_context(part)
        progress(f"{self.result.scenario}: all are bound; the slow ones get more than they read")
        share = self.load.fill()
        progress(
            f"{self.result.scenario}: output kept for {share:.0%} of the slow clients; {self.plan.rate:,} pushes/s"
        )
        self.crowd.busy(True)
        self.load.start()
        time.sleep(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """A fleet that does not do in time what it should has broken a promise: the result says so, the run goes on."""
        is_fault = isinstance(error, FleetFault)
        if is_fault:
            self.result.expect("the run", str(error).partition("\n")[0], "goes through", False)
            print(f"{error!r}\n{self.fleet.logs()}", file=sys.stderr)
        self._stack.close()
        return is_fault

    def phase(self, text: str) -> None:
        """Says what begins, and notes for how many slow clients output is kept now."""
        self._kept.append(self.load.kept_output())
        progress(f"{self.result.scenario}: {text}")

    def pause(self) -> None:
        """The load goes on, nothing is broken."""
        time.sleep(self.plan.pause_s)

    def finish(self, excused: Excuse = nothing_excused) -> None:
        """Ends the load, waits until everything has arrived, and enters findings and common figures."""
        self.phase("the load ends")
        memory = memory_bytes(self.pids())
        self.crowd.busy(False)
        self.load.stop()
        self.crowd.drain()
        self._await_quiet(*(_QUIET_QUICK_S if self.plan.quick else _QUIET_S))
        self.watch.settle(self.fleet.settings.worker_heartbeat_ms / 1000)
        stats, result = self.crowd.stats(), self.result
        comparison = Comparison(self.load.pushes, excused, self.load.started_ns)
        result.findings = comparison.by_role(self.crowd.seen(), self.crowd.clients)
        result.state("output was kept for slow clients", f"{sum(self._kept) / len(self._kept):.0%} of them")
        result.state("memory of the fleet (PSS), MiB", round(memory / (1 << 20), 1))
        result.state("requests of busy clients", stats["asked"])
        result.state("slowest answer to one, ms", stats["slowest_answer_us"] / 1000)
        result.at_most("clients that are not back", len(self.crowd.clients) - stats["bound"], 0)
        missing = stats["asked"] - stats["answered"] - stats["unanswered"]
        result.at_most("requests without answer on a connection that stayed", missing, 0)
        result.at_most("wrong messages to clients", stats["faults"], 0)
        if stats["faults"]:
            result.state("the last of them", stats["last_fault"])
        result.state("requests repeated by the senders", sum(one.repeated for one in self.load.statistics))
        result.state("turns of the load that were late by a second", self.load.late)
        self._state_ends()

    def _state_ends(self) -> None:
        closed = {
            name[6:]: count for name, count in self.watch.counters().items() if name.startswith("close_") and count
        }
        self.result.state("ends of connections, by the workers", _counts(closed))
        self.result.state("what clients were told", _counts(self.result.whole().disconnected_by))

    def _await_quiet(self, copies_s: float, missing_s: float) -> None:
        """Until nothing has come for `copies_s`, and if something is missing for `missing_s`; at most two minutes.

        A kernel whose peer had no room for long tries again after seconds.
        """
        wanted, everybody = self.load.delivered(), len(self.crowd.clients)
        deadline, since, seen = time.monotonic() + 120, time.monotonic(), -1
        while time.monotonic() < deadline:
            stats = self.crowd.stats()
            now = stats["pushes"] + stats["answered"] + stats["lost"]
            if now != seen:
                seen, since = now, time.monotonic()
            is_whole = stats["pushes"] >= wanted and stats["bound"] == everybody
            if time.monotonic() - since > (copies_s if is_whole else missing_s):
                return
            time.sleep(0.2)

    def promise_all(self, *, disconnects: int | None = 0, copies: bool = False) -> None:
        """The promises that hold whatever happens. `disconnects` None: the scenario has its own.

        `copies`: a client may get a push twice, if it cannot be told that it is the same or drops it by its id.
        """
        whole, result = self.result.whole(), self.result
        if disconnects is not None:
            result.at_most("disconnects", whole.disconnects, disconnects)
        result.at_most("lost", whole.lost, 0)
        if copies:
            result.at_most("copies left to clients that asked for ids", whole.copies_left, 0)
            result.state("copies to clients without ids", whole.duplicated - whole.copies_left)
        else:
            result.at_most("duplicated", whole.duplicated + whole.copies_dropped, 0)
        result.at_most("out of order", whole.out_of_order, 0)
        result.at_most("untrue outcomes", whole.untrue, 0)
        result.at_most("pushes without outcome", whole.unanswered, 0)
        said = f" ({_counts(whole.failed_by)})" if whole.failures else ""
        result.expect("outcomes other than SENT, BUFFERED, ACKED", f"{whole.failures}{said}", "0", not whole.failures)
        result.state("slowest push to a busy or idle client, ms", _slowest(result))
        result.state("all outcomes", _counts(whole.outcomes))


def end_fleet(fleet: Fleet, result: Result) -> None:
    """Ends a fleet; what is wrong at its end goes into the result."""
    try:
        fleet.stop()
    except AssertionError as fault:
        result.expect("processes at the end", str(fault).partition("\n")[0], "no traceback, nothing left", False)
        print(fault, file=sys.stderr)


def _slowest(result: Result) -> float:
    return max((finding.slowest_receipt_ms for role, finding in result.findings.items() if role != "slow"), default=0.0)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"


#: What a scenario module's `run` is.
Scenario = Callable[[Plan, Sequence[str]], Iterable[Result]]
