"""CPU time and memory of processes, as /proc tells them."""

import os
import time

import pytest

from benchmarks.costs import cpu_us, memory
from benchmarks.faults import BenchmarkFault


def test_cpu_that_was_burnt_is_counted() -> None:
    before, began = cpu_us([os.getpid()]), time.process_time()
    while time.process_time() - began < 0.2:
        pass
    assert 150_000 <= cpu_us([os.getpid()]) - before <= 400_000


def test_memory_that_was_taken_is_counted() -> None:
    """Other threads of the process may take or give back some, too."""
    before = memory([os.getpid()])
    taken = bytearray(os.urandom(1 << 20) * 16)
    after = memory([os.getpid()])
    assert len(taken) * 0.9 <= after.pss - before.pss <= len(taken) * 4
    assert len(taken) * 0.9 <= after.private - before.private <= len(taken) * 4


def test_a_process_that_ended_is_a_fault() -> None:
    with pytest.raises(BenchmarkFault, match="ended"):
        cpu_us([2**22])
