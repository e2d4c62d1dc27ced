"""gateway/guardian.py as a process, over a stand-in for the worker."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import guardian
from tests.fleet.processes import Started, children_of, wait_until

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = [str(ROOT), "tests.gateway.stand_in_worker"]

#: A ledger is made, and the guardian runs by its path, as launched.
LAUNCHED = """
import os, sys
from gateway import guardian
from gateway.ledgers import create
ledger = create(1000)
os.set_inheritable(ledger, True)
command = [sys.executable, "-S", "-P", guardian.__file__, "0", "-1", "-1", str(ledger), *sys.argv[1:]]
os.execv(command[0], command)
"""


class Guarded:
    """A guardian over the stand-in, and the stand-in's diary."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: Started

    def start(self, order: str, timeout_ms: int = 60_000) -> None:
        (self.directory / "order").write_text(order)
        command = ["-c", LAUNCHED, str(timeout_ms), *ARGUMENTS]
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


def test_left_down_after_five_deaths_its_clients_given_away(guarded: Guarded) -> None:
    guarded.start("exit 7")
    assert guarded.process.wait() == guardian.LEFT_DOWN
    assert guarded.diary("tasks") == ["serve"] * 5 + ["evacuate"]
    assert "exited with status 7, 5 times within 10 s: left down" in guarded.process.log
    assert guarded.process.log.splitlines()[-1].endswith("exited with status 7 while it gave its clients away")


def test_a_worker_that_stands_still_is_killed(guarded: Guarded) -> None:
    guarded.start("beat", timeout_ms=1000)
    guarded.started(2)
    assert "ERROR gateway.guardian: worker 0 stands still: killed" in guarded.process.log
    assert "worker 0 was killed by SIGKILL: starting it again" in guarded.process.log
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0


def test_what_a_dead_worker_had_open_is_closed_but_its_clients_sockets(guarded: Guarded) -> None:
    guarded.start("open")
    os.kill(guarded.started(), signal.SIGKILL)
    os.kill(guarded.started(2), signal.SIGKILL)
    guarded.started(3)
    clients, found = guarded.diary("client"), guarded.diary("open")
    assert found == [str(sorted(clients[:times])) for times in range(3)]
    first, second, third = map(int, guarded.diary("all"))
    assert (second - first, third - second) == (1, 1)
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0


def test_a_worker_killed_while_it_leaves_gives_its_clients_away_after_all(guarded: Guarded) -> None:
    (guarded.directory / "stay").touch()
    guarded.start("wait")
    first = guarded.started()
    guarded.process.send(signal.SIGTERM)
    wait_until(lambda: guarded.diary("signals") == ["SIGTERM"], "the signal")
    (guarded.directory / "order").write_text("exit 0")
    os.kill(first, signal.SIGKILL)
    assert guarded.process.wait() == 0
    assert guarded.diary("tasks") == ["serve", "evacuate"]


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
    guarded.started(2)
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 1
    assert guarded.diary("tasks") == ["serve", "evacuate"]
    assert "ERROR gateway.guardian: worker 0 exited with status 3 while it was leaving" in guarded.process.log


def test_signal_during_the_workers_import_waits_for_it(guarded: Guarded) -> None:
    """It must not end a worker that has clients and no handler yet."""
    guarded.start("import")
    guarded.started()
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0
    assert guarded.diary("signals") == ["SIGTERM"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_in_a_pause_is_for_a_last_worker(guarded: Guarded, number: signal.Signals) -> None:
    """There is none to pass it on to just then, but there are its clients."""
    guarded.start("exit 7")
    wait_until(lambda: "again in 0.40 s" in guarded.process.log, "the fourth death")
    (guarded.directory / "order").write_text("wait" if number == signal.SIGINT else "exit 0")
    guarded.process.send(number)
    assert guarded.process.wait() == 0
    assert guarded.diary("tasks") == ["serve"] * 4 + ["evacuate"]
    assert guarded.diary("signals") == (["SIGINT"] if number == signal.SIGINT else [])


def test_settings_that_were_broken_meanwhile_cost_no_client(guarded: Guarded) -> None:
    guarded.start("open")
    pid = guarded.started()
    (guarded.directory / "order").write_text("exit 2")
    os.kill(pid, signal.SIGKILL)
    guarded.started(3)
    assert "worker 0 refuses its settings, which have changed" in guarded.process.log
    (guarded.directory / "order").write_text("open")
    wait_until(lambda: len(guarded.diary("client")) == 2, "a worker that serves")
    assert guarded.diary("open")[-1] == str(guarded.diary("client")[:1])
    guarded.process.send(signal.SIGTERM)
    assert guarded.process.wait() == 0


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    guardian.log("ERROR", "nobody reads this")


@pytest.mark.parametrize("name", ["worker 0", 'worker "\\" 0'])
def test_its_lines_have_the_form_of_the_others(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(data))
    guardian.log("ERROR", f"{name} stands still: killed")
    monkeypatch.setenv(guardian.LOG_FORMAT, "json")
    guardian.log("ERROR", f"{name} stands still: killed")
    plain, told = written[0].decode(), json.loads(written[1])
    assert plain[19:] == f" ERROR gateway.guardian: {name} stands still: killed\n"
    assert (told["level"], told["logger"]) == ("ERROR", "gateway.guardian")
    assert told["message"] == f"{name} stands still: killed"


def test_worker_starts_as_a_plain_process(guarded: Guarded) -> None:
    guarded.start("exit 0")
    guarded.process.wait()
    assert guarded.diary("blocked") == ["2"]  # SIGTERM and SIGINT, until it has handlers for them
    assert guarded.diary("handlers") == ["{'SIG_DFL'}"]
    assert guarded.diary("site") == ["True"]


def test_waiting_costs_next_to_nothing(guarded: Guarded) -> None:
    guarded.start("wait")
    guarded.started()
    used = _cpu_ticks(guarded.process.pid)
    wait_until(lambda: _state(guarded.process.pid) == "S", "sleep")
    signal.sigtimedwait((), 2)
    assert _cpu_ticks(guarded.process.pid) <= used + 1
    guarded.process.send(signal.SIGINT)
    guarded.process.wait()


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_pauses_grow_to_a_second() -> None:
    assert [guardian.back_off(deaths) for deaths in (0, 1, 2, 3, 4, 9)] == [0.0, 0.0, 0.1, 0.2, 0.4, 1.0]


def test_endings_in_words() -> None:
    assert guardian.ending(1) == "exited with status 1"
    assert guardian.ending(-11) == "was killed by SIGSEGV"
    assert guardian.ending(-40) == "was killed by signal 40"
