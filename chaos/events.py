"""Events are complete, and none is false: `python -m chaos.events --connects 5000`.

Clients come and go, and some stay, while workers are restarted (SIGTERM), and workers, guardians with their workers,
routers, the presence service and the events service are killed (SIGKILL), in turn; meanwhile the receiver of the
webhook, a process of its own, fails, is late, or is killed too. In the end each connection is compared with its events.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.machines import describe
from chaos.event_accounts import UNTOLD_S, Breaks, account, state
from chaos.guests import Guests
from chaos.results import Result, lay_out, save
from tests.clients.webhook_receiver import behave, read_log
from tests.fleet.fleet_process import Fleet
from tests.fleet.ports import free_ports
from tests.fleet.processes import wait_until
from tests.services.storage.redis_servers import RedisServer

WORKERS, ROUTERS, THREADS, STAYERS = 3, 2, 40, 120
_PATIENCE_S = 120
#: What the receiver does, and for how long (seconds): the webhook waits for 1 s.
_MOODS = (("take", 4.0), ("late", 3.0), ("take", 3.0), ("fail", 3.0), ("take", 4.0), ("killed", 3.0))
_LATE_S = 1.4
#: How long a worker may take to tell the presence service of what it has missed (seconds).
_TICK_S = 1.5


class Hook:
    """The receiver's process, and its moods."""

    def __init__(self, directory: Path) -> None:
        (self.port,) = free_ports(1)
        self.log, self.secret_file = directory / "events.log", directory / "secret"
        self.secret_file.touch(0o600)
        self.secret_file.write_text(secrets.token_hex(32))
        self.url = f"http://127.0.0.1:{self.port}/events"
        self._process: subprocess.Popen[bytes] | None = None
        self.moods = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Hook":
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.calm_down()
        assert self._process
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.clients.webhook_receiver", str(self.port), str(self.secret_file)]
        self._process = subprocess.Popen([*command, str(self.log)])
        wait_until(lambda: self.behave("take"), "the receiver answers")

    def behave(self, mode: str) -> dict[str, Any] | None:
        """Set its mood; what it has counted since its start. None: it does not answer."""
        with suppress(OSError):
            return behave(self.port, mode, _LATE_S)
        return None

    def _run(self) -> None:
        while not self._ended.is_set():
            mood, seconds = _MOODS[self.moods % len(_MOODS)]
            self.moods += 1
            if mood == "killed":
                assert self._process
                self._process.kill()
                self._process.wait()
                self._ended.wait(seconds)
                self._start()
            else:
                self.behave(mood)
                self._ended.wait(seconds)

    def calm_down(self) -> None:
        """From now on it takes everything."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.behave("take")


class Run:
    """One fleet that is broken."""

    def __init__(self, connects: int, storage: str, seed: int, at_once: bool, stack: ExitStack) -> None:
        self.connects, self._at_once = connects, at_once
        about = f"{connects:,} connections in all, {WORKERS} workers, {ROUTERS} routers, {storage}."
        self.result = Result(f"events, {storage}", about)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.hook = stack.enter_context(Hook(directory))
        settings: dict[str, Any] = {"event_webhook_url": self.hook.url, "event_webhook_timeout_s": 1}
        settings |= {"event_webhook_secret_file": self.hook.secret_file, "event_kinds": "connected,disconnected"}
        settings |= {"presence_lease_ms": 4000, "worker_heartbeat_ms": 200, "service_heartbeat_ms": 200}
        if storage == "redis":
            settings["storage"] = stack.enter_context(RedisServer(directory / "redis")).url
        self.fleet = stack.enter_context(
            Fleet(workers=WORKERS, routers=ROUTERS, services="subscribe,presence", log_level="WARNING", **settings)
        )
        self.guests = stack.enter_context(Guests(self.fleet.address, THREADS, STAYERS, seed))
        self.broken: dict[str, int] = {}
        self.breaks = Breaks()
        self._turn = 0

    def break_things(self) -> None:
        """Until so many connections have come."""
        ways: list[tuple[str, Callable[[int], None]]] = [
            ("workers restarted", self._restart),
            ("workers killed", self._kill_worker),
            ("presence service killed", self._kill_presence),
            ("workers killed with their guardians", self._kill_both),
            ("events service killed", self._kill_events),
            ("routers killed", self._kill_router),
        ]
        began = time.monotonic()
        while self.guests.bound < self.connects:
            name, do = ways[self._turn % len(ways)]
            do(self._turn // len(ways))
            self.broken[name] = self.broken.get(name, 0) + 1
            self._turn += 1
            self.fleet.wait_ready(seconds=60)
            if not self._at_once:
                time.sleep(_TICK_S)  # what has died is whole again before the next dies
        self.guests.stop()
        self.result.state("seconds", time.monotonic() - began)

    def _restart(self, turn: int) -> None:
        index = turn % WORKERS
        self.fleet.stop_worker(index, seconds=60)
        self.fleet.start_worker(index)

    def _kill_worker(self, turn: int) -> None:
        self.breaks.kills.append(time.time())
        self.fleet.kill_worker(turn % WORKERS)

    def _kill_both(self, turn: int) -> None:
        index = turn % (WORKERS - 1)  # so that some clients may stay
        wait_until(lambda: self.fleet.worker_pid(index), f"worker {index} lives")
        worker = self.fleet.worker_pid(index)
        self.breaks.kills.append(time.time())
        os.kill(self.fleet.guardian_pid(index), signal.SIGSTOP)  # so that it starts no other one
        os.kill(worker, signal.SIGKILL)
        self.fleet.kill_guardian(index)
        self.fleet.start_worker(index)

    def _kill_presence(self, turn: int) -> None:
        began, before = time.time(), self._presences()
        self.fleet.kill_service("presence")
        self.fleet.start_service("presence")
        wait_until(lambda: all(len(now) == 1 and not now & before[0] for now in self._presences()), "it serves again")
        self.breaks.outages.append((began - UNTOLD_S, time.time() + _TICK_S))

    def _presences(self) -> list[set[str]]:
        """Instances of the presence service that each router knows."""
        services = [self.fleet.stat(router=router)["services"] for router in range(ROUTERS)]
        return [{name for name in names if name.startswith("presence/")} for names in services]

    def _kill_events(self, turn: int) -> None:
        self.fleet.kill_service("events")
        self.fleet.start_events()

    def _kill_router(self, turn: int) -> None:
        router = turn % ROUTERS
        self.fleet.kill_router(router)
        self.fleet.start_router(router)

    # --- what came of it

    def judge(self) -> None:
        """When everything has been told."""
        self.hook.calm_down()
        stayed = self.guests.stayed()
        self._wait_for_silence()
        visits, events = list(self.guests.visits), read_log(self.hook.log)
        bound = [visit for visit in visits if visit.bound is not None]
        self.result.state("connections", len(bound))
        self.result.state("of these ended by the gateway, or by a kill", sum(visit.by_gateway for visit in bound))
        self.result.state(f"clients of {STAYERS} that stayed connected all the time", stayed)
        for name, count in self.broken.items():
            self.result.state(name, count)
        self.result.state("moods of the receiver", self.hook.moods)
        self.result.state("events", len({event["id"] for event in events}))
        state(account(visits, events, self.breaks), self.result)

    def _wait_for_silence(self) -> None:
        """The outbox is empty, and has got nothing new for longer than a lease."""
        last, since = -1, time.monotonic()

        def is_silent() -> bool:
            nonlocal last, since
            services = self.fleet.stat()["services"]
            figures = next((said["figures"] for name, said in services.items() if name.startswith("events/")), {})
            if figures.get("last", -1) != last or figures.get("waiting", 1):
                last, since = figures.get("last", -1), time.monotonic()
            return last > 0 and time.monotonic() - since > 7

        wait_until(is_silent, "all is delivered", _PATIENCE_S)


def run(connects: int, storage: str = "sqlite", seed: int = 1, at_once: bool = False) -> Result:
    """All of it."""
    with ExitStack() as stack:
        one = Run(connects, storage, seed, at_once, stack)
        one.break_things()
        one.judge()
        return one.result


@click.command(help=__doc__)
@click.option("--connects", default=5000, show_default=True, help="connections, at least")
@click.option("--storage", type=click.Choice(["sqlite", "redis", "both"]), default="both", show_default=True)
@click.option("--seed", default=1, show_default=True, help="of what is left to chance")
@click.option("--at-once", is_flag=True, help="the next is killed while the last one has not come up yet")
@click.option("--save", "saves", is_flag=True, help="write chaos/results/events-DATE.json and .md")
def main(connects: int, storage: str, seed: int, at_once: bool, saves: bool) -> None:
    today = datetime.now(UTC)
    how = f"--connects {connects} --storage {storage} --seed {seed}{' --at-once' * at_once}"
    about = {"date": f"{today:%Y-%m-%d %H:%M} UTC", "command": f"python -m chaos.events {how}"} | describe()
    storages = ("sqlite", "redis") if storage == "both" else (storage,)
    results = [run(connects, each, seed, at_once) for each in storages]
    for result in results:
        print(lay_out(result))
    if saves:
        save(Path(__file__).parent / "results", f"events-{today:%Y-%m-%d}", about, results)
    sys.exit(any(result.broken() for result in results))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends its processes
    main()
