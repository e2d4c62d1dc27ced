"""A client of each SDK as a process of a test, which tells all that happens to it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import pytest

from tests.examples.programs import DEADLINE_S
from tests.fleet.fleet_process import ROOT
from tests.sdk.lines import Lines

LISTENERS = Path(__file__).with_name("listeners")
KINDS = ("threads", "tasks", "node")

every_kind = pytest.mark.parametrize("kind", KINDS)


class Listener:
    """`settings`: as the Python SDK calls them, in seconds. `told`: everything that it has said."""

    def __init__(self, kind: str, sdk: Path | None, address: tuple[str, int], **settings: Any) -> None:
        if kind == "node":
            command = ["node", str(LISTENERS / "node.mjs")]
        else:
            command = [sys.executable, "-m", f"tests.sdk.listeners.{kind}"]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "sdk" / "python" / "src")])
        self._popen = subprocess.Popen(
            [*command, address[0], str(address[1]), json.dumps(settings)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": paths, "SDK": str(sdk or "")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines = Lines(self._popen)
        self.told: list[dict[str, Any]] = []

    def wait_for(self, what: Callable[[dict[str, Any]], bool], seconds: float = DEADLINE_S) -> dict[str, Any]:
        """The next line that is so; those before it are passed over. Raises TimeoutError."""
        end = monotonic() + seconds
        while monotonic() < end:
            line = self._lines.next(end - monotonic())
            if line is None:
                break
            self.told.append(json.loads(line))
            if what(self.told[-1]):
                return self.told[-1]
        raise TimeoutError(f"it said {self.told}")

    def wait_state(self, state: str, reason: str | None = None) -> dict[str, Any]:
        return self.wait_for(lambda said: said.get("state") == state and reason in (None, said["reason"]))

    def take(self, count: int) -> list[str]:
        """The next pushes."""
        return [self.wait_for(lambda said: "push" in said)["push"] for _ in range(count)]

    def publish(self, topic: str) -> None:
        assert self._popen.stdin
        self._popen.stdin.write(f"{topic}\n")
        self._popen.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._popen.kill()
        self._popen.wait()
        self._lines.join()
