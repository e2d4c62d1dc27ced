"""None acknowledged or stored is lost, whatever dies: `python -m chaos.acked --minutes 10 --storage sqlite`.

Clients come and go at random, pushes come at a steady rate, and processes of the fleet are killed -9 at random instants
and started again: workers, guardians with their workers, router, subscribe service, message cache. In the end all
clients leave, come and get what there is, leave, and come once more. (Nobody stays from before: whoever acknowledged a
push to a worker in the instant of its death gets it once more at the next visit, and then never again.)
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from tqdm import tqdm

from chaos.accounts import Account, Receipt, Told, account
from chaos.conclusions import conclude
from chaos.results import Result
from chaos.visitors import Visitors, acknowledges, token_of
from services.sender import Push, Sender
from shared.outcomes import Outcome
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.services.storage.redis_servers import RedisServer

WORKERS, _SENDERS = 3, 2
_TTL_S = 24 * 3600
#: Of pushes: those that wait for the acknowledgement, and those that are not to be kept.
_WAITING, _PLAIN = 0.3, 0.1
_TIMEOUT_MS = 3000
_TURN_S = 0.01
#: How long clients stay and are away, on average (seconds).
_STAY_S, _AWAY_S = 15.0, 6.0
#: Between two deaths, and until what died is started again, longest (seconds).
_PAUSE_S, _DOWN_S = 4.0, 1.5
#: Between two deaths of one worker: a worker that dies again and again is left down (seconds).
_WORKER_S = 6.0
_VICTIMS = ("worker", "worker", "worker and guardian", "router", "cache", "cache", "subscribe")
#: So often another one dies at the same instant.
_AT_ONCE = 0.25
_PATIENCE_S = 240.0
#: Nothing may come for so long before all is said to be there (seconds).
_QUIET_S = 3.0


class Killer(threading.Thread):
    """Kills and starts again until told to stop; a start that fails is a fault of the run."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        super().__init__(name="killer")
        self.kills: Counter[str] = Counter()
        self.fault: BaseException | None = None
        self.stopping = threading.Event()
        self._fleet, self._chance = fleet, random.Random(seed)
        self._free_at = [0.0] * WORKERS
        self._down: list[tuple[float, str, int]] = []

    def run(self) -> None:
        try:
            self._run()
        except BaseException as fault:
            self.fault = fault

    def _run(self) -> None:
        next_at = time.monotonic() + self._chance.uniform(0, _PAUSE_S)
        while not self.stopping.wait(0.01):
            now = time.monotonic()
            if now >= next_at:
                next_at = now + self._chance.uniform(0, _PAUSE_S)
                for _ in range(1 + (self._chance.random() < _AT_ONCE)):
                    self._kill(self._chance.choice(_VICTIMS), now)
            self._start_due(now)
        self._start_due(float("inf"))

    def _kill(self, victim: str, now: float) -> None:
        fleet, index = self._fleet, 0
        if any(victim == down for _, down, _ in self._down) and not victim.startswith("worker"):
            return
        if victim.startswith("worker"):
            free = [each for each in range(WORKERS) if self._free_at[each] <= now]
            if not free:
                return
            index = self._chance.choice(free)
            self._free_at[index] = now + _WORKER_S
            self._kill_worker(index, victim != "worker")
        elif victim == "router":
            fleet.kill_router()
        else:
            fleet.kill_service({"cache": "message-cache"}.get(victim, victim))
        self.kills[victim] += 1
        if victim != "worker":  # which its guardian starts
            self._down.append((now + self._chance.uniform(0, _DOWN_S) * self._chance.randrange(2), victim, index))

    def _kill_worker(self, index: int, guardian_too: bool) -> None:
        worker = self._fleet.worker_pid(index)
        if guardian_too:
            self._fleet.processes[f"gateway-{index}"].send(signal.SIGKILL)
        if worker:  # 0 would be all of this process group
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        if guardian_too:
            self._fleet.processes[f"gateway-{index}"].wait()

    def _start_due(self, now: float) -> None:
        due = [each for each in self._down if each[0] <= now]
        self._down = [each for each in self._down if each[0] > now]
        for _, victim, index in due:
            if victim == "router":
                self._fleet.start_router()
            elif victim == "worker and guardian":
                self._fleet.start_worker(index)
            else:
                self._fleet.start_service({"cache": "message-cache"}.get(victim, victim))


