"""gateway/processes.py with real processes."""

import os
import subprocess
import sys
from pathlib import Path

import gevent
import pytest

from gateway.processes import start_of_this_process, usual_priority, watch_process
from tests.gateway.parts import turns, until


def test_the_start_of_this_process():
    started = start_of_this_process()
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    ticks = os.sysconf("SC_CLK_TCK")
    assert 0 < started <= uptime * ticks
    assert started == start_of_this_process()


def test_a_child_has_another_start_even_if_its_command_is_odd(tmp_path):
    odd = tmp_path / "a) b (c"
    odd.symlink_to(sys.executable)
    script = "from gateway.processes import start_of_this_process; print(start_of_this_process())"
    root = Path(__file__).resolve().parents[2]
    said = subprocess.run(
        [odd, "-S", "-c", f"import sys; sys.path[:0] = {[str(root), *sys.path]!r}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(said.stdout) >= start_of_this_process()


def test_the_parents_end_is_told_once(no_leaks):
    """This process is the grandchild's parent for the test's purpose: it is watched from a child."""
    script = """
import os, sys, gevent
from gateway.processes import watch_process
def ended():
    print("ended", os.getppid() != parent, flush=True)
    done.set()
parent = os.getppid()
done = gevent.event.Event()
watcher = watch_process(parent, ended)
print("watching", flush=True)
done.wait(20)
"""
    parent = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {("import gevent.event" + script)!r}])
sys.stdin.read()
"""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdout.readline() == "watching\n"
    process.kill()
    assert process.stdout.readline() == "ended True\n"
    assert process.stdout.read() == ""
    process.wait()
    process.stdin.close()
    process.stdout.close()


@pytest.mark.parametrize("pid", ["none", "no parent"])
def test_a_parent_that_has_ended_before_it_is_watched(no_leaks, pid):
    """Its number may be another process's already."""
    with subprocess.Popen(["true"]) as child:
        child.wait()
    told = []
    number = child.pid if pid == "none" else os.getpid()
    assert watch_process(number, lambda: told.append(True)) is None
    assert told == []
    until(lambda: told)
    turns()
    assert told == [True]


def test_a_parent_that_lives_is_not_told(no_leaks):
    told = []
    watcher = watch_process(os.getppid(), lambda: told.append(True))
    gevent.sleep(0)
    turns()
    assert told == []
    os.close(watcher.fd)
    watcher.stop()


def test_priority_is_the_guardians():
    usual_priority(os.getpid())
    usual_priority(os.getppid())  # never an error
    with subprocess.Popen(["true"]) as child:
        child.wait()
    usual_priority(child.pid)
