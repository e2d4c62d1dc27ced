"""The machine that figures come from, and which process runs on which of its cores."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What is measured runs on one core, what loads it on another, so that neither takes the other's time.
MEASURED_CORE, LOADING_CORE = 0, 1


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
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
