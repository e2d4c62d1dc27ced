"""The machine that figures come from, and which process runs on which of its cores."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What is measured runs on one core, what loads it on another, so that neither takes the other's time.
MEASURED_CORE, LOADING_CORE = 0, 1
#: No core has this number.
ANY_CORE = -1

#: The cores that this run may use.
_CORES = os.sched_getaffinity(0)


def describe() -> dict[str, str]:
    """Processor, cores, memory, kernel and Python of this machine."""
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in here stays on that core, as far as the machine has it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & _CORES or _CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def undisturbed() -> Iterator[bool]:
    """What is started in here goes before everything else on the machine; False where that is not permitted.

    Real-time priority, for what is measured and what loads it alike: otherwise latency tells about the neighbours.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
