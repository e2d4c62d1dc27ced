"""What a test can see of a fleet from outside: counters, log lines, memory."""

import re
from pathlib import Path

from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until


def counters(fleet: Fleet) -> dict[str, int]:
    """The workers' counters, added up, as STAT1 gives them."""
    total: dict[str, int] = {}
    for figures in fleet.stat()["workers"].values():
        for name, value in figures["counters"].items():
            total[name] = total.get(name, 0) + value
    return total


def closed(fleet: Fleet, reason: str) -> int:
    """How many connections the workers closed for a reason."""
    return counters(fleet).get(f"close_{reason}", 0)


def close_lines(fleet: Fleet, reason: str) -> list[str]:
    """The INFO lines of connections closed for a reason."""
    lines = [line for index in range(fleet.settings.workers) for line in fleet.log(f"gateway-{index}").splitlines()]
    return [line for line in lines if re.search(rf"\bINFO\b.* closed .*\breason={reason}\b", line)]


class Closings:
    """Counts connections closed for a reason from its making on: each costs one counter and one INFO line."""

    def __init__(self, fleet: Fleet, reason: str) -> None:
        self.fleet, self.reason = fleet, reason
        self._counted, self._logged = closed(fleet, reason), len(close_lines(fleet, reason))

    def expect(self, count: int) -> list[str]:
        """Wait until so many are counted, and logged by a thread behind them; exactly so many must be. Those lines."""
        wanted = self._counted + count
        wait_until(lambda: closed(self.fleet, self.reason) >= wanted, f"{count} closed as {self.reason} are counted")
        assert closed(self.fleet, self.reason) == wanted
        wait_until(lambda: len(self._lines()) >= count, f"{count} closed as {self.reason} are logged")
        lines = self._lines()
        assert len(lines) == count, f"{count} INFO lines were expected: {lines}"
        return lines

    def _lines(self) -> list[str]:
        return close_lines(self.fleet, self.reason)[self._logged :]


class PeakMemory:
    """How far the workers' resident memory rises from now on, at its peak."""

    def __init__(self, fleet: Fleet) -> None:
        self._pids = [fleet.worker_pid(index) for index in range(fleet.settings.workers)]
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew at what is resident now
        self._before = {pid: peak_bytes(pid) for pid in self._pids}

    def growth(self) -> int:
        """Bytes of the worker that grew most."""
        return max(peak_bytes(pid) - self._before[pid] for pid in self._pids)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def peak_bytes(pid: int) -> int:
    """Greatest resident memory of a process since the peak was reset."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)
