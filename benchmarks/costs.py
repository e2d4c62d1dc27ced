"""What processes cost: CPU time and memory out of /proc, all their threads counted."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import BenchmarkFault

_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """Bytes. `pss` counts a page shared by n processes as 1/n; `private` is what nobody else maps.

    `pss` leaves out pages of files: of libraries that others map too, whose share changes as those come and go.
    """

    pss: int
    private: int


def cpu_us(pids: Sequence[int]) -> int:
    """User and system time of the processes since their start, in microseconds (steps of 10 ms)."""
    return sum(cpu_us_each(pids))


def cpu_us_each(pids: Sequence[int]) -> list[int]:
    """`cpu_us` of each."""
    return [_ticks(pid) * _TICK_US for pid in pids]


def _ticks(pid: int) -> int:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise BenchmarkFault(f"process {pid} ended while it was measured") from None
    return int(after_name[11]) + int(after_name[12])


def memory(pids: Sequence[int]) -> Memory:
    """Memory in user space of the processes together."""
    pss = private = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split()[:2]
            if name in ("Pss_Anon:", "Pss_Shmem:"):
                pss += int(value) << 10
            elif name in ("Private_Clean:", "Private_Dirty:"):
                private += int(value) << 10
    return Memory(pss, private)


def wait_until_quiet(pids: Sequence[int], for_s: float = 0.5, timeout_s: float = 30) -> None:
    """Returns when the processes have used at most 2 % of a core for `for_s` seconds."""
    deadline = time.monotonic() + timeout_s
    before = cpu_us(pids)
    while time.monotonic() < deadline:
        time.sleep(for_s)
        now = cpu_us(pids)
        if now - before <= max(for_s * 20_000, _TICK_US):
            return
        before = now
    raise BenchmarkFault(f"the fleet did not come to rest within {timeout_s:.0f} s")