class Pushing(threading.Thread):
    """`rate` pushes a second to clients drawn by `seed`, through the sender library, until told to stop."""

    def __init__(self, fleet: Fleet, clients: int, rate: int, seed: int) -> None:
        super().__init__(name="pushing")
        self.pushes: list[Told] = []
        self.stopping = threading.Event()
        self.late = 0  # turns that began late by more than a second
        self._clients, self._rate, self._chance = clients, rate, random.Random(seed)
        settings: dict[str, Any] = {"queue_pushes": 1_000_000, "queue_bytes": 1 << 30, "window": 500}
        settings |= {"retries": 10_000, "give_up_s": 120.0}
        settings |= {"retry_outcomes": (Outcome.OVERLOADED, Outcome.UNAVAILABLE, Outcome.UNKNOWN)}
        self._senders = [Sender(fleet.endpoint, **settings) for _ in range(_SENDERS)]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self.join(30)
        for sender in self._senders:
            sender.close(0)

    def stop(self) -> bool:
        """No more pushes; whether each has been answered within the time that senders have."""
        self.stopping.set()
        self.join(30)
        return all(sender.flush(_PATIENCE_S) for sender in self._senders)

    def repeats(self) -> int:
        """Requests that were sent more than once."""
        return sum(sender.statistics.repeated for sender in self._senders)

    def last(self, client: int) -> Push:
        """One more to a client, to be kept: all others are in front of it."""
        return self._push(client, _TTL_S, waits=False)

    def run(self) -> None:
        began, done = time.monotonic(), 0
        while not self.stopping.wait(_TURN_S):
            due = int((time.monotonic() - began) * self._rate)
            if due - done > self._rate:
                self.late += 1
                done = due - self._rate  # no burst to make up for what was missed
            for _ in range(due - done):
                plain, waits = self._chance.random() < _PLAIN, self._chance.random() < _WAITING
                client = self._chance.randrange(self._clients)
                self._push(client, 0 if plain else _TTL_S, waits and acknowledges(client))
            done = due

    def _push(self, client: int, ttl: int, waits: bool) -> Push:
        told = Told(client, ttl, waits)
        payload = b"%08x" % len(self.pushes)
        self.pushes.append(told)
        options: dict[str, Any] = {"ttl": ttl, "timeout_ms": _TIMEOUT_MS} if ttl else {"timeout_ms": _TIMEOUT_MS}
        if waits:
            options["wait"] = "acked"
        push = self._senders[client % _SENDERS].push_nowait(token_of(client), payload, **options)
        push.add_done_callback(lambda push: _answered(told, push))
        return push


def _answered(told: Told, push: Push) -> None:
    if push.error is None and push.value is not None:
        told.outcome = int(push.value)


