"""pushctl as a process: what it printed and how it ended."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import ujson

from tests.fleet.processes import DEADLINE_S, wait_until

COMMAND = [sys.executable, "-m", "services.pushctl.main"]


class Done(NamedTuple):
    """A finished run."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return ujson.loads(self.stdout)


def run(environ: Mapping[str, str], *arguments: str, stdin: bytes = b"") -> Done:
    """Runs to the end. Nothing that pushctl prints may be a traceback."""
    done = subprocess.run(
        [*COMMAND, *arguments], env=environ, input=stdin, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


class Listening:
    """A running `pushctl listen`."""

    def __init__(self, environ: Mapping[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, "listen", *arguments], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.stdout, self.stderr = b"", b""
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, "stdout"), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, "stderr"), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], name: str) -> None:
        while data := os.read(stream.fileno(), 65536):
            setattr(self, name, getattr(self, name) + data)

    def wait_for(self, text: bytes, times: int = 1) -> None:
        """Until `text` was printed so many times."""
        wait_until(lambda: (self.stdout + self.stderr).count(text) >= times, f"{text!r} from pushctl listen")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def finish(self) -> Done:
        """Waits for its end."""
        status = self._process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join()
        assert b"Traceback" not in self.stderr, self.stderr.decode()
        return Done(status, self.stdout.decode(), self.stderr.decode())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def listening(environ: Mapping[str, str], *arguments: str) -> Iterator[Listening]:
    """A `pushctl listen` that has said that it listens."""
    started = Listening(environ, *arguments)
    try:
        started.wait_for(b"listening as")
        yield started
    finally:
        started.kill()
