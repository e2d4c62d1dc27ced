"""CPU time and memory of processes, as /proc tells them."""

import os
import subprocess
import sys
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
    """By a process of its own: this one has other threads, which may take or give back some."""
    code = (
        "import os; print(flush=True); input(); taken = bytearray(os.urandom(1 << 20) * 16); print(flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        before = memory([process.pid])
        process.stdin.write("\n")
        process.stdout.readline()
        after = memory([process.pid])
        process.stdin.write("\n")
    taken = 16 << 20
    assert taken * 0.9 <= after.pss - before.pss <= taken * 1.5
    assert taken * 0.9 <= after.private - before.private <= taken * 1.5


def test_a_process_that_ended_is_a_fault() -> None:
    with pytest.raises(BenchmarkFault, match="ended"):
        cpu_us([2**22])
