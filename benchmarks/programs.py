"""C programs: compiled when first needed, driven by lines on stdin, answering lines of JSON."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.faults import BenchmarkFault
from benchmarks.machines import LOADING_CORE, MEASURED_CORE, on_core

_SOURCES = Path(__file__).parent
_BUILD = _SOURCES.parent / "build" / "benchmarks"
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")


def build(name: str, sources: Path = _SOURCES) -> Path:
    """Path of the compiled program; compiles it when a source is newer. Raises BenchmarkFault."""
    source, program = sources / f"{name}.c", _BUILD / name
    headers = {*sources.glob("*.h"), *_SOURCES.glob("*.h")}
    newest = max(path.stat().st_mtime for path in (source, *headers))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchmarkFault("no C compiler: install one (Debian: apt-get install gcc libc6-dev) or set CC")
    _BUILD.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        [compiler, *_FLAGS, f"-I{_SOURCES}", "-o", str(program), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise BenchmarkFault(f"{name}.c does not compile:\n{made.stderr}")
    return program


class Program:
    """A running C program. Ends with its `with` block."""

    def __init__(self, name: str, core: int, *arguments: str, sources: Path = _SOURCES, within: Sequence[str] = ()):
        """`core`: ANY_CORE for whichever is free. `within`: a command that runs another one."""
        command = [*within, str(build(name, sources)), *arguments]
        with on_core(core):
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._name, self._unread = name, b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str, timeout_s: float = 60) -> dict[str, Any]:
        """The answer to one command. Raises BenchmarkFault when there is none in time."""
        self.tell(line)
        return self.answer(timeout_s)

    def tell(self, line: str) -> None:
        """One command, without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, timeout_s: float = 60) -> dict[str, Any]:
        """The next answer."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                raise BenchmarkFault(f"{self._name} {'ended' if ready else f'did not answer within {timeout_s} s'}")
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(b"quit\n")
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Floor(Program):
    """The C server (floor.c): what the kernel alone charges."""

    def __init__(self) -> None:
        super().__init__("floor", MEASURED_CORE, "0", "0")
        ports = self.answer()
        self.port, self.request_port = int(ports["port"]), int(ports["request_port"])

    def push(self, count: int) -> dict[str, Any]:
        """`count` pushes, each to one random client: {pushes, cpu_us, wall_us, retries}."""
        return self.ask(f"push {count}")

    def push_to_all(self, count: int) -> dict[str, Any]:
        """`count` pushes to every client; `pushes` counts copies."""
        return self.ask(f"all {count}")


class Load(Program):
    """The load generator (load.c): clients with tokens `c0`, `c1`, ... on one port."""

    def __init__(self, port: int, protocol: str = "text", first: int = 0, source: str = "127.0.0.1") -> None:
        super().__init__("load", LOADING_CORE, "127.0.0.1", str(port), protocol, "c", str(first), source)

    def open(self, count: int, window: int = 64) -> None:
        """Opens and binds `count` more clients, `window` of them under way at once."""
        answer = self.ask(f"open {count} {window}", timeout_s=120)
        if answer["failed"] or answer["lost"]:
            raise BenchmarkFault(f"{answer['failed']} of {count} clients could not bind, {answer['lost']} were closed")

    def reset(self) -> None:
        """Clears counts and latencies."""
        self.ask("reset")

    def stats(self) -> dict[str, Any]:
        return self.ask("stats")

    def await_pushes(self, count: int, timeout_s: float = 10) -> None:
        """Returns when exactly `count` pushes came since `reset`. Raises BenchmarkFault."""
        deadline = time.monotonic() + timeout_s
        stats = self.stats()
        while stats["frames"] < count and time.monotonic() < deadline:
            time.sleep(0.01)
            stats = self.stats()
        if stats["frames"] != count or stats["lost"]:
            raise BenchmarkFault(
                f"{stats['frames']} of {count} pushes arrived, {stats['lost']} clients were closed: {stats}"
            )
