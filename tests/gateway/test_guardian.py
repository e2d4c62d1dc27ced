"""gateway/guardian.py as a process, over a stand-in for the worker."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import guardian
from tests.fleet.processes import Started, children_of, wait_until

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["0", "-1", "-1", str(ROOT), "tests.gateway.stand_in_worker"]

HURRIED = """
import sys
from gateway import guardian
guardian.LONGEST_PAUSE_S = 0.01
sys.exit(guardian.main(sys.argv[1:]))
"""


class Guarded:
    """A guardian over the stand-in, and the stand-in's diary."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: Started

    def start(self, order: str, code: str = "") -> None:
        (self.directory / "order").write_text(order)
        command = ["-c", code, *ARGUMENTS] if code else ["-S", "-P", guardian.__file__, *ARGUMENTS]
        environ = os.environ | {"STAND_IN": str(self.directory), "PYTHONPATH": str(ROOT)}
        self.process = Started("guardian", [sys.executable, *command], environ, self.directory / "log", self.directory)

    def diary(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def started(self, times: int = 1) -> int:
        """Wait for so many starts; the pid of the last."""
        wait_until(lambda: len(self.diary("starts")) >= times, f"start {times}")
        return int(self.diary("starts")[-1])


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path)
    yield guarded
    assert guarded.process.kill() == [], "processes left behind"


def test_worker_that_leaves_is_not_started_again(guarded: Guarded) -> None:
    guarded.start("exit 0")
    assert guarded.process.wait() == 0
    assert len(guarded.diary("starts")) == 1
    assert guarded.process.log == "left\n"


def test_worker_that_refuses_its_settings_is_not_started_again(guarded: Guarded) -> None:
    guarded.start("exit 2")
    assert guarded.process.wait() == 2
    assert len(guarded.diary("starts")) == 1


def test_worker_that_is_killed_is_started_again(guarded: Guarded) -> None:
    guarded.start("wait")
    first = guarded.started()
    os.kill(first, signal.SIGKILL)
    second = guarded.started(2)
    assert second != first
    assert children_of(guarded.process.pid) == [second]
    assert "WARNING gateway.guardian: worker 0 was killed by SIGKILL: starting it again" in guarded.process.log
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0


@pytest.mark.parametrize(("order", "said"), [("exit 3", "exited with status 3"), ("raise", "ValueError: as ordered")])
def test_worker_that_fails_is_started_again(guarded: Guarded, order: str, said: str) -> None:
    guarded.start(order)
    guarded.started(2)
    assert said in guarded.process.log
    (guarded.directory / "order").write_text("exit 0")
    assert guarded.process.wait() == 0


def test_gives_up_after_ten_quick_deaths(guarded: Guarded) -> None:
    guarded.start("exit 3", HURRIED)
    assert guarded.process.wait() == 1
    assert len(guarded.diary("starts")) == 10
    assert guarded.process.log.splitlines()[-1].endswith("exited with status 3, 10 times at once: giving up")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_once(guarded: Guarded, number: signal.Signals) -> None:
    guarded.start("wait")
    guarded.started()
    guarded.process.send(number)
    assert guarded.process.wait() == 0
    assert guarded.diary("signals") == [number.name]
    assert len(guarded.diary("starts")) == 1


def test_second_signal_is_passed_on_too(guarded: Guarded) -> None:
    (guarded.directory / "stay").touch()
    guarded.start("wait")
    guarded.started()
    guarded.process.send(signal.SIGTERM)
    wait_until(lambda: guarded.diary("signals") == ["SIGTERM"], "first signal")
    (guarded.directory / "stay").unlink()
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0
    assert guarded.diary("signals") == ["SIGTERM", "SIGTERM"]


def test_worker_that_fails_while_leaving_stays_away(guarded: Guarded) -> None:
    guarded.start("wait 3")
    guarded.started()
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 1
    assert "ERROR gateway.guardian: worker 0 exited with status 3 while it was leaving" in guarded.process.log
    assert len(guarded.diary("starts")) == 1


def test_signal_during_the_workers_import_ends_both(guarded: Guarded) -> None:
    guarded.start("import")
    guarded.started()
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0


def test_signal_in_a_pause_ends_the_guardian(guarded: Guarded) -> None:
    guarded.start("exit 3")
    wait_until(lambda: "again in 3.2 s" in guarded.process.log, "the sixth death")
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait(1) == 0
    assert len(guarded.diary("starts")) == 6


def test_worker_starts_as_a_plain_process(guarded: Guarded) -> None:
    guarded.start("exit 0")
    guarded.process.wait()
    assert guarded.diary("blocked") == ["0"]
    assert guarded.diary("handlers") == ["{'SIG_DFL'}"]
    assert guarded.diary("site") == ["True"]


def test_waiting_costs_nothing(guarded: Guarded) -> None:
    guarded.start("wait")
    guarded.started()
    used = _cpu_ticks(guarded.process.pid)
    wait_until(lambda: _state(guarded.process.pid) == "S", "sleep")
    signal.sigtimedwait((), 0.3)
    assert _cpu_ticks(guarded.process.pid) == used
    guarded.process.send(signal.SIGINT)
    guarded.process.wait()


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_pauses_grow_to_five_seconds() -> None:
    assert [guardian.back_off(deaths) for deaths in (0, 1, 2, 3, 7, 9)] == [0.0, 0.1, 0.2, 0.4, 5.0, 5.0]


def test_endings_in_words() -> None:
    assert guardian.ending(1) == "exited with status 1"
    assert guardian.ending(-11) == "was killed by SIGSEGV"
    assert guardian.ending(-40) == "was killed by signal 40"
