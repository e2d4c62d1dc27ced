"""Nothing stored is lost: `python -m chaos.stored --runs 50 --storage sqlite`.

In each run a client is away while 1,000 pushes with ttl come in requests of 1 to 50, each repeated with its id until
its outcome is final, and message cache, workers and router are killed at random instants and started again. Then the
client comes: every push that was reported STORED must be there, in order, once, and nothing again after its
acknowledgement.
"""

import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import click

from tests.clients.kinds import connect
from tests.clients.senders import OVERLOADED, STORED, UNAVAILABLE, UNKNOWN, RawSender
from tests.fleet.fleet_process import Fleet
from tests.services.storage.redis_servers import RedisServer

PUSHES, REQUEST_MAX = 1000, 50
_RETRYABLE = frozenset({OVERLOADED, UNAVAILABLE, UNKNOWN})
_VICTIMS = ("cache", "router", "worker")
#: Between two deaths of workers, shortest (seconds): one that dies again and again is left down.
_WORKER_S = 2.5
_PATIENCE_S = 120
#: Between two deaths, longest (seconds).
_PAUSE_S = 0.5
#: Deaths in a row behind which no request was finished: then one is waited for, however slowly processes start here.
_DEATHS_MOST = 4
#: Between two requests, longest: so that deaths come before, in and behind them.
_BETWEEN_S = 0.1


@dataclass(slots=True)
class Item:
    """One push: when it was first tried and when its outcome was final, by a count of tries."""

    payload: bytes
    first: int = -1
    final: int = -1
    outcome: int = -1
    tries: int = 0


@dataclass(slots=True)
class Run:
    """What came of one run."""

    seed: int
    items: list[Item] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_VICTIMS, 0))
    repeats: int = 0
    twice: int = 0  # came again after they had been acknowledged
    seconds: float = 0.0
    finished: int = 0  # requests

    def faults(self) -> list[str]:
        """The promises that were broken."""
        by_payload = {item.payload: item for item in self.items}
        stored = {item.payload for item in self.items if item.outcome == STORED}
        missing, copies = stored - set(self.received), len(self.received) - len(set(self.received))
        found = []
        if len(stored) < len(self.items):
            found.append(f"{len(self.items) - len(stored)} pushes were never stored")
        if missing:
            found.append(f"{len(missing)} that were stored are missing, first {min(missing)!r}")
        if copies:
            found.append(f"{copies} came twice before they were acknowledged")
        if self.twice:
            found.append(f"{self.twice} came again after their acknowledgement")
        wrong = _out_of_order([by_payload[payload] for payload in self.received if payload in by_payload])
        if wrong:
            found.append(f"{wrong} out of order")
        return found


def _out_of_order(received: list[Item]) -> int:
    """A push counts as sent when it is repeated: what was final before another was first tried comes before it."""
    wrong, latest_first = 0, -1
    for item in received:
        wrong += item.final < latest_first
        latest_first = max(latest_first, item.first)
    alone = [item for item in received if item.tries == 1]
    return wrong + sum(one.payload > other.payload for one, other in pairwise(alone))


class Killer(threading.Thread):
    """Kills and starts again, until told to stop."""

    def __init__(self, fleet: Fleet, run: Run) -> None:
        super().__init__(daemon=True)
        self._fleet, self._run, self._chance = fleet, run, random.Random(run.seed)
        self.stopping = threading.Event()
        self._next_worker = 0.0

    def run(self) -> None:
        finished, deaths = 0, 0
        while not self.stopping.wait(self._chance.uniform(0, _PAUSE_S)):
            if self._run.finished != finished:
                finished, deaths = self._run.finished, 0
            if deaths == _DEATHS_MOST:
                continue
            deaths += 1
            may = _VICTIMS if time.monotonic() >= self._next_worker else _VICTIMS[:2]
            self.kill(self._chance.choice(may))

    def kill(self, victim: str) -> None:
        """One death, and the start that supervisord would make."""
        self._run.kills[victim] += 1
        if victim == "cache":
            self._fleet.kill_service("message-cache")
            self._fleet.start_service("message-cache")
        elif victim == "router":
            self._fleet.kill_router()
            self._fleet.start_router()
        else:  # its guardian starts it
            self._fleet.kill_worker(self._chance.randrange(2))
            self._next_worker = time.monotonic() + _WORKER_S


