"""A fleet to break: the tests' Fleet, its figures added up over all lives of its processes."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services.sender import CurveKeys
from tests.clients.senders import RawSender
from tests.fleet.fleet_process import Fleet as AnyFleet
from tests.fleet.processes import children_of


class Fleet(AnyFleet):
    """Router, guardians and workers. Ends with its `with` block, which raises AssertionError for any traceback."""

    def __init__(self, tree: Path | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if tree:
            self.take_code_from(tree)

    def take_code_from(self, tree: Path) -> None:
        """What is started from now on has the code in `tree`."""
        here = self.environ["PYTHONPATH"].split(os.pathsep)[-1]
        self.environ["PYTHONPATH"] = os.pathsep.join([str(tree), here])

    @property
    def pids(self) -> list[int]:
        """Every process of the fleet."""
        started = [process.pid for process in self.processes.values() if process.running]
        return [*started, *(child for pid in started for child in children_of(pid))]

    def name_of(self, index: int) -> str:
        """Worker `index` on the bus."""
        return f"{self.settings.host_name}/{index}"

    def kill_pid(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to one process of this fleet. Raises ProcessLookupError if it is gone."""
        os.kill(pid, number)


def memory_bytes(pids: list[int]) -> int:
    """What processes take together (PSS: shared pages are divided among those that have them)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) << 10
    return total


class Watch:
    """Asks for STAT1 all the time; counters are added up over restarts. Ends with its `with` block."""

    def __init__(self, endpoints: list[str], keys: CurveKeys | None = None, period_s: float = 0.1) -> None:
        self._endpoints, self.period_s = endpoints, period_s
        names = ("curve_serverkey", "curve_publickey", "curve_secretkey")
        self._keys: dict[str, Any] = dict(zip(names, keys, strict=True)) if keys else {}
        self._last: dict[str, dict[str, int]] = {}  # by worker
        self._total: Counter[str] = Counter()
        self._routers: dict[tuple[str, float], dict[str, int]] = {}
        self.now: dict[str, Any] = {}  # the last STAT1
        self.changed: list[tuple[float, str, int]] = []  # (when, counter, new total) of the counters followed
        self._followed: tuple[str, ...] = ("taken_over",)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(10)

    def counters(self) -> Counter[str]:
        """The sums so far."""
        return Counter(self._total)

    def router_counters(self) -> Counter[str]:
        """The routers' sums so far."""
        total: Counter[str] = Counter()
        for counters in list(self._routers.values()):
            total.update(counters)
        return total

    def settle(self, heartbeat_s: float) -> None:
        """Waits until the figures of now have come in."""
        self._stopping.wait(heartbeat_s + 2 * self.period_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for endpoint in self._endpoints:
                try:
                    with RawSender(endpoint, deadline=1.0, **self._keys) as sender:
                        while not self._stopping.wait(self.period_s):
                            self._take(endpoint, sender.stat())
                except (TimeoutError, AssertionError):
                    continue  # this router is down: what another says

    def _take(self, endpoint: str, stat: dict[str, Any]) -> None:
        self.now = stat
        router = stat["router"]
        self._routers[endpoint, round(time.monotonic() - router["uptime_s"])] = router["counters"]
        for name, worker in stat["workers"].items():
            counters, last = worker["counters"], self._last.get(name, {})
            if not counters:
                continue
            # A worker goes on with a dead predecessor's counters as of some time before its death, and begins at zero
            # after one that has left. Growth alone is added up, which at worst leaves out its first moments.
            self._total.update({key: max(0, value - last.get(key, 0)) for key, value in counters.items()})
            self._last[name] = counters
        total = self.counters()
        for counter in self._followed:
            if not self.changed or self.changed[-1][2] != total[counter]:
                self.changed.append((time.monotonic(), counter, total[counter]))