class Proof:
    """One run: its parts, its phases, and what came of it."""

    def __init__(self, clients: int, rate: int, seed: int, seconds: float, storage: str) -> None:
        self.clients, self.rate, self.seed, self.seconds, self.storage = clients, rate, seed, seconds, storage
        self.result = Result("acked", _about(clients, rate, storage))
        self._stack = ExitStack()

    def run(self) -> Account:
        """Everything. Raises TimeoutError, AssertionError or RuntimeError where the fleet itself fails."""
        with self._stack:
            fleet = self._fleet()
            visitors = self._stack.enter_context(Visitors(fleet.address, self.clients, self.seed, _STAY_S, _AWAY_S))
            pushing = self._stack.enter_context(Pushing(fleet, self.clients, self.rate, self.seed))
            killer = Killer(fleet, self.seed)
            killer.start()
            self._watch(killer, visitors, pushing)
            killer.stopping.set()
            killer.join()
            if killer.fault:
                raise killer.fault
            if not visitors.is_whole():
                raise RuntimeError("the clients' thread has failed")
            fleet.wait_ready(seconds=60)
            all_answered = pushing.stop()
            self._all_leave(visitors)
            self._come_back(visitors, pushing)
            again = self._come_once_more(visitors)
            found = account(pushing.pushes, list(visitors.receipts))
            for receipt in again:
                found.note(f"{receipt} came in the end, of {pushing.pushes[receipt.number]}")
            self._state(found, visitors, pushing, killer, all_answered, len(again))
        return found

    def _fleet(self) -> Fleet:
        settings: dict[str, Any] = {
            "services": "message-cache,subscribe",
            "workers": WORKERS,
            "worker_heartbeat_ms": 200,
            "worker_timeout_ms": 3000,
            "service_heartbeat_ms": 200,
            "service_timeout_ms": 2000,
            "cached_messages_max": 100_000,
            "cached_bytes_max": 1 << 30,
        }
        if self.storage == "redis":
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
            server = self._stack.enter_context(RedisServer(directory, appendonly="yes", appendfsync="everysec"))
            settings["storage"] = server.url
        return self._stack.enter_context(Fleet(**settings))

    def _watch(self, killer: Killer, visitors: Visitors, pushing: Pushing) -> None:
        end = time.monotonic() + self.seconds
        bar = tqdm(total=round(self.seconds), unit=" s", disable=not sys.stderr.isatty(), leave=False, file=sys.stderr)
        with bar:
            while (left := end - time.monotonic()) > 0 and killer.is_alive() and visitors.is_whole():
                time.sleep(min(1.0, left))
                bar.update(min(1, bar.total - bar.n))
                bar.set_postfix(here=visitors.here(), pushes=len(pushing.pushes), dead=killer.kills.total())

    @staticmethod
    def _all_leave(visitors: Visitors) -> None:
        visitors.go_home()
        wait_until(lambda: not visitors.open, "all clients gone", _PATIENCE_S)

    def _come_back(self, visitors: Visitors, pushing: Pushing) -> None:
        """All clients come; each gets one more push, behind everything else."""
        visitors.come_back()
        wait_until(lambda: visitors.here() == self.clients, "all clients bound", _PATIENCE_S)
        first = len(pushing.pushes)
        last = [pushing.last(client) for client in range(self.clients)]
        for push in last:
            push.result(_PATIENCE_S)
        wanted = set(range(first, len(pushing.pushes)))

        def are_there() -> bool:
            wanted.difference_update([receipt.number for receipt in visitors.receipts[-4 * self.clients :]])
            return not wanted

        with suppress(TimeoutError):  # what is missing is found below
            wait_until(are_there, "the last pushes", 60)
        self._wait_quiet(visitors)

    def _come_once_more(self, visitors: Visitors) -> list[Receipt]:
        """All leave and come again, and nothing dies: the receipts that should not be."""
        before = len(visitors.receipts)
        self._all_leave(visitors)
        visitors.come_back()
        wait_until(lambda: visitors.here() == self.clients, "all clients bound", _PATIENCE_S)
        self._wait_quiet(visitors)
        return visitors.receipts[before:]

    @staticmethod
    def _wait_quiet(visitors: Visitors) -> None:
        seen, since, end = -1, time.monotonic(), time.monotonic() + _PATIENCE_S
        while time.monotonic() - since < _QUIET_S and time.monotonic() < end:
            if (now := len(visitors.receipts)) != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.05)

    def _state(
        self,
        found: Account,
        visitors: Visitors,
        pushing: Pushing,
        killer: Killer,
        all_answered: bool,
        again: int,
    ) -> None:
        result = self.result
        result.state("pushes", len(pushing.pushes))
        for name, number in sorted(found.outcomes.items()):
            result.state(f"outcome {name}", number)
        result.state("received, different ones", found.received)
        for victim, number in sorted(killer.kills.items()):
            result.state(f"killed: {victim}", number)
        result.state("visits of clients", visitors.visits)
        result.state("of these, ended by the gateway", visitors.dropped)
        result.state("attempts to come that failed", visitors.refused)
        result.state("requests repeated by the senders", pushing.repeats())
        result.state("turns of the load that were late", pushing.late)
        result.state("came twice, with the same push id", found.twice - found.other_ids)
        result.state("of these, acknowledged before", found.again)
        result.state("reported as UNKNOWN in the end", found.doubtful)
        result.expect("all senders answered in time", "yes" if all_answered else "no", "yes", all_answered)
        result.at_most("pushes without an outcome", found.silent, 0)
        result.at_most("ACKED, and not acknowledged by the client", found.missing_acknowledged, 0)
        result.at_most("STORED, or SENT with ttl, and never came", found.missing_stored, 0)
        result.at_most("said not to be delivered, and came", found.untrue, 0)
        result.at_most("came though never pushed to this client", found.foreign, 0)
        result.at_most("came twice with another push id", found.other_ids, 0)
        result.at_most("out of order", found.out_of_order, 0)
        result.at_most("came again once all was acknowledged", again, 0)


def _about(clients: int, rate: int, storage: str) -> str:
    return (
        f"{clients:,} clients that come and go, {rate} pushes a second, storage {storage}, {WORKERS} workers; workers,"
        " guardians with workers, router, message cache and subscribe service are killed -9 at random instants."
    )


@click.command()
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--clients", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--rate", type=click.IntRange(1), default=500, show_default=True, help="Pushes a second.")
@click.option("--storage", type=click.Choice(["sqlite", "redis"]), default="sqlite", show_default=True)
@click.option("--save", "saves", is_flag=True, help="Write chaos/results/acked-STORAGE-DATE.md and .json.")
def main(minutes: float, seed: int, clients: int, rate: int, storage: str, saves: bool) -> None:
    """Prove that nothing acknowledged or stored is lost. Exit code 1 if anything was."""
    began = datetime.now(UTC)
    proof = Proof(clients, rate, seed, minutes * 60, storage)
    found = proof.run()
    conclude(proof.result, "chaos.acked", f"acked-{storage}", began, saves, found.examples)


if __name__ == "__main__":
    main()