class Pushing:
    """A sender that repeats with the same id, on a new connection when the router is silent."""

    def __init__(self, fleet: Fleet, run: Run, token: str) -> None:
        self._fleet, self._run, self._token = fleet, run, token
        self._sender: RawSender | None = None
        self._tries = 0

    def push(self, items: list[Item], number: int) -> None:
        """One request, until every outcome is final."""
        end = time.monotonic() + _PATIENCE_S
        while any(item.final < 0 for item in items):
            if time.monotonic() > end:
                return
            self._tries += 1
            for item in items:
                item.first = self._tries if item.first < 0 else item.first
                item.tries += item.final < 0
            outcomes = self._try(items, number)
            if outcomes is None:
                continue
            for item, outcome in zip(items, outcomes, strict=True):
                if item.final < 0 and outcome not in _RETRYABLE:
                    item.outcome, item.final = outcome, self._tries
            if any(item.final < 0 for item in items):
                self._run.repeats += 1
                time.sleep(0.05)

    def _try(self, items: list[Item], number: int) -> bytes | None:
        pairs = [(self._token, item.payload) for item in items]
        try:
            if self._sender is None:
                self._sender = RawSender(self._fleet.endpoint, name="stored", deadline=6)
            return self._sender.push_all(pairs, ttl=3600, id=f"{self._token}-{number}", timeout_ms=5000)
        except (TimeoutError, AssertionError):
            self._run.repeats += 1
            self.close()
            return None

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


def one_run(fleet: Fleet, seed: int) -> Run:
    """A client away, pushes and deaths, and its return."""
    run, token, chance = Run(seed), f"token-{seed}-{time.time_ns()}", random.Random(seed)
    began = time.monotonic()
    run.items = [Item(b"%06d" % number) for number in range(PUSHES)]
    killer, pushing = Killer(fleet, run), Pushing(fleet, run, token)
    killer.start()
    done = number = 0
    while done < PUSHES:
        some = run.items[done : done + chance.randint(1, REQUEST_MAX)]
        pushing.push(some, number)
        run.finished += 1
        done, number = done + len(some), number + 1
        time.sleep(chance.uniform(0, _BETWEEN_S))
    killer.stopping.set()
    killer.join()
    pushing.close()
    fleet.wait_ready()
    _read(fleet, run, token)
    run.seconds = time.monotonic() - began
    return run


def _read(fleet: Fleet, run: Run, token: str) -> None:
    """The client comes, acknowledges what there is, and comes once more."""
    with RawSender(fleet.endpoint, name="reader", deadline=30) as sender:
        for visit in range(2):
            last = b"last-%d" % visit
            end = time.monotonic() + 30
            while sender.push(token, last, ttl=3600, id=f"{token}-{visit}") in _RETRYABLE and time.monotonic() < end:
                time.sleep(0.05)
            with connect("v2", fleet.address) as client:
                client.subscribe(token, ack=True)
                while (packet := client.read_push()).body != last:
                    client.acknowledge(packet.message_id)
                    if visit:
                        run.twice += 1
                    else:
                        run.received.append(packet.body)
                client.acknowledge(packet.message_id)
                while (sender.find(token) or {}).get("unacknowledged") and time.monotonic() < end:
                    time.sleep(0.01)
                time.sleep(0.05)


@click.command()
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the first run; the others count from there.")
@click.option("--storage", type=click.Choice(["sqlite", "redis"]), default="sqlite", show_default=True)
def main(runs: int, seed: int, storage: str) -> None:
    """Prove that nothing stored is lost. Exit code 1 if anything was."""
    sys.exit(1 if prove(runs, seed, storage) else 0)


def prove(runs: int, seed: int, storage: str) -> int:
    """How many runs broke a promise."""
    broken, total = 0, Run(0)
    with ExitStack() as stack:
        settings = {
            "services": "message-cache",
            "worker_heartbeat_ms": 100,
            "worker_timeout_ms": 2000,
            "cached_messages_max": 5000,
        }
        if storage == "redis":
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
            server = stack.enter_context(RedisServer(directory, appendonly="yes", appendfsync="everysec"))
            settings["storage"] = server.url
        fleet = stack.enter_context(Fleet(**settings))  # type: ignore[arg-type]
        for each in range(seed, seed + runs):
            run = one_run(fleet, each)
            faults = run.faults()
            broken += bool(faults)
            kills = ", ".join(f"{count} {victim}" for victim, count in run.kills.items())
            click.echo(
                f"run {each}: {len(run.received)} received; killed {kills}; {run.repeats} repeats;"
                f" {run.seconds:.1f} s; {'; '.join(faults) or 'kept'}"
            )
            total.repeats += run.repeats
            for victim, count in run.kills.items():
                total.kills[victim] += count
    click.echo(f"{storage}: {runs} runs, {broken} broken; killed {total.kills}, {total.repeats} repeats")
    return broken


if __name__ == "__main__":
    main()
