"""Example programs as processes of a test."""

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PYTHON_SENDER = [sys.executable, str(EXAMPLES / "sender.py")]
DEADLINE_S = 20.0


class Program:
    """A running program, its output read line by line; killed at the end."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self._popen = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        """Its next line. Raises TimeoutError."""
        try:
            return self._lines.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise TimeoutError(f"no line within {DEADLINE_S} s") from None

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def tell(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._popen.send_signal(number)

    def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self._popen.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._popen.kill()
        self._popen.wait()
        self._reader.join(DEADLINE_S)


def listen(token: str, host: str, port: int) -> Program:
    """The Python client, bound to `token`."""
    program = Program([sys.executable, str(EXAMPLES / "client.py"), token, host, str(port)])
    said = program.line()
    if said != f"listening as {token}":
        with program:
            raise AssertionError(said)
    return program


def send(command: Sequence[str], endpoint: str, lines: str) -> list[str]:
    """What a sender prints for its input."""
    done = subprocess.run(
        [*command, endpoint], input=lines, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()
