"""A crowd spread over several processes, as seen by the test that runs it."""

import json
import select
import subprocess
import sys
from array import array
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.clients.crowd import Plan

ROOT = Path(__file__).parents[2]


class CrowdProcesses:
    """`clients` clients in `processes` processes, each with a loopback address of its own."""

    def __init__(self, port: int, clients: int, processes: int, folder: Path) -> None:
        share = -(-clients // processes)
        firsts = range(0, clients, share)
        self.plans = [
            Plan("127.0.0.1", port, f"127.0.0.{2 + k}", first, min(share, clients - first), str(folder / f"crowd-{k}"))
            for k, first in enumerate(firsts)
        ]
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for plan in self.plans:
            command = [sys.executable, "-m", "tests.clients.crowd", json.dumps(asdict(plan))]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.processes.append(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def wait_until_bound(self) -> None:
        """All clients have their token."""
        for plan, process in zip(self.plans, self.processes, strict=True):
            assert self._answer(process, plan.timeout_s + 10) == {"bound": plan.count}

    def report(self, expected: list[int], seconds: float) -> list[dict[str, Any]]:
        """Wait until each process has received its `expected` pushes in all, or for `seconds`."""
        for process, count in zip(self.processes, expected, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"report {count} {seconds}\n")
            process.stdin.flush()
        return [self._answer(process, seconds + 30) for process in self.processes]

    def received(self) -> dict[int, list[int]]:
        """The sequences that each client received, in the order of arrival."""
        lists: dict[int, list[int]] = {}
        for plan in self.plans:
            pairs = array("I")
            pairs.frombytes(Path(plan.file).read_bytes())
            for client, sequence in zip(pairs[0::2], pairs[1::2], strict=True):
                lists.setdefault(client, []).append(sequence)
        return lists

    @staticmethod
    def _answer(process: "subprocess.Popen[str]", seconds: float) -> Any:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], seconds)[0], "a crowd process did not answer in time"
        line = process.stdout.readline()
        assert line, f"a crowd process ended with status {process.wait(10)}"
        return json.loads(line)
