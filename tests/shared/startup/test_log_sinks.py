"""Lines that are written by a thread: nobody waits for a pipe that nobody reads."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from shared.startup.log_lines import PlainLines
from shared.startup.log_sinks import Sink


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def sink_to(descriptor, **bounds):
    sink = Sink(descriptor, **bounds)
    sink.setFormatter(PlainLines())
    return sink


def read_until(descriptor, end):
    found = b""
    while end not in found:
        found += os.read(descriptor, 1 << 20)
    return found


def test_lines_come_in_order(pipe):
    sink = sink_to(pipe[1])
    for number in range(1000):
        sink.put(f"line {number}")
    assert read_until(pipe[0], b"line 999\n").split(b"\n")[:-1] == [b"line %d" % number for number in range(1000)]
    sink.flush()
    assert sink.take_dropped() == 0


def test_a_pipe_that_nobody_reads_costs_lines_which_are_counted_and_told(pipe):
    sink, line = sink_to(pipe[1], buffer_bytes=200_000), "x" * 999
    began = time.monotonic()
    for _ in range(5000):
        sink.put(line)
    assert time.monotonic() - began < 30  # it would be for ever
    dropped = sink.take_dropped()
    assert 5000 - 400 < dropped < 5000
    assert sink.take_dropped() == 0
    found = read_until(pipe[0], b"were dropped")
    assert b"%d log lines were dropped" % dropped in found
    assert found.count(line.encode()) == 5000 - dropped


def test_a_descriptor_that_is_closed_does_not_end_anything():
    reader, writer = os.pipe()
    os.close(reader)
    sink = sink_to(writer)
    sink.put("lost")
    sink.flush()
    sink.put("lost, too")
    sink.flush()
    assert sink.take_dropped() == 2
    os.close(writer)


FULL_DISK = """
import logging, resource, signal, sys
from shared.startup.log_lines import PlainLines
from shared.startup.log_sinks import Sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = open(sys.argv[1], "ab", 0)
sink = Sink(file.fileno())
sink.setFormatter(PlainLines())
def put(room, *lines):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    for line in lines:
        sink.put(line)
    assert sink._none.wait(60)
put(25, *[f"line {number} of ten" for number in range(10)])  # 14 bytes each with their ends: one, and a part
print(sink.take_dropped())
put(25, "more")
print(sink.take_dropped())
put(10_000, "there is room")
print(sink.take_dropped())
put(10_000, "all is well")
"""


def test_a_full_disk_costs_lines_which_are_counted_and_told_and_joins_no_two(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "log"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    assert done.stdout.split() == ["9", "1", "0"]
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:3] == ["line 0 of ten", "line 1 of t", "there is room"]
    assert "10 log lines were dropped" in lines[3]
    assert lines[4:] == ["all is well"]


def test_a_record_that_cannot_be_formatted_is_named(pipe):
    sink = sink_to(pipe[1])
    sink.handle(logging.LogRecord("a.b", logging.INFO, "there.py", 7, "%d", ("x",), None))
    assert b"unreadable log record of a.b in there.py:7" in read_until(pipe[0], b"\n")


SCRIPT = """
import logging, signal, sys
from shared.settings import Settings
from shared.startup.command_lines import log_to_stderr
log_to_stderr(Settings(log_format="{format}"))
logging.getLogger("early").info("before")
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})  # as services do: the sink's thread is there already
import os
os.kill(os.getpid(), signal.SIGTERM)
assert signal.sigtimedwait({{signal.SIGTERM}}, 5) is not None
{end}
"""


@pytest.mark.parametrize("form", ["plain", "json"])
def test_the_last_words_of_a_process_are_written(form):
    script = SCRIPT.format(format=form, end="raise ValueError('the end')")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"before" in done.stderr
    assert b"this process ends" in done.stderr
    assert b"the end" in done.stderr
    if form == "json":
        assert all(line.startswith(b"{") for line in done.stderr.splitlines())


def test_its_thread_takes_no_signals():
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(format="plain", end="")], timeout=60, check=False)
    assert done.returncode == 0
    assert done.returncode != -signal.SIGTERM
